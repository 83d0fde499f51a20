//! Checks that volumes suit a model: labels, channels, preparation. A difference that makes scores
//! meaningless is an error naming both sides; a possibly intended difference is a warning.

use super::{ModelCard, Network};
use crate::dataset::Label;
use crate::error::{Error, Result};
use crate::image::preparation::AxisOrder;
use crate::image::{Preparation, VolumeList};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

impl ModelCard {
    /// Checks volumes for scoring this model. Errors if labels, channels or preparation differ;
    /// returns warnings.
    pub fn check_volumes(&self, list: &VolumeList) -> Result<Vec<String>> {
        let channels = self.check_dataset(list)?;
        let crop = self.check_preparation(&list.preparation)?;
        Ok(channels.into_iter().chain(crop).collect())
    }

    /// The same without preparation, for images that are prepared anew.
    pub fn check_dataset(&self, list: &VolumeList) -> Result<Option<String>> {
        self.check_labels(&list.labels)?;
        check_channels(&self.modality, &list.modality)
    }

    fn check_labels(&self, labels: &[Label]) -> Result<()> {
        if labels == self.labels {
            return Ok(());
        }
        let (found, known) = (label_words(labels), label_words(&self.labels));
        Err(Error::failed(format!(
            "the volumes have labels ({found}), the model knows ({known}); \
             use the dataset's labels that it was trained on, or train a model for these"
        )))
    }

    /// A warning where only the crop differs.
    fn check_preparation(&self, found: &Preparation) -> Result<Option<String>> {
        let channels = self.modality.len();
        let differs = differences(&self.preparation, found, channels);
        if differs.is_empty() {
            return Ok(None);
        }
        let words = format!("the volumes were prepared otherwise than the model's: {differs}");
        if has_same_values(&self.preparation, found, channels) {
            return Ok(Some(words));
        }
        Err(Error::failed(format!(
            "{words}; give 'preprocess' of these volumes the model's parameters, or train on them"
        )))
    }
}

/// Warns if channels have other names than the model's; errors if their number differs or a channel
/// known to the model has another position. Upper and lower case are equal.
pub fn check_channels(known: &[String], found: &[String]) -> Result<Option<String>> {
    let (known_words, found_words) = (known.join(", "), found.join(", "));
    if known.len() != found.len() {
        return Err(Error::failed(format!(
            "the images have channels ({found_words}), the model reads ({known_words})"
        )));
    }
    let (known, found) = (lowercase(known), lowercase(found));
    let mut pairs = found.iter().zip(&known);
    if pairs.any(|(name, expected)| name != expected && known.contains(name)) {
        return Err(Error::failed(format!(
            "the images have channels in the order ({found_words}), the model reads \
             ({known_words}); list them in the model's order"
        )));
    }
    Ok((known != found).then(|| {
        format!(
            "the images have channels ({found_words}), the model was trained on ({known_words}): \
             make sure that they mean the same, in the same order"
        )
    }))
}

fn lowercase(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.trim().to_lowercase()).collect()
}

/// Parameters that differ between two preparations, with both values; empty if equal.
pub fn differences(there: &Preparation, here: &Preparation, channels: usize) -> String {
    let both = [there, here];
    let each = [
        ("orientation", both.map(orientation_words)),
        ("spacing", both.map(spacing_words)),
        ("intensity", both.map(|preparation| intensity_words(preparation, channels))),
        ("resampling", both.map(resampling_words)),
        ("crop", both.map(crop_words)),
    ];
    let differing = each.into_iter().filter(|(_, [there, here])| there != here);
    differing
        .map(|(name, [there, here])| format!("{name} {there} for the model, {here} here"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Parameters of a start model's network that differ from a training's, with both values; empty if
/// equal. Neither dropout nor the choice of outputs has weights: a refinement may change both.
pub fn network_differences(there: &Network, here: &Network) -> String {
    let Network { dropout, deep_supervision, .. } = *here;
    let there = Network { dropout, deep_supervision, ..there.clone() };
    let [there, here] = [&there, here].map(|network| serde_json::to_value(network).ok());
    let (Some(Value::Object(there)), Some(Value::Object(here))) = (there, here) else {
        return String::new();
    };
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let differing = keys.into_iter().filter(|key| there.get(*key) != here.get(*key));
    differing
        .map(|key| {
            format!("'{key}' is {} there, {} here", value_of(&there, key), value_of(&here, key))
        })
        .collect::<Vec<_>>()
        .join("; ")
}

fn value_of(fields: &Map<String, Value>, key: &str) -> String {
    fields.get(key).map_or("none".to_string(), Value::to_string)
}

fn crop_words(preparation: &Preparation) -> String {
    let foreground = format!("to the foreground with a margin of {}", preparation.crop_margin);
    match (preparation.crop_nonzero, preparation.crop_foreground) {
        (false, false) => "none".to_string(),
        (false, true) => foreground,
        (true, false) => "to non-zero voxels".to_string(),
        (true, true) => format!("to non-zero voxels, then {foreground}"),
    }
}

fn resampling_words(preparation: &Preparation) -> String {
    let Some(resampling) = preparation.resampling else { return "as MONAI's".to_string() };
    let orders = [resampling.image_order, resampling.label_order, resampling.probability_order];
    let [image, label, probability] = orders;
    let separate = match resampling.anisotropy_threshold {
        Some(factor) => format!("a separate axis above {factor}"),
        None => "no separate axis".to_string(),
    };
    format!("as nnU-Net's (orders {image}, {label}, {probability}; {separate})")
}

fn orientation_words(preparation: &Preparation) -> String {
    match preparation.orientation {
        AxisOrder::Ras => "RAS".to_string(),
        AxisOrder::Stored => "as stored".to_string(),
    }
}

/// True if voxels have the same axes, size and values; cropping does not matter.
fn has_same_values(there: &Preparation, here: &Preparation, channels: usize) -> bool {
    there.orientation == here.orientation
        && spacing_words(there) == spacing_words(here)
        && intensity_words(there, channels) == intensity_words(here, channels)
        && resampling_words(there) == resampling_words(here)
}

fn spacing_words(preparation: &Preparation) -> String {
    match preparation.spacing {
        Some([x, y, z]) => format!("{x} x {y} x {z} mm"),
        None => "of each image".to_string(),
    }
}

/// Each channel's scaling in YAML flow style; a single scaling if all are equal.
fn intensity_words(preparation: &Preparation, channels: usize) -> String {
    let each = preparation.intensity.for_channels(channels).unwrap_or_default();
    let mut all: Vec<String> = each
        .iter()
        .map(|scaling| serde_json::to_string(scaling).unwrap_or_default().replace('"', ""))
        .collect();
    all.dedup();
    if all.len() == 1 { all.remove(0) } else { format!("[{}]", all.join(", ")) }
}

fn label_words(labels: &[Label]) -> String {
    let words = labels.iter().map(|label| format!("{} = {}", label.value, label.name));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Intensity;
    use crate::image::prepare::Intensities;

    fn names(each: &[&str]) -> Vec<String> {
        each.iter().map(|name| name.to_string()).collect()
    }

    fn preparation(spacing: [f64; 3], window: [f64; 2]) -> Preparation {
        Preparation {
            orientation: AxisOrder::Ras,
            spacing: Some(spacing),
            intensity: Intensities::One(Intensity::Window(window)),
            crop_foreground: false,
            crop_margin: 0,
            crop_nonzero: false,
            resampling: None,
            mark_outside: false,
        }
    }

    #[test]
    fn a_start_with_another_network_is_told_with_what_differs() {
        let there = Network::default();
        let here = Network { channels: vec![8, 16], dropout: 0.5, ..there.clone() };
        assert_eq!(
            network_differences(&there, &here),
            "'channels' is [16,32,64,128,256] there, [8,16] here"
        );
        let dropped = Network { dropout: 0.5, deep_supervision: true, ..there.clone() };
        assert_eq!(network_differences(&there, &dropped), "");
    }

    #[test]
    fn channels_in_another_order_are_an_error_and_other_names_a_warning() {
        let check = |known: &[&str], found: &[&str]| check_channels(&names(known), &names(found));
        assert_eq!(check(&["T1", "T2"], &["t1", "T2 "]).unwrap(), None);
        let error = check(&["T1", "T2"], &["T2", "T1"]).unwrap_err().to_string();
        assert!(error.contains("in the order (T2, T1), the model reads (T1, T2)"), "{error}");
        assert!(check(&["T1", "T2", "FLAIR"], &["T1", "T1", "x"]).is_err());
        assert!(check(&["T1", "T2"], &["T1"]).is_err());
        assert!(check(&["CT"], &["MRI"]).unwrap().unwrap().contains("(MRI)"));
    }

    #[test]
    fn one_scaling_for_all_channels_is_the_same_for_each() {
        let one = preparation([2.0, 2.0, 3.0], [-100.0, 150.0]);
        let each = vec![Intensity::Window([-100.0, 150.0]); 2];
        let other = Preparation { intensity: Intensities::Each(each), ..one.clone() };
        assert_eq!(differences(&one, &other, 2), "");
        let other = preparation([3.0, 3.0, 3.0], [-1000.0, 3000.0]);
        assert_eq!(
            differences(&one, &other, 1),
            "spacing 2 x 2 x 3 mm for the model, 3 x 3 x 3 mm here; intensity \
             {window:[-100.0,150.0]} \
             for the model, {window:[-1000.0,3000.0]} here"
        );
    }

    #[test]
    fn another_crop_changes_no_value() {
        let one = preparation([2.0, 2.0, 3.0], [-100.0, 150.0]);
        let cropped = Preparation { crop_foreground: true, crop_margin: 4, ..one.clone() };
        assert!(has_same_values(&one, &cropped, 1));
        assert!(differences(&one, &cropped, 1).contains("with a margin of 4 here"));
    }
}

//! Guesses from voxels: label or image, label values, CT or another modality.

use crate::error::Result;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use voxflow_stages::dataset::{Case, Listing};
use voxflow_stages::image::case::read_label_on;
use voxflow_stages::image::nifti::{ImageFile, read_header, read_image, read_label};

/// So many labelled cases are read for their values.
const READ: usize = 10;
/// Labels are read further up to so many voxels, since a value may be rare.
const LABEL_VOXELS: usize = 400_000_000;
/// No voxel of an MRI, but the air of every CT, is below this.
const AIR_HU: f32 = -500.0;
/// A file with more distinct values holds no labels.
const MOST_LABELS: usize = 256;
/// A label may be so far from a whole number.
const ROUNDING: f32 = 1e-2;
/// In a label map with more than three values, at least this share of the labelled voxels has a
/// neighbour of the same value.
const SAME_NEIGHBOUR: f64 = 0.5;

/// Type of a file, guessed from its voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Few whole numbers in connected areas.
    Label,
    /// Few whole numbers: a label if the file's name says so.
    Whole,
    /// Anything else.
    Image,
}

/// Looks at files once each.
pub(super) struct Judge<'a> {
    folder: &'a Path,
    known: RefCell<BTreeMap<String, Option<Look>>>,
}

impl<'a> Judge<'a> {
    pub fn new(folder: &'a Path) -> Judge<'a> {
        Judge { folder, known: RefCell::default() }
    }

    /// Type of a file, guessed from its voxels; `None` if it cannot be read.
    pub fn look(&self, name: &str) -> Option<Look> {
        if let Some(known) = self.known.borrow().get(name) {
            return *known;
        }
        let volume = read_image(&self.folder.join(name), name).ok();
        let verdict = volume.map(|volume| match volume.channels {
            1 => look(&volume.data, volume.shape[0]),
            _ => Look::Image,
        });
        self.known.borrow_mut().insert(name.to_string(), verdict);
        verdict
    }
}

/// Labels are whole numbers from 0 on, few of them, in connected areas.
fn look(data: &[f32], row: usize) -> Look {
    let mut distinct = HashSet::new();
    for value in data {
        let whole = value.round();
        if whole < 0.0 || (value - whole).abs() > ROUNDING {
            return Look::Image;
        }
        distinct.insert(whole as i64);
        if distinct.len() > MOST_LABELS {
            return Look::Image;
        }
    }
    if !distinct.contains(&0) {
        return Look::Whole;
    }
    let (mut all, mut same) = (0usize, 0usize);
    for line in data.chunks(row.max(1)) {
        for pair in line.windows(2).filter(|pair| pair[0] != 0.0) {
            all += 1;
            same += usize::from(pair[0] == pair[1]);
        }
    }
    match distinct.len() <= 3 || same as f64 >= SAME_NEIGHBOUR * all as f64 {
        true => Look::Label,
        false => Look::Whole,
    }
}

/// Value statistics of some cases.
#[derive(Default)]
pub(super) struct Values {
    /// For each channel: whether there is air in it, as in CT.
    pub has_air: Vec<bool>,
    /// The values of the labels.
    pub labels: BTreeSet<u8>,
    /// So many label files were read for them.
    pub read: usize,
    /// Image values inside labels, where there are any, of each channel.
    inside: Vec<Vec<f32>>,
}

impl Values {
    /// The 0.5th to the 99.5th percentile inside the labels, to ten units; soft tissue without
    /// labels.
    pub fn window(&self, channel: usize) -> [f64; 2] {
        let mut sorted = self.inside.get(channel).cloned().unwrap_or_default();
        sorted.sort_by(f32::total_cmp);
        let at =
            |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied();
        match (at(0.005), at(0.995)) {
            (Some(low), Some(high)) if low < high => {
                [(f64::from(low) / 10.0).floor() * 10.0, (f64::from(high) / 10.0).ceil() * 10.0]
            }
            _ => [-160.0, 240.0],
        }
    }

    fn image(&mut self, folder: &Path, case: &Case, label: Option<&[u8]>) -> Result<()> {
        let mut channel = 0;
        for name in &case.images {
            let image = read_image(&folder.join(name), name)?;
            let voxels = image.shape.iter().product::<usize>().max(1);
            for data in image.data.chunks(voxels) {
                if self.has_air.len() <= channel {
                    self.has_air.push(false);
                    self.inside.push(vec![]);
                }
                self.has_air[channel] |= data.iter().any(|value| *value < AIR_HU);
                let inside = data.iter().zip(label.unwrap_or_default());
                let inside = inside.filter(|(_, label)| **label > 0).map(|(value, _)| *value);
                self.inside[channel].extend(inside);
                channel += 1;
            }
        }
        Ok(())
    }
}

/// Reads the images of up to ten cases, and the labels of as many as is quickly done.
pub(super) fn values(folder: &Path, listing: &Listing) -> Result<Values> {
    let mut values = Values::default();
    let labelled: Vec<&Case> = listing.labelled().collect();
    let all: Vec<u8> = (1..=u8::MAX).collect();
    let mut budget = LABEL_VOXELS;
    for (at, case) in labelled.iter().enumerate() {
        let Some(name) = &case.label else { continue };
        let voxels = read_header(&folder.join(name), name)?.voxels();
        if at >= READ && voxels > budget {
            break;
        }
        budget = budget.saturating_sub(voxels);
        // On the image's own grid, since the two are laid over each other below.
        let placed = case.images.first().and_then(|image| {
            let grid = read_header(&folder.join(image), image).ok()?.grid();
            read_label_on(grid, &ImageFile::at(&folder.join(name)), name, &all).ok()
        });
        let is_placed = placed.is_some();
        let label = placed.map_or_else(|| read_label(&folder.join(name), name, &all), Ok)?;
        let mut seen = [false; 256];
        label.data.iter().for_each(|value| seen[usize::from(*value)] = true);
        values.labels.extend((1..=u8::MAX).filter(|value| seen[usize::from(*value)]));
        values.read += 1;
        if at < READ {
            values.image(folder, case, is_placed.then_some(&label.data[..]))?;
        }
    }
    if labelled.is_empty() {
        for case in listing.cases.iter().take(READ) {
            values.image(folder, case, None)?;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_whole_values_in_areas() {
        let map: Vec<f32> = (0..400).map(|at| ((at / 20) % 5) as f32).collect();
        let noise: Vec<f32> = (0..400).map(|at| ((at * 7919) % 5) as f32).collect();
        assert_eq!((look(&map, 20), look(&noise, 20)), (Look::Label, Look::Whole));
        assert_eq!(look(&[0.0, 255.0, 0.0], 3), Look::Label, "a mask");
        assert_eq!(look(&[0.0, 0.9999, 0.0], 3), Look::Label, "rounded");
        assert_eq!(look(&[100.0, 101.0], 2), Look::Whole, "no background");
        assert_eq!((look(&[0.0, 0.5], 2), look(&[0.0, -1.0], 2)), (Look::Image, Look::Image));
    }

    #[test]
    fn the_window_is_that_of_the_voxels_inside_labels() {
        let values = Values {
            inside: vec![(0..1000).map(|value| value as f32 / 10.0).collect()],
            ..Values::default()
        };
        assert_eq!(values.window(0), [0.0, 100.0]);
        assert_eq!(Values::default().window(0), [-160.0, 240.0]);
    }
}

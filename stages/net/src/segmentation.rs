//! Segmentation of a prepared image: through the networks, and back to the image's original grid.

use crate::classes::Classes;
use crate::ensemble::{ConfigurationNetworks, Ensemble};
use crate::failure::{catch_panic, inject_fault};
use crate::sliding_window::ScoreRows;
use crate::volume_tensor::floats;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Tensor};
use voxflow_stages::dataset::{Label, Region};
use voxflow_stages::image::invert::{Decision, Inverter};
use voxflow_stages::image::invert_rows::RowInverter;
use voxflow_stages::image::{Geometry, Volume};
use voxflow_stages::metric::post_processing::{self, Steps};
use voxflow_stages::model::ensemble::{label_map, mean_of};
use voxflow_stages::{Error, Result};

/// An image as a configuration's networks take it.
pub struct PreparedImage {
    /// (1, C, X, Y, Z), fp32, in memory.
    pub image: Tensor,
    /// The way back to the image's own grid.
    pub geometry: Geometry,
}

/// The class probabilities or logits of a prepared image, and the way back to its original grid.
struct Scores {
    /// (1, classes, X, Y, Z), fp32, contiguous, in memory.
    scores: Tensor,
    are_logits: bool,
    inverter: Inverter,
}

/// The scores of each configuration for one image.
pub struct Segmentation {
    each: Vec<Scores>,
    classes: Classes,
    labels: Vec<Label>,
    regions: Vec<Region>,
    keep_largest: Steps,
}

impl Segmentation {
    /// The label map of an image on its original grid, after the models' post-processing. Of many
    /// scores of a single configuration a few rows are in memory at a time.
    pub fn label_map(models: &Mutex<Ensemble>, images: &[PreparedImage]) -> Result<Volume<u8>> {
        Segmentation::label_map_told(models, images, &|_, _| {})
    }

    /// The same; `told` hears the windows done and all, after each batch.
    pub fn label_map_told(
        models: &Mutex<Ensemble>,
        images: &[PreparedImage],
        told: &dyn Fn(u64, u64),
    ) -> Result<Volume<u8>> {
        let (by_rows, keep_largest) = {
            let models = models.lock().unwrap_or_else(PoisonError::into_inner);
            (labels_by_rows(&models, images, told)?, models.keep_largest.clone())
        };
        let Some(mut map) = by_rows else {
            return Segmentation::predict_told(models, images, told)?.labels();
        };
        post_processing::apply(&mut map.data, map.shape, &keep_largest);
        Ok(map)
    }

    /// Predicts an image, prepared for each configuration in order, and keeps all scores. The lock
    /// lets one image at a time through the networks, which keep all threads busy by themselves.
    pub fn predict(models: &Mutex<Ensemble>, images: &[PreparedImage]) -> Result<Segmentation> {
        Segmentation::predict_told(models, images, &|_, _| {})
    }

    /// The same; `told` hears the windows done and all, after each batch. All configurations count
    /// as if they had as many windows as the one at work.
    pub fn predict_told(
        models: &Mutex<Ensemble>,
        images: &[PreparedImage],
        told: &dyn Fn(u64, u64),
    ) -> Result<Segmentation> {
        let inverters = images.iter().map(|prepared| Inverter::new(&prepared.geometry));
        let inverters: Vec<Inverter> = inverters.collect::<Result<_>>()?;
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, outputs) = (images.len() as u64, models.classes.outputs());
        let pairs = models.configurations.iter().zip(images).zip(inverters);
        let each = (0u64..).zip(pairs).map(|(number, ((configuration, prepared), inverter))| {
            let told = |done: u64, all: u64| told(number * all + done, count * all);
            scores(configuration, &prepared.image, outputs, inverter, &told)
        });
        Ok(Segmentation {
            each: each.collect::<Result<_>>()?,
            classes: models.classes.clone(),
            labels: models.card.labels.clone(),
            regions: models.card.regions.clone(),
            keep_largest: models.keep_largest.clone(),
        })
    }

    /// The label map on the original grid, after the models' post-processing.
    pub fn labels(&self) -> Result<Volume<u8>> {
        let mut map = match &self.each[..] {
            [one] => one.labels(&self.classes)?,
            _ => label_map(&self.probabilities()?, &self.labels, &self.regions),
        };
        post_processing::apply(&mut map.data, map.shape, &self.keep_largest);
        Ok(map)
    }

    /// Class probabilities on the original grid, one channel per class, background first; or a
    /// channel per region. Outside the foreground box all are 0; in a mean over configurations,
    /// those without a look say background.
    pub fn probabilities(&self) -> Result<Volume<f32>> {
        match &self.each[..] {
            [one] => one.probabilities(&self.classes),
            each => {
                let all = each.iter().map(|one| one.probabilities(&self.classes));
                mean_of(all, self.classes.has_regions())
            }
        }
    }
}

/// The label map on the original grid, before post-processing, if scores are decided by rows.
fn labels_by_rows(
    models: &Ensemble,
    images: &[PreparedImage],
    told: &dyn Fn(u64, u64),
) -> Result<Option<Volume<u8>>> {
    let ([configuration], [PreparedImage { image, geometry }]) =
        (&models.configurations[..], images)
    else {
        return Ok(None);
    };
    let (window, classes) = (configuration.sliding_window()?, &models.classes);
    let (shape, outputs) = (shape_of(image), classes.outputs());
    let held = window.held(shape, outputs);
    if held == ScoreRows::All {
        return Ok(None);
    }
    let device = window.volume_device(shape, image.size()[1] as usize, outputs);
    let decision = decision(classes, window.scores_are_logits());
    let mut found = RowInverter::new(Inverter::new(geometry)?, decision, outputs)?;
    catch_panic(|| {
        inject_fault();
        window.each_rows(&image.to_device(device), held, told, |rows| {
            let scores = floats(&rows.to_device(Device::Cpu).contiguous())?.to_vec();
            // Not in memory twice while slabs are decided.
            drop(rows);
            found.add(scores)
        })
    })?;
    let mut map = found.finish()?;
    classes.to_values(&mut map.data);
    Ok(Some(map))
}

/// The rule by which scores become classes.
fn decision(classes: &Classes, are_logits: bool) -> Decision {
    match classes.has_regions() {
        true => {
            let least = if are_logits { 0.0 } else { 0.5 };
            Decision::Regions { least, values: classes.written() }
        }
        false => Decision::Largest,
    }
}

/// X, Y, Z of (1, C, X, Y, Z).
fn shape_of(image: &Tensor) -> [usize; 3] {
    [2, 3, 4].map(|axis| image.size()[axis] as usize)
}

fn scores(
    configuration: &ConfigurationNetworks,
    image: &Tensor,
    outputs: usize,
    inverter: Inverter,
    told: &dyn Fn(u64, u64),
) -> Result<Scores> {
    let (scores, are_logits) = catch_panic(|| {
        inject_fault();
        let (window, channels) = (configuration.sliding_window()?, image.size()[1] as usize);
        let device = window.volume_device(shape_of(image), channels, outputs);
        let scores = window.scores_told(&image.to_device(device), told).to_device(Device::Cpu);
        Ok((scores.contiguous(), window.scores_are_logits()))
    })?;
    Ok(Scores { scores, are_logits, inverter })
}

impl Scores {
    /// The label map on the original grid.
    fn labels(&self, classes: &Classes) -> Result<Volume<u8>> {
        let scores = floats(&self.scores)?;
        let decision = decision(classes, self.are_logits);
        let mut map = self.inverter.decided(scores, classes.outputs(), &decision)?;
        classes.to_values(&mut map.data);
        Ok(map)
    }

    fn probabilities(&self, classes: &Classes) -> Result<Volume<f32>> {
        let outputs = classes.outputs();
        let scores = floats(&self.scores)?;
        let mut each = scores.chunks_exact(scores.len() / outputs);
        let first = each.next().unwrap_or_default();
        let mut all = each.try_fold(self.inverter.probability(first)?, |mut all, class| {
            all.data.extend(self.inverter.probability(class)?.data);
            Ok::<_, Error>(Volume { channels: all.channels + 1, ..all })
        })?;
        match (self.are_logits, classes.has_regions()) {
            (false, _) => {}
            (true, false) => softmax(&mut all.data, outputs),
            (true, true) => sigmoid(&mut all.data, outputs),
        }
        Ok(all)
    }
}

/// Replaces the logits of each voxel by probabilities; where all are 0, outside the foreground box,
/// they stay 0. Channels are slowest.
fn softmax(values: &mut [f32], classes: usize) {
    let voxels = values.len() / classes;
    for voxel in 0..voxels {
        let at = |class: usize| class * voxels + voxel;
        let most = (0..classes).map(|class| values[at(class)]).fold(f32::NEG_INFINITY, f32::max);
        if (0..classes).all(|class| values[at(class)] == 0.0) {
            continue;
        }
        let powers: Vec<f32> = (0..classes).map(|class| (values[at(class)] - most).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.iter().enumerate().for_each(|(class, power)| values[at(class)] = power / sum);
    }
}

/// The same for regions.
fn sigmoid(values: &mut [f32], regions: usize) {
    let voxels = values.len() / regions;
    for voxel in 0..voxels {
        let at = |region: usize| region * voxels + voxel;
        if (0..regions).all(|region| values[at(region)] == 0.0) {
            continue;
        }
        (0..regions).for_each(|region| {
            let value = &mut values[at(region)];
            *value = 1.0 / (1.0 + (-*value).exp());
        });
    }
}

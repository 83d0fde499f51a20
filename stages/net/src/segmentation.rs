//! Segmentation of a prepared image: through the networks, and back to the image's original grid.

use crate::classes::Classes;
use crate::ensemble::Ensemble;
use crate::failure::{catch_panic, inject_fault};
use crate::volume_tensor::floats;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Tensor};
use voxflow_stages::image::invert::Inverter;
use voxflow_stages::image::{Geometry, Volume};
use voxflow_stages::metric::post_processing::{self, Steps};
use voxflow_stages::{Error, Result};

/// The class probabilities or logits of a prepared image, and the way back to its original grid.
pub struct Segmentation {
    /// (1, classes, X, Y, Z), fp32, contiguous, in memory.
    scores: Tensor,
    are_logits: bool,
    classes: Classes,
    keep_largest: Steps,
    inverter: Inverter,
}

impl Segmentation {
    /// Predicts a prepared image (1, C, X, Y, Z). The lock lets one image at a time through the
    /// networks, which keep all threads busy by themselves.
    pub fn predict(
        models: &Mutex<Ensemble>,
        image: &Tensor,
        geometry: &Geometry,
    ) -> Result<Segmentation> {
        Segmentation::predict_told(models, image, geometry, &|_, _| {})
    }

    /// The same; `told` hears the windows done and all, after each batch.
    pub fn predict_told(
        models: &Mutex<Ensemble>,
        image: &Tensor,
        geometry: &Geometry,
        told: &dyn Fn(u64, u64),
    ) -> Result<Segmentation> {
        let inverter = Inverter::new(geometry)?;
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        let (scores, are_logits) = catch_panic(|| {
            inject_fault();
            let (window, size) = (models.sliding_window()?, image.size());
            let voxels = size[2..].iter().product::<i64>() as usize;
            let device = window.volume_device(voxels, size[1] as usize, models.classes.outputs());
            let scores = window.scores_told(&image.to_device(device), told).to_device(Device::Cpu);
            Ok((scores.contiguous(), window.scores_are_logits()))
        })?;
        let (classes, keep_largest) = (models.classes.clone(), models.keep_largest.clone());
        Ok(Segmentation { scores, are_logits, classes, keep_largest, inverter })
    }

    /// The label map on the original grid, after the models' post-processing.
    pub fn labels(&self) -> Result<Volume<u8>> {
        let scores = floats(&self.scores)?;
        let mut map = match self.classes.has_regions() {
            true => {
                let least = if self.are_logits { 0.0 } else { 0.5 };
                self.inverter.regions(scores, least, &self.classes.written())?
            }
            false => self.inverter.labels(scores, self.classes.count())?,
        };
        self.classes.to_values(&mut map.data);
        post_processing::apply(&mut map.data, map.shape, &self.keep_largest);
        Ok(map)
    }

    /// Class probabilities on the original grid, one channel per class, background first; or one
    /// channel per region. Outside the foreground box all are 0.
    pub fn probabilities(&self) -> Result<Volume<f32>> {
        let classes = self.classes.outputs();
        let scores = floats(&self.scores)?;
        let mut each = scores.chunks_exact(scores.len() / classes);
        let first = each.next().unwrap_or_default();
        let mut all = each.try_fold(self.inverter.probability(first)?, |mut all, class| {
            all.data.extend(self.inverter.probability(class)?.data);
            Ok::<_, Error>(Volume { channels: all.channels + 1, ..all })
        })?;
        match (self.are_logits, self.classes.has_regions()) {
            (false, _) => {}
            (true, false) => softmax(&mut all.data, classes),
            (true, true) => sigmoid(&mut all.data, classes),
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

//! Segmentation of a prepared image: through the networks, and back to the image's original grid.

use crate::classes::Classes;
use crate::ensemble::Ensemble;
use crate::failure::{catch_panic, inject_fault};
use std::sync::{Mutex, PoisonError};
use tch::{Device, Tensor};
use voxflow_stages::Result;
use voxflow_stages::image::invert::Inverter;
use voxflow_stages::image::{Geometry, Volume};

/// The class probabilities of a prepared image, and the way back to its original grid.
pub struct Segmentation {
    probabilities: Vec<f32>,
    classes: Classes,
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
        let inverter = Inverter::new(geometry)?;
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        let probabilities = catch_panic(|| {
            inject_fault();
            let (window, size) = (models.sliding_window()?, image.size());
            let voxels = size[2..].iter().product::<i64>() as usize;
            let device = window.volume_device(voxels, size[1] as usize, models.classes.count());
            Ok(values(&window.probabilities(&image.to_device(device)).to_device(Device::Cpu)))
        })?;
        Ok(Segmentation { probabilities, classes: models.classes.clone(), inverter })
    }

    /// The label map on the original grid.
    pub fn labels(&self) -> Result<Volume<u8>> {
        let mut map = self.inverter.labels(&self.probabilities, self.classes.count())?;
        self.classes.to_values(&mut map.data);
        Ok(map)
    }

    /// Class probabilities on the original grid, one channel per class, background first. Outside
    /// the foreground box all are 0.
    pub fn probabilities(&self) -> Result<Volume<f32>> {
        let classes = self.classes.count();
        let mut each = self.probabilities.chunks_exact(self.probabilities.len() / classes);
        let first = each.next().unwrap_or_default();
        each.try_fold(self.inverter.probability(first)?, |mut all, class| {
            all.data.extend(self.inverter.probability(class)?.data);
            Ok(Volume { channels: all.channels + 1, ..all })
        })
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.contiguous();
    let mut values = vec![0f32; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

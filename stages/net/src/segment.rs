//! Segmentation of one prepared image: through the networks, and back to the image's own grid.

use crate::cases::Classes;
use crate::model::Models;
use crate::trouble;
use crate::worker::caught;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Tensor};
use voxflow_stages::Result;
use voxflow_stages::image::invert::Inverter;
use voxflow_stages::image::{Geometry, Volume};

/// What the networks say of one image, and the way back to its own grid.
pub struct Segmentation {
    probabilities: Vec<f32>,
    classes: Classes,
    inverter: Inverter,
}

impl Segmentation {
    /// Of a prepared image (1, C, X, Y, Z). One image at a time goes through the networks, which
    /// keep all threads busy by themselves; the rest goes on beside it. An error of libtorch is
    /// this image's.
    pub fn of(models: &Mutex<Models>, image: &Tensor, geometry: &Geometry) -> Result<Segmentation> {
        let inverter = Inverter::new(geometry)?;
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        let probabilities = caught(|| {
            trouble::provoke();
            let (slider, size) = (models.slider()?, image.size());
            let voxels = size[2..].iter().product::<i64>() as usize;
            let home = slider.home(voxels, size[1] as usize, models.classes.count());
            Ok(plain(&slider.probabilities(&image.to_device(home)).to_device(Device::Cpu)))
        })?;
        Ok(Segmentation { probabilities, classes: models.classes.clone(), inverter })
    }

    /// The label map on the image's own grid.
    pub fn labels(&self) -> Result<Volume<u8>> {
        let mut map = self.inverter.labels(&self.probabilities, self.classes.count())?;
        self.classes.to_values(&mut map.data);
        Ok(map)
    }

    /// Each class's probability on the image's own grid, one channel a class, background first.
    /// Outside the foreground box all are 0.
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

fn plain(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.contiguous();
    let mut values = vec![0f32; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

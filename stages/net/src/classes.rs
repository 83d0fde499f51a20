//! Label values of a dataset as the network's class indices: class 0 is the background, then the
//! labels in order.

use crate::volume_tensor::volume_tensor;
use tch::{Device, Kind, Tensor};
use voxflow_stages::dataset::Label;

/// The mapping between label values and class indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    values: Vec<u8>,
    class_of: [u8; 256],
}

impl Classes {
    /// The classes of a dataset's labels. All other values count as background.
    pub fn new(labels: &[Label]) -> Classes {
        let mut class_of = [0; 256];
        let mut values = vec![0];
        for (label, class) in labels.iter().zip(1..) {
            class_of[label.value as usize] = class;
            values.push(label.value);
        }
        Classes { values, class_of }
    }

    /// Number of classes, background included.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Replaces label values by class indices.
    pub fn from_values(&self, values: &mut [u8]) {
        values.iter_mut().for_each(|value| *value = self.class_of[*value as usize]);
    }

    /// Replaces class indices by label values.
    pub fn to_values(&self, classes: &mut [u8]) {
        classes
            .iter_mut()
            .for_each(|class| *class = self.values.get(*class as usize).copied().unwrap_or(0));
    }

    /// Class indices (X, Y, Z), Uint8, of label values (x fastest), on a device.
    pub fn tensor(&self, values: &[u8], shape: [usize; 3], device: Device) -> Tensor {
        let mut classes = values.to_vec();
        self.from_values(&mut classes);
        volume_tensor(&classes, 1, shape, device).squeeze_dim(0).squeeze_dim(0)
    }

    /// Label values (x fastest) of class indices (X, Y, Z), Uint8.
    pub fn volume(&self, classes: &Tensor) -> Vec<u8> {
        let flat =
            classes.permute([2, 1, 0]).contiguous().to_device(Device::Cpu).to_kind(Kind::Uint8);
        let mut values = vec![0u8; flat.numel()];
        flat.copy_data(&mut values, flat.numel());
        self.to_values(&mut values);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_with_gaps_become_classes_without_and_come_back() {
        let label = |value| Label { value, name: format!("l{value}") };
        let classes = Classes::new(&[label(2), label(7)]);
        let mut voxels = [0, 7, 2, 7];
        classes.from_values(&mut voxels);
        assert_eq!(voxels, [0, 2, 1, 2]);
        classes.to_values(&mut voxels);
        assert_eq!(voxels, [0, 7, 2, 7]);
    }
}

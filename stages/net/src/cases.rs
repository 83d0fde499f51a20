//! Prepared cases as the network meets them: mapped volumes, and class numbers instead of label
//! values.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};
use voxflow_stages::dataset::Label;
use voxflow_stages::image::candidates::Candidates;
use voxflow_stages::image::nifti::Mapped;
use voxflow_stages::image::spacing::Grid;
use voxflow_stages::image::{Geometry, VolumeList};
use voxflow_stages::{Error, Input, Result};

/// One part of a cache artifact.
pub struct Part {
    /// The part's name: training, validation, testing, unlabelled.
    pub name: &'static str,
    /// What the part says of itself.
    pub list: VolumeList,
    /// Its cases.
    pub cases: Vec<PreparedCase>,
}

/// One case's mapped volumes.
pub struct PreparedCase {
    /// The name.
    pub name: String,
    /// The image.
    pub image: Mapped,
    /// The label, where there is one.
    pub label: Option<Mapped>,
    /// The voxels that patches may be centred on; training cases only.
    pub candidates: Option<Candidates>,
    /// Where the volume came from.
    pub geometry: Geometry,
}

impl Part {
    /// Opens a part of a cache artifact.
    pub fn open(input: &Input, name: &'static str) -> Result<Part> {
        let list: VolumeList = input.json(&format!("{name}/part.json"))?;
        let cases = list
            .cases
            .iter()
            .map(|case| open_case(input, name, &case.name))
            .collect::<Result<_>>()?;
        Ok(Part { name, list, cases })
    }

    /// The number of image channels.
    pub fn channels(&self) -> usize {
        self.list.modality.len().max(1)
    }
}

fn open_case(input: &Input, part: &str, case: &str) -> Result<PreparedCase> {
    let file = |name: &str| format!("{part}/{case}/{name}");
    let map =
        |name: &str| Mapped::open(input.path(&file(name))?, &format!("'{name}' of case '{case}'"));
    let candidates = file("candidates.bin");
    let candidates =
        input.has(&candidates).then(|| Candidates::open(input.path(&candidates)?)).transpose()?;
    Ok(PreparedCase {
        name: case.to_string(),
        image: map("image.nii")?,
        label: input.has(&file("label.nii")).then(|| map("label.nii")).transpose()?,
        candidates,
        geometry: input.json(&file("geometry.json"))?,
    })
}

impl PreparedCase {
    /// The label's values, or an error that names the case.
    pub fn label_values(&self) -> Result<&[u8]> {
        match &self.label {
            Some(label) => label.u8s(),
            None => Err(Error::failed(format!("case '{}' has no label", self.name))),
        }
    }

    /// The size of the volume, and the axes of the resampled grid. A crop moves the origin only,
    /// which is not in it.
    pub fn grid(&self) -> Grid {
        Grid { shape: self.image.shape(), affine: self.geometry.resampled_affine }
    }

    /// The image as a tensor (1, C, X, Y, Z), fp32 on the processor.
    pub fn tensor(&self) -> Result<Tensor> {
        self.tensor_on(Device::Cpu)
    }

    /// The same on a device, which also turns it into the network's layout.
    pub fn tensor_on(&self, device: Device) -> Result<Tensor> {
        Ok(tensor_on(self.image.f32s()?, self.image.channels(), self.image.shape(), device))
    }
}

/// A volume's voxels (x fastest, channels slowest) as a tensor (1, C, X, Y, Z), fp32 on the
/// processor.
pub fn tensor(voxels: &[f32], channels: usize, shape: [usize; 3]) -> Tensor {
    tensor_on(voxels, channels, shape, Device::Cpu)
}

fn tensor_on<T: Element>(
    voxels: &[T],
    channels: usize,
    shape: [usize; 3],
    device: Device,
) -> Tensor {
    let [x, y, z] = shape.map(|side| side as i64);
    let flat = Tensor::from_slice(voxels).to_device(device);
    flat.reshape([1, channels as i64, z, y, x]).permute([0, 1, 4, 3, 2]).contiguous()
}

/// Label values and the network's classes: class 0 is the background, then the labels in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    values: Vec<u8>,
    class_of: [u8; 256],
}

impl Classes {
    /// The classes of a dataset's labels. Values that are no label count as background.
    pub fn new(labels: &[Label]) -> Classes {
        let mut class_of = [0; 256];
        labels.iter().zip(1..).for_each(|(label, class)| class_of[label.value as usize] = class);
        Classes {
            values: std::iter::once(0).chain(labels.iter().map(|label| label.value)).collect(),
            class_of,
        }
    }

    /// The number of classes, background included.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Turns label values into class numbers.
    pub fn from_values(&self, values: &mut [u8]) {
        values.iter_mut().for_each(|value| *value = self.class_of[*value as usize]);
    }

    /// Turns class numbers into label values.
    pub fn to_values(&self, classes: &mut [u8]) {
        classes
            .iter_mut()
            .for_each(|class| *class = self.values.get(*class as usize).copied().unwrap_or(0));
    }

    /// Class numbers (X, Y, Z) of kind Uint8 of label values (x fastest), on a device.
    pub fn tensor(&self, values: &[u8], shape: [usize; 3], device: Device) -> Tensor {
        let mut classes = values.to_vec();
        self.from_values(&mut classes);
        tensor_on(&classes, 1, shape, device).squeeze_dim(0).squeeze_dim(0)
    }

    /// Label values (x fastest) of class numbers (X, Y, Z) of kind Uint8.
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

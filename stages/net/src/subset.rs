//! The prepared cases of a training, validation or testing set, as memory-mapped volumes.

use crate::volume_tensor::volume_tensor;
use tch::{Device, Tensor};
use voxflow_stages::dataset::Region;
use voxflow_stages::image::candidates::Candidates;
use voxflow_stages::image::nifti::Mapped;
use voxflow_stages::image::spacing::Grid;
use voxflow_stages::image::stored::MARKED;
use voxflow_stages::image::{Geometry, VolumeList};
use voxflow_stages::{Error, Input, Result};

/// One subset of a cache artifact.
pub struct Subset {
    /// training, validation, testing or unlabelled.
    pub name: &'static str,
    /// Its description.
    pub list: VolumeList,
    /// The cases, in the order of `list`.
    pub cases: Vec<PreparedCase>,
}

/// One case's mapped volumes.
pub struct PreparedCase {
    /// The case's name.
    pub name: String,
    /// The image, prepared.
    pub image: Mapped,
    /// The label on the image's grid; `None` for unlabelled cases.
    pub label: Option<Mapped>,
    /// The same with its outside marked, if 'preprocess' made it; training cases only.
    pub marked: Option<Mapped>,
    /// Voxels that patches may be centred on; training cases only.
    pub candidates: Option<Candidates>,
    /// The way from the volume back to the file's grid.
    pub geometry: Geometry,
}

impl Subset {
    /// Maps the volumes of a subset.
    pub fn open(input: &Input, name: &'static str) -> Result<Subset> {
        let list: VolumeList = input.json(&format!("{name}/part.json"))?;
        let cases = list
            .cases
            .iter()
            .map(|case| open_case(input, name, &case.name))
            .collect::<Result<_>>()?;
        Ok(Subset { name, list, cases })
    }

    /// Makes regions, if there are some, the classes that patches are forced to show; where voxels
    /// are to be ignored, the other patches lie around annotated ones.
    pub fn force_classes(&mut self, regions: &[Region]) {
        let unions: Vec<Vec<u8>> = regions.iter().map(|region| region.labels.clone()).collect();
        let is_sparse = self.list.ignore.is_some();
        for case in &mut self.cases {
            let found = case.candidates.take();
            case.candidates = found.map(|found| found.for_classes(&unions, is_sparse));
        }
    }

    /// Number of image channels.
    pub fn channels(&self) -> usize {
        self.list.modality.len().max(1)
    }
}

fn open_case(input: &Input, subset: &str, case: &str) -> Result<PreparedCase> {
    let file = |name: &str| format!("{subset}/{case}/{name}");
    let map =
        |name: &str| Mapped::open(input.path(&file(name))?, &format!("'{name}' of case '{case}'"));
    let candidates = file("candidates.bin");
    let candidates =
        input.has(&candidates).then(|| Candidates::open(input.path(&candidates)?)).transpose()?;
    Ok(PreparedCase {
        name: case.to_string(),
        image: map("image.nii")?,
        label: input.has(&file("label.nii")).then(|| map("label.nii")).transpose()?,
        marked: input.has(&file(MARKED)).then(|| map(MARKED)).transpose()?,
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

    /// The label's values with those outside the non-zero region marked, or an error that names the
    /// case.
    pub fn marked_values(&self) -> Result<&[u8]> {
        match &self.marked {
            Some(marked) => marked.u8s(),
            None => Err(Error::failed(format!(
                "augmentation.zero_outside: case '{}' does not say where its non-zero region \
                 ends; give 'preprocess' 'mark_outside: true', or leave 'zero_outside' out",
                self.name
            ))),
        }
    }

    /// The volume's shape and the axes of its grid. The origin is that of the resampled volume
    /// before cropping.
    pub fn grid(&self) -> Grid {
        Grid { shape: self.image.shape(), affine: self.geometry.resampled_affine }
    }

    /// The image as a tensor (1, C, X, Y, Z), fp32 on the processor.
    pub fn tensor(&self) -> Result<Tensor> {
        self.tensor_on(Device::Cpu)
    }

    /// The same on a device, which also turns it into the network's layout.
    pub fn tensor_on(&self, device: Device) -> Result<Tensor> {
        Ok(volume_tensor(self.image.f32s()?, self.image.channels(), self.image.shape(), device))
    }
}

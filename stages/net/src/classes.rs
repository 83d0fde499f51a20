//! Label values of a dataset as class indices: class 0 is the background, then the labels in order.
//! [`IGNORED`] is the class of unannotated voxels; [`OUTSIDE`] of a marked label stays as is. The
//! network's outputs are these classes, or regions of them.

use crate::loss::LossTargets;
use crate::sliding_window::{ScoredRows, SlidingWindow};
use crate::volume_tensor::volume_tensor;
use tch::{Device, Kind, Tensor};
use voxflow_stages::dataset::{Label, Region, region};
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::{Error, Result};

/// The class of voxels to ignore, in batches and references.
pub const IGNORED: u8 = 254;

/// The mapping between label values, class indices, and what is segmented.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    values: Vec<u8>,
    class_of: [u8; 256],
    /// The labels, or the regions.
    targets: Vec<Target>,
    has_regions: bool,
    has_ignored: bool,
}

/// A label or region.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its classes.
    pub classes: Vec<u8>,
    /// The class that a prediction gets there.
    class: u8,
}

impl Classes {
    /// The classes of a dataset's labels. All other values count as background.
    pub fn new(labels: &[Label]) -> Classes {
        let mut class_of = [0; 256];
        class_of[usize::from(OUTSIDE)] = OUTSIDE;
        let mut values = vec![0];
        let mut targets = vec![];
        for (label, class) in labels.iter().zip(1..) {
            class_of[usize::from(label.value)] = class;
            values.push(label.value);
            targets.push(Target { name: label.name.clone(), classes: vec![class], class });
        }
        Classes { values, class_of, targets, has_regions: false, has_ignored: false }
    }

    /// The same with regions in place of labels, if there are some, and with a value of voxels to
    /// ignore. Errors if regions have other values than labels, or if there are too many labels.
    pub fn of(labels: &[Label], regions: &[Region], ignore: Option<u8>) -> Result<Classes> {
        let mut classes = Classes::new(labels);
        region::check_against(regions, &classes.values[1..])?;
        if ignore.is_some() && labels.len() >= usize::from(IGNORED) {
            return Err(Error::failed(format!(
                "{} labels, and voxels to ignore: at most {} labels go with these",
                labels.len(),
                IGNORED - 1
            )));
        }
        if let Some(value) = ignore {
            classes.class_of[usize::from(value)] = IGNORED;
            classes.has_ignored = true;
        }
        if !regions.is_empty() {
            let class_of = &classes.class_of;
            let targets = regions.iter().map(|region| Target {
                name: region.name.clone(),
                classes: region.labels.iter().map(|label| class_of[usize::from(*label)]).collect(),
                class: class_of[usize::from(region.value)],
            });
            classes.targets = targets.collect();
            classes.has_regions = true;
        }
        Ok(classes)
    }

    /// Number of classes, background included.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Number of the network's outputs: the classes, or the regions.
    pub fn outputs(&self) -> usize {
        if self.has_regions { self.targets.len() } else { self.count() }
    }

    /// True if the outputs are regions, each by sigmoid.
    pub fn has_regions(&self) -> bool {
        self.has_regions
    }

    /// True if some voxels may be [`IGNORED`].
    pub fn has_ignored(&self) -> bool {
        self.has_ignored
    }

    /// The labels or regions, in order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// For each region, the class that is written in it.
    pub fn written(&self) -> Vec<u8> {
        self.targets.iter().map(|target| target.class).collect()
    }

    /// The meaning of labels for the loss.
    pub fn loss_targets(&self) -> LossTargets {
        let members = self.targets.iter().map(|target| {
            target.classes.iter().map(|class| i64::from(*class)).collect::<Vec<i64>>()
        });
        let regions = if self.has_regions { members.collect() } else { vec![] };
        LossTargets { regions, ignored: self.has_ignored.then_some(i64::from(IGNORED)) }
    }

    /// Class indices (X, Y, Z), Uint8, of an image (1, C, X, Y, Z), on its device: the most likely
    /// class, the first of equals; or that of the last region more likely than not.
    pub fn segment(&self, window: &SlidingWindow, image: &Tensor) -> Tensor {
        self.segment_and_show(window, image, |_| ())
    }

    /// The same; `show` gets what the networks say of the image, some rows at a time, in order.
    pub fn segment_and_show(
        &self,
        window: &SlidingWindow,
        image: &Tensor,
        mut show: impl FnMut(&ScoredRows),
    ) -> Tensor {
        let size = image.size();
        let held = window.held([2, 3, 4].map(|axis| size[axis] as usize), self.outputs());
        window.decided(image, held, |rows| {
            show(rows);
            match self.has_regions {
                true => self.map_of_regions(&rows.values.squeeze_dim(0), window.region_threshold()),
                false => rows.classes(),
            }
        })
    }

    /// Class indices (rows, Y, Z), Uint8, of the scores of regions (regions, rows, Y, Z): that of the
    /// last region whose score is above `least`.
    fn map_of_regions(&self, scores: &Tensor, least: f64) -> Tensor {
        let mut map = scores.get(0).zeros_like().to_kind(Kind::Uint8);
        for (index, target) in (0i64..).zip(&self.targets) {
            let _ = map.masked_fill_(&scores.get(index).gt(least), i64::from(target.class));
        }
        map
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

    fn labels(values: &[u8]) -> Vec<Label> {
        values.iter().map(|value| Label { value: *value, name: format!("l{value}") }).collect()
    }

    #[test]
    fn label_values_with_gaps_become_classes_without_and_come_back() {
        let classes = Classes::new(&labels(&[2, 7]));
        let mut voxels = [0, 7, 2, 7];
        classes.from_values(&mut voxels);
        assert_eq!(voxels, [0, 2, 1, 2]);
        classes.to_values(&mut voxels);
        assert_eq!(voxels, [0, 7, 2, 7]);
    }

    #[test]
    fn regions_are_outputs_and_voxels_to_ignore_a_class_beyond_all() {
        let region =
            |labels: &[u8], value| Region { name: "r".into(), labels: labels.into(), value };
        let classes =
            Classes::of(&labels(&[2, 7, 9]), &[region(&[2, 7, 9], 2), region(&[7], 7)], Some(10));
        let classes = classes.unwrap();
        assert_eq!((classes.count(), classes.outputs()), (4, 2));
        let targets = classes.loss_targets();
        assert_eq!((targets.regions, targets.ignored), (vec![vec![1, 2, 3], vec![2]], Some(254)));
        assert_eq!(classes.written(), [1, 2]);
        let mut voxels = [0, 10, 9];
        classes.from_values(&mut voxels);
        assert_eq!(voxels, [0, IGNORED, 3]);
        assert!(Classes::of(&labels(&[1]), &[region(&[1], 2)], None).is_err());
    }
}

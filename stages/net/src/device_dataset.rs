//! Training volumes that live on the device: patches are cut and augmented there, and only drawn
//! parameters are sent to it.
//!
//! Batches equal those of the loader threads, since all parameters are the same stateless draws.
//! Crops, flips, quarter turns, scale and shift have the same bits where volumes are kept in fp32;
//! affine transforms and gamma agree to rounding. Noise comes from the device's own generator,
//! seeded by (seed, epoch, item): it repeats on a device, and differs between devices.

use crate::batch::Batch;
use crate::batch_sampler::BatchSampler;
use crate::patch_view::PatchView;
use crate::subset::PreparedCase;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::Result;
use voxflow_stages::image::patch_sampler::middle;
use voxflow_stages::image::transform::Changes;

/// The volumes of a training on a device.
pub struct DeviceDataset<'a> {
    sampler: &'a BatchSampler<'a>,
    device: Device,
    cases: Vec<DeviceCase>,
}

/// A case: image (C, X, Y, Z) in the convolutions' numbers, and label classes (1, X, Y, Z), Uint8.
struct DeviceCase {
    image: Tensor,
    label: Tensor,
}

impl<'a> DeviceDataset<'a> {
    /// Size in bytes of a sampler's volumes, images as `kind`.
    pub fn bytes(sampler: &BatchSampler, kind: Kind) -> u64 {
        sampler.subset.cases.iter().map(|case| case_bytes(case, kind)).sum()
    }

    /// Copies a sampler's volumes to the device, images as `kind`.
    pub fn new(
        sampler: &'a BatchSampler<'a>,
        kind: Kind,
        device: Device,
    ) -> Result<DeviceDataset<'a>> {
        let cases = sampler.subset.cases.iter();
        let cases = cases.map(|case| DeviceCase::new(sampler, case, kind, device));
        Ok(DeviceDataset { sampler, device, cases: cases.collect::<Result<_>>()? })
    }

    /// Makes the share of batch `number`, counted from the start of the training.
    pub fn take(&self, number: u64) -> Result<Batch> {
        let (epoch, cases) = self.sampler.epoch_and_cases(number);
        let batch = self.sampler.empty_batch(&cases, self.device);
        no_grad(|| {
            for ((index, key), place) in self.sampler.patches(epoch, &cases).zip(0..) {
                let case = &self.sampler.subset.cases[index];
                let (start, changes) = self.sampler.draw_patch(case, key)?;
                let patch = PatchView {
                    image: batch.image.get(place),
                    label: batch.label.get(place),
                    classes: self.sampler.classes.count(),
                    has_ignored: self.sampler.classes.has_ignored(),
                    beyond: self.sampler.beyond(),
                };
                self.fill(patch, &self.cases[index], start, changes);
            }
            Ok(batch)
        })
    }

    /// Cuts and varies a patch. A leading spatial change reads from the larger initial patch.
    fn fill(&self, mut patch: PatchView, case: &DeviceCase, start: [i64; 3], changes: Changes) {
        let (sides, initial) = self.sampler.sides();
        let (rotoscale, changes) = changes.split_rotoscale();
        if let Some(rotoscale) = rotoscale {
            let larger = patch.of_sides(initial);
            larger.fill_beyond();
            larger.cut((&case.image, &case.label), start, [false; 3]);
            patch.resample_from(&larger, &rotoscale);
            return changes.apply(&mut patch);
        }
        let start = middle(start, initial, sides);
        let (flips, changes) = changes.split_mirrors();
        patch.fill_beyond();
        patch.cut((&case.image, &case.label), start, flips);
        changes.apply(&mut patch);
    }
}

fn case_bytes(case: &PreparedCase, kind: Kind) -> u64 {
    let voxels = case.image.shape().iter().product::<usize>() as u64;
    voxels * (case.image.channels() * kind.elt_size_in_bytes() + 1) as u64
}

impl DeviceCase {
    fn new(
        sampler: &BatchSampler,
        case: &PreparedCase,
        kind: Kind,
        device: Device,
    ) -> Result<DeviceCase> {
        let image = case.tensor_on(device)?.squeeze_dim(0).to_kind(kind);
        let (values, shape) = (sampler.label_values(case)?, case.image.shape());
        let label = sampler.classes.tensor(values, shape, device).unsqueeze(0);
        Ok(DeviceCase { image, label })
    }
}

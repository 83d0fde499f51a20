//! The random training sampler: the cases in each batch, the patches cut from them and their
//! augmentation. Everything depends on (seed, epoch, item) alone, whatever the number of ranks.

use crate::batch::Batch;
use crate::batch_share::BatchShare;
use crate::classes::Classes;
use crate::subset::{PreparedCase, Subset};
use tch::Device;
use voxflow_stages::image::candidates::Candidates;
use voxflow_stages::image::patch_sampler::{PatchKey, PatchSource, initial_start, sample};
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::image::transform::Changes;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::random::Draw;
use voxflow_stages::{Error, Result};

/// A volume of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DrawnCase {
    /// Its index among the cases.
    pub(crate) index: usize,
    /// The number of its first patch within the epoch.
    first_item: u64,
}

/// A volume whose patches begin with the `turn`th of the epoch's volumes.
fn drawn(params: &Train, index: usize, turn: usize) -> DrawnCase {
    DrawnCase { index, first_item: (turn * params.patches_per_volume) as u64 }
}

/// Draws the batches of a training.
pub struct BatchSampler<'a> {
    params: &'a Train,
    pub(crate) subset: &'a Subset,
    pub(crate) classes: &'a Classes,
    rank: usize,
    ranks: usize,
    /// Labels tell the outside of the non-zero region.
    is_marked: bool,
}

impl<'a> BatchSampler<'a> {
    /// The sampler for a training on a subset's cases.
    pub fn new(params: &'a Train, subset: &'a Subset, classes: &'a Classes) -> BatchSampler<'a> {
        let is_marked = params.augmentation.zeroed_channels().is_some();
        BatchSampler { params, subset, classes, rank: 0, ranks: 1, is_marked }
    }

    /// The same batches, of which only the share of `rank` among `ranks` is made.
    pub fn sharded(self, rank: usize, ranks: usize) -> BatchSampler<'a> {
        BatchSampler { rank, ranks, ..self }
    }

    /// Batches in an epoch; at least one.
    pub fn batches(&self) -> u64 {
        if let Some(steps) = self.params.steps_per_epoch {
            return u64::from(steps) * self.params.accumulate as u64;
        }
        let (cases, each) = (self.subset.cases.len(), self.params.volumes_per_step);
        let batches = if self.params.keep_last_batch { cases.div_ceil(each) } else { cases / each };
        batches.max(1) as u64
    }

    /// The epoch and the volumes of batch `number`, counted from the start of the training.
    pub(crate) fn epoch_and_cases(&self, number: u64) -> (u64, Vec<DrawnCase>) {
        let (epoch, batch) = (number / self.batches(), (number % self.batches()) as usize);
        let (params, all) = (self.params, self.subset.cases.len());
        if params.steps_per_epoch.is_some() {
            let turns = batch * params.volumes_per_step..(batch + 1) * params.volumes_per_step;
            let mut draw = Draw::new(params.seed, epoch, batch as u64, "volumes of a batch");
            let cases = turns.map(|turn| drawn(params, draw.below(all as u64) as usize, turn));
            return (epoch, cases.collect());
        }
        let mut order: Vec<usize> = (0..self.subset.cases.len()).collect();
        Draw::new(self.params.seed, epoch, 0, "order of volumes").shuffle(&mut order);
        let each = self.params.volumes_per_step;
        let cases = order.into_iter().skip(batch * each).take(each);
        (epoch, cases.map(|index| drawn(params, index, index)).collect())
    }

    /// This rank's share of the batch of these cases.
    fn share(&self, cases: &[DrawnCase]) -> BatchShare {
        BatchShare::new(cases.len() * self.params.patches_per_volume, self.rank, self.ranks)
    }

    /// The patches of this rank's share in order: case index, and the patch's key.
    pub(crate) fn patches(
        &self,
        epoch: u64,
        cases: &[DrawnCase],
    ) -> impl Iterator<Item = (usize, PatchKey)> {
        let (params, share) = (self.params, self.share(cases));
        let each = params.patches_per_volume;
        let all = cases.iter().flat_map(move |case| {
            (0..each).map(move |number| (case.index, case.first_item + number as u64))
        });
        let keyed = all.enumerate().map(move |(place, (index, item))| {
            let batch = (place, share.total);
            (index, PatchKey { seed: params.seed, epoch, item, batch })
        });
        keyed.skip(share.first).take(share.patches)
    }

    /// The first voxel of a patch before augmentation, and its augmentation.
    pub(crate) fn draw_patch(
        &self,
        case: &PreparedCase,
        key: PatchKey,
    ) -> Result<([i64; 3], Changes)> {
        let params = self.params;
        let start = initial_start(
            candidates(case)?,
            &params.sampling,
            case.image.shape(),
            params.patch,
            key,
        );
        Ok((start, params.augmentation.draw(params.patch, (key.seed, key.epoch, key.item))))
    }

    /// The label values that patches are cut from: marked, if the augmentation zeroes the outside.
    pub(crate) fn label_values<'b>(&self, case: &'b PreparedCase) -> Result<&'b [u8]> {
        if self.is_marked { case.marked_values() } else { case.label_values() }
    }

    /// The label beyond a volume.
    pub(crate) fn beyond(&self) -> u8 {
        if self.is_marked { OUTSIDE } else { 0 }
    }

    /// The sides of a patch, and those that are cut before augmentation.
    pub(crate) fn sides(&self) -> ([usize; 3], [usize; 3]) {
        let params = self.params;
        (params.patch, params.sampling.initial_patch.unwrap_or(params.patch))
    }

    /// Room for this rank's share of the batch of these cases.
    pub(crate) fn empty_batch(&self, cases: &[DrawnCase], device: Device) -> Batch {
        let (params, subset) = (self.params, self.subset);
        let names = cases.iter().map(|case| subset.cases[case.index].name.clone()).collect();
        Batch::zeros(names, self.share(cases), subset.channels(), params.patch, device)
    }

    /// Makes this rank's share of batch `number` on the processor.
    pub(crate) fn make(&self, number: u64) -> Result<Batch> {
        let (epoch, cases) = self.epoch_and_cases(number);
        let mut batch = self.empty_batch(&cases, Device::Cpu);
        for ((index, key), memory) in self.patches(epoch, &cases).zip(batch.memory()) {
            self.fill_patch(&self.subset.cases[index], key, memory)?;
        }
        Ok(batch)
    }

    /// Cuts and varies a patch, with classes for label values.
    fn fill_patch(
        &self,
        case: &PreparedCase,
        key: PatchKey,
        memory: (&mut [f32], &mut [u8]),
    ) -> Result<()> {
        let source = PatchSource {
            image: case.image.f32s()?,
            channels: case.image.channels(),
            shape: case.image.shape(),
            label: self.label_values(case)?,
            beyond: self.beyond(),
            candidates: candidates(case)?,
        };
        let (image, label) = memory;
        let params = self.params;
        sample(
            &source,
            &params.sampling,
            &params.augmentation,
            params.patch,
            key,
            (image, &mut *label),
        );
        self.classes.from_values(label);
        Ok(())
    }
}

fn candidates(case: &PreparedCase) -> Result<&Candidates> {
    case.candidates
        .as_ref()
        .ok_or_else(|| Error::failed(format!("case '{}' has no candidates", case.name)))
}

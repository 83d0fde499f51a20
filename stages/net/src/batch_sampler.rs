//! The random training sampler: the cases in each batch, the patches cut from them and their
//! augmentation. Everything depends on (seed, epoch, item) alone, whatever the number of ranks.

use crate::batch::Batch;
use crate::batch_share::BatchShare;
use crate::classes::Classes;
use crate::subset::{PreparedCase, Subset};
use tch::Device;
use voxflow_stages::image::candidates::Candidates;
use voxflow_stages::image::patch_sampler::{Case, place, sample};
use voxflow_stages::image::transform::Changes;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::random::Draw;
use voxflow_stages::{Error, Result};

/// Draws the batches of a training.
pub struct BatchSampler<'a> {
    params: &'a Train,
    pub(crate) subset: &'a Subset,
    pub(crate) classes: &'a Classes,
    rank: usize,
    ranks: usize,
}

impl<'a> BatchSampler<'a> {
    /// The sampler for a training on a subset's cases.
    pub fn new(params: &'a Train, subset: &'a Subset, classes: &'a Classes) -> BatchSampler<'a> {
        BatchSampler { params, subset, classes, rank: 0, ranks: 1 }
    }

    /// The same batches, of which only the share of `rank` among `ranks` is made.
    pub fn sharded(self, rank: usize, ranks: usize) -> BatchSampler<'a> {
        BatchSampler { rank, ranks, ..self }
    }

    /// Batches in an epoch; at least one.
    pub fn batches(&self) -> u64 {
        let (cases, each) = (self.subset.cases.len(), self.params.volumes_per_step);
        let batches = if self.params.keep_last_batch { cases.div_ceil(each) } else { cases / each };
        batches.max(1) as u64
    }

    /// The epoch and the case indices of batch `number`, counted from the start of the training.
    pub(crate) fn epoch_and_cases(&self, number: u64) -> (u64, Vec<usize>) {
        let (epoch, batch) = (number / self.batches(), (number % self.batches()) as usize);
        let mut order: Vec<usize> = (0..self.subset.cases.len()).collect();
        Draw::new(self.params.seed, epoch, 0, "order of volumes").shuffle(&mut order);
        let each = self.params.volumes_per_step;
        (epoch, order.into_iter().skip(batch * each).take(each).collect())
    }

    /// This rank's share of the batch of these cases.
    fn share(&self, cases: &[usize]) -> BatchShare {
        BatchShare::new(cases.len() * self.params.patches_per_volume, self.rank, self.ranks)
    }

    /// The patches of this rank's share in order: case index, and patch number within the epoch.
    pub(crate) fn patches(&self, cases: &[usize]) -> impl Iterator<Item = (usize, u64)> {
        let (each, share) = (self.params.patches_per_volume, self.share(cases));
        let all = cases.iter().flat_map(move |&index| {
            (0..each).map(move |number| (index, (index * each + number) as u64))
        });
        all.skip(share.first).take(share.patches)
    }

    /// A patch's first voxel in its volume, and its augmentation.
    pub(crate) fn draw_patch(
        &self,
        case: &PreparedCase,
        epoch: u64,
        item: u64,
    ) -> Result<([i64; 3], Changes)> {
        let (params, key) = (self.params, (self.params.seed, epoch, item));
        let start =
            place(candidates(case)?, &params.sampling, case.image.shape(), params.patch, key);
        Ok((start, params.augmentation.draw(params.patch, key)))
    }

    /// Room for this rank's share of the batch of these cases.
    pub(crate) fn empty_batch(&self, cases: &[usize], device: Device) -> Batch {
        let (params, subset) = (self.params, self.subset);
        let names = cases.iter().map(|&index| subset.cases[index].name.clone()).collect();
        Batch::zeros(names, self.share(cases), subset.channels(), params.patch, device)
    }

    /// Makes this rank's share of batch `number` on the processor.
    pub(crate) fn make(&self, number: u64) -> Result<Batch> {
        let (epoch, cases) = self.epoch_and_cases(number);
        let mut batch = self.empty_batch(&cases, Device::Cpu);
        for ((index, item), memory) in self.patches(&cases).zip(batch.memory()) {
            self.fill_patch(&self.subset.cases[index], (self.params.seed, epoch, item), memory)?;
        }
        Ok(batch)
    }

    /// Cuts and varies a patch, with classes for label values.
    fn fill_patch(
        &self,
        case: &PreparedCase,
        key: (u64, u64, u64),
        memory: (&mut [f32], &mut [u8]),
    ) -> Result<()> {
        let source = Case {
            image: case.image.f32s()?,
            channels: case.image.channels(),
            shape: case.image.shape(),
            label: case.label_values()?,
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

//! The loader: threads that make batches ahead of the training. Which patch comes when depends on
//! (seed, epoch, item) alone, never on the threads.

use crate::cases::{Classes, Part, PreparedCase};
use crate::memory::pinned;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};
use voxflow_stages::image::candidates::Candidates;
use voxflow_stages::image::patch_sampler::{Case, place, sample};
use voxflow_stages::image::transform::Changes;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::random::Draw;
use voxflow_stages::{Error, Result};

/// One batch.
pub struct Batch {
    /// Images (N, C, X, Y, Z), fp32.
    pub(crate) image: Tensor,
    /// Classes (N, 1, X, Y, Z), Uint8.
    pub(crate) label: Tensor,
    /// The number of patches.
    pub patches: usize,
    /// The names of its cases.
    pub cases: Vec<String>,
}

impl Batch {
    /// A batch of patches of these cases that are still 0.
    pub(crate) fn new(plan: &Plan, chosen: &[usize], device: Device) -> Batch {
        let patches = chosen.len() * plan.params.patches_per_volume;
        let [x, y, z] = plan.params.patch;
        let zeros = |channels: usize, kind| {
            Tensor::zeros([patches, channels, x, y, z].map(|side| side as i64), (kind, device))
        };
        let (image, label) = (zeros(plan.part.channels(), Kind::Float), zeros(1, Kind::Uint8));
        let cases = chosen.iter().map(|&index| plan.part.cases[index].name.clone()).collect();
        Batch { image, label, patches, cases }
    }

    /// Puts the batch where a device copies from without waiting.
    fn pin(self, device: Device) -> Batch {
        Batch { image: pinned(self.image, device), label: pinned(self.label, device), ..self }
    }

    /// Images (N, C, X, Y, Z), and labels (N, 1, X, Y, Z) of kind Int64, on a device. Images are
    /// laid out with channels last there too: what tensor cores read in 16 bits; for fp32 on a GPU
    /// nothing is measured.
    pub fn tensors(&self, device: Device) -> (Tensor, Tensor) {
        let [image, label] = [&self.image, &self.label]
            .map(|tensor| tensor.to_device_(device, tensor.kind(), true, false));
        (crate::network::channels_last(&image), label.to_kind(Kind::Int64))
    }

    /// The memory of each patch: its image and its label.
    fn memory(&mut self) -> impl Iterator<Item = (&mut [f32], &mut [u8])> {
        // SAFETY: both tensors were made here, contiguous, of these kinds and on the processor, and
        // nothing else shares them; the slices borrow the batch.
        let (image, label) = unsafe {
            let (image, label) =
                (self.image.data_ptr().cast::<f32>(), self.label.data_ptr().cast::<u8>());
            let slices = (self.image.numel(), self.label.numel());
            (
                std::slice::from_raw_parts_mut(image, slices.0),
                std::slice::from_raw_parts_mut(label, slices.1),
            )
        };
        let each = (image.len() / self.patches, label.len() / self.patches);
        image.chunks_exact_mut(each.0).zip(label.chunks_exact_mut(each.1))
    }
}

/// Which patches make up which batch.
pub struct Plan<'a> {
    params: &'a Train,
    pub(crate) part: &'a Part,
    pub(crate) classes: &'a Classes,
}

impl<'a> Plan<'a> {
    /// The plan of a training.
    pub fn new(params: &'a Train, part: &'a Part, classes: &'a Classes) -> Plan<'a> {
        Plan { params, part, classes }
    }

    /// Batches in an epoch; at least one.
    pub fn batches(&self) -> u64 {
        let (cases, each) = (self.part.cases.len(), self.params.volumes_per_step);
        let batches = if self.params.keep_last_batch { cases.div_ceil(each) } else { cases / each };
        batches.max(1) as u64
    }

    /// The epoch of batch `number`, counted from the start of the training, and its cases.
    pub(crate) fn chosen(&self, number: u64) -> (u64, Vec<usize>) {
        let (epoch, batch) = (number / self.batches(), (number % self.batches()) as usize);
        let mut order: Vec<usize> = (0..self.part.cases.len()).collect();
        Draw::new(self.params.seed, epoch, 0, "order of volumes").shuffle(&mut order);
        (
            epoch,
            order
                .into_iter()
                .skip(batch * self.params.volumes_per_step)
                .take(self.params.volumes_per_step)
                .collect(),
        )
    }

    /// The patches of cases in order: the case of each, and its number among the patches of the
    /// epoch.
    pub(crate) fn items(&self, chosen: &[usize]) -> impl Iterator<Item = (usize, u64)> {
        let each = self.params.patches_per_volume;
        chosen.iter().flat_map(move |&index| {
            (0..each).map(move |number| (index, (index * each + number) as u64))
        })
    }

    /// Where a patch of a case begins, and what it gets.
    pub(crate) fn draw(
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

    /// Makes batch `number` on the processor.
    pub(crate) fn make(&self, number: u64) -> Result<Batch> {
        let (epoch, chosen) = self.chosen(number);
        let mut made = Batch::new(self, &chosen, Device::Cpu);
        for ((index, item), memory) in self.items(&chosen).zip(made.memory()) {
            self.patch(&self.part.cases[index], (self.params.seed, epoch, item), memory)?;
        }
        Ok(made)
    }

    fn patch(
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

/// A bounded queue of batches in order.
pub struct Feed<'a> {
    plan: &'a Plan<'a>,
    last: u64,
    depth: u64,
    device: Device,
    queue: Mutex<Queue>,
    moved: Condvar,
}

struct Queue {
    begun: u64,
    taken: u64,
    ready: BTreeMap<u64, Result<Batch>>,
    closed: bool,
}

impl<'a> Feed<'a> {
    /// A feed of the batches `first..last`, at most `depth` of them ahead, for a device.
    pub fn new(plan: &'a Plan<'a>, first: u64, last: u64, depth: u64, device: Device) -> Feed<'a> {
        let queue = Queue { begun: first, taken: first, ready: BTreeMap::new(), closed: false };
        Feed { plan, last, depth, device, queue: Mutex::new(queue), moved: Condvar::new() }
    }

    /// Makes batches until all are made or the feed is closed: the body of a loader thread.
    pub fn fill(&self) {
        while let Some(number) = self.begin() {
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.make(number)));
            let made = made.unwrap_or_else(|_| {
                Err(Error::failed(format!("the loader panicked at batch {number}")))
            });
            self.lock().ready.insert(number, made);
            self.moved.notify_all();
        }
    }

    fn make(&self, number: u64) -> Result<Batch> {
        Ok(self.plan.make(number)?.pin(self.device))
    }

    /// The next batch, in order.
    pub fn take(&self) -> Result<Batch> {
        let mut queue = self.lock();
        loop {
            let next = queue.taken;
            if let Some(batch) = queue.ready.remove(&next) {
                queue.taken += 1;
                self.moved.notify_all();
                return batch;
            }
            if queue.closed || next >= self.last {
                return Err(Error::failed("no batch is left"));
            }
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the loader threads.
    pub fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }

    fn begin(&self) -> Option<u64> {
        let mut queue = self.lock();
        while !queue.closed && queue.begun < self.last && queue.begun >= queue.taken + self.depth {
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed || queue.begun >= self.last {
            return None;
        }
        queue.begun += 1;
        Some(queue.begun - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The loader: threads that make batches ahead of the training. Which patch comes when depends on
//! (seed, epoch, item) alone, never on the threads.

use crate::cases::{Classes, Part, PreparedCase};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};
use voxflow_stages::image::patch::{Case, Patch, sample};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::random::Draw;
use voxflow_stages::{Error, Result};

/// One batch.
pub struct Batch {
    /// Values of (N, C, X, Y, Z), z fastest.
    pub image: Vec<f32>,
    /// Classes of (N, 1, X, Y, Z).
    pub label: Vec<u8>,
    /// N, C, X, Y, Z.
    pub shape: [i64; 5],
    /// The names of its cases.
    pub cases: Vec<String>,
}

impl Batch {
    /// Images, and labels of kind Int64, on a device.
    pub fn tensors(&self, device: Device) -> (Tensor, Tensor) {
        let [n, _, x, y, z] = self.shape;
        let image = Tensor::from_slice(&self.image).reshape(self.shape).to_device(device);
        let label = Tensor::from_slice(&self.label).reshape([n, 1, x, y, z]).to_device(device).to_kind(Kind::Int64);
        (crate::unet::channels_last(&image), label)
    }
}

/// Which patches make up which batch.
pub struct Plan<'a> {
    params: &'a Train,
    part: &'a Part,
    classes: &'a Classes,
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

    /// Makes batch `number`, counted from the start of the training.
    fn make(&self, number: u64) -> Result<Batch> {
        let (epoch, batch) = (number / self.batches(), (number % self.batches()) as usize);
        let each = self.params.volumes_per_step;
        let order = self.order(epoch);
        let chosen = &order[(batch * each).min(order.len())..((batch + 1) * each).min(order.len())];
        let mut made = Batch { image: vec![], label: vec![], shape: [0; 5], cases: vec![] };
        for &index in chosen {
            made.cases.push(self.part.cases[index].name.clone());
            for number in 0..self.params.patches_per_volume {
                let item = index * self.params.patches_per_volume + number;
                let patch = self.patch(&self.part.cases[index], (self.params.seed, epoch, item as u64))?;
                made.image.extend(&patch.image);
                made.label.extend(&patch.label);
            }
        }
        let [x, y, z] = self.params.patch.map(|side| side as i64);
        let count = (chosen.len() * self.params.patches_per_volume) as i64;
        made.shape = [count, self.part.channels() as i64, x, y, z];
        Ok(made)
    }

    fn patch(&self, case: &PreparedCase, key: (u64, u64, u64)) -> Result<Patch> {
        let candidates = case.candidates.as_ref();
        let candidates = candidates.ok_or_else(|| Error::failed(format!("case '{}' has no candidates", case.name)))?;
        let source = Case {
            image: case.image.f32s()?,
            channels: case.image.channels(),
            shape: case.image.shape(),
            label: case.label_values()?,
            candidates,
        };
        let mut patch = sample(&source, &self.params.sampling, &self.params.augmentation, self.params.patch, key);
        self.classes.from_values(&mut patch.label);
        Ok(patch)
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.part.cases.len()).collect();
        Draw::new(self.params.seed, epoch, 0, "order of volumes").shuffle(&mut order);
        order
    }
}

/// A bounded queue of batches in order.
pub struct Feed<'a> {
    plan: &'a Plan<'a>,
    last: u64,
    depth: u64,
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
    /// A feed of the batches `first..last`, at most `depth` of them ahead.
    pub fn new(plan: &'a Plan<'a>, first: u64, last: u64, depth: u64) -> Feed<'a> {
        let queue = Queue { begun: first, taken: first, ready: BTreeMap::new(), closed: false };
        Feed { plan, last, depth, queue: Mutex::new(queue), moved: Condvar::new() }
    }

    /// Makes batches until all are made or the feed is closed: the body of a loader thread.
    pub fn fill(&self) {
        while let Some(number) = self.begin() {
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.plan.make(number)));
            let made = made.unwrap_or_else(|_| Err(Error::failed(format!("the loader panicked at batch {number}"))));
            self.lock().ready.insert(number, made);
            self.moved.notify_all();
        }
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

/// Closes the feed when dropped, so that a failed training does not wait for its loaders.
pub struct Closing<'a>(pub &'a Feed<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

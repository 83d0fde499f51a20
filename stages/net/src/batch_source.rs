//! The source of a training's batches: volumes on the device, or loader threads.

use crate::batch::Batch;
use crate::batch_sampler::BatchSampler;
use crate::device::DeviceInfo;
use crate::device_dataset::DeviceDataset;
use crate::device_room::DeviceRoom;
use crate::prefetch_queue::PrefetchQueue;
use tch::Kind;
use voxflow_stages::{Context, Result};

/// The variable that keeps training volumes on the `device` or in `memory`; by default the device's
/// room decides.
pub const VOLUMES: &str = "VOXFLOW_TRAINING_VOLUMES";

/// A source of batches.
pub enum BatchSource<'a> {
    /// Cut on the device when they are taken.
    Device(DeviceDataset<'a>),
    /// Made ahead by this many threads.
    Threads(PrefetchQueue<'a>, usize),
}

impl<'a> BatchSource<'a> {
    /// The source for batches `first..end`: the device if it has room for the volumes, else loader
    /// threads. Logs the choice.
    pub fn new(
        cx: &Context,
        sampler: &'a BatchSampler<'a>,
        (info, room): (&DeviceInfo, Option<DeviceRoom>),
        compute: Kind,
        (first, end): (u64, u64),
        threads: usize,
    ) -> Result<BatchSource<'a>> {
        let bytes = DeviceDataset::bytes(sampler, compute);
        let fits = match std::env::var(VOLUMES).as_deref() {
            Ok("device") => true,
            Ok("memory") => false,
            _ => room.is_some_and(|room| room.holds(bytes)),
        };
        let name = &info.name;
        if fits {
            let size = gigabytes(bytes);
            cx.info(format!(
                "training volumes: {size} on {name}, where patches are cut and varied"
            ));
            return Ok(BatchSource::Device(DeviceDataset::new(sampler, compute, info.device)?));
        }
        if let Some(room) = room {
            cx.info(format!(
                "training volumes: {}, and {name} has room for {}; {threads} threads make patches",
                gigabytes(bytes),
                gigabytes(room.bytes())
            ));
        }
        // Two batches are ready ahead of those that the threads are making.
        let depth = 2 + threads as u64;
        let queue = PrefetchQueue::new(sampler, first, end, depth, info.device);
        Ok(BatchSource::Threads(queue, threads))
    }

    /// The queue, once for each loader thread to start.
    pub fn loaders(&self) -> impl Iterator<Item = &PrefetchQueue<'a>> {
        let queue = match self {
            BatchSource::Threads(queue, threads) => Some((queue, *threads)),
            BatchSource::Device(_) => None,
        };
        queue.into_iter().flat_map(|(queue, threads)| std::iter::repeat_n(queue, threads))
    }

    /// Batch `number`, counted from the start of the training; batches are taken in order.
    pub fn take(&self, number: u64) -> Result<Batch> {
        match self {
            BatchSource::Device(dataset) => dataset.take(number),
            BatchSource::Threads(queue, _) => queue.take(),
        }
    }
}

/// Closes the source when dropped: a failed training must not wait for its loaders.
pub struct CloseOnDrop<'a>(pub &'a BatchSource<'a>);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        if let BatchSource::Threads(queue, _) = self.0 {
            queue.close();
        }
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

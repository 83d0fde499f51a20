//! Batches made ahead of the training by loader threads. The patches depend on (seed, epoch, item)
//! alone, never on the threads.

use crate::batch::Batch;
use crate::batch_sampler::BatchSampler;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tch::Device;
use voxflow_stages::{Error, Result};

/// A bounded queue of batches in order.
pub struct PrefetchQueue<'a> {
    sampler: &'a BatchSampler<'a>,
    end: u64,
    depth: u64,
    device: Device,
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    /// The next batch to make.
    next_made: u64,
    /// The next batch to take.
    next_taken: u64,
    ready: BTreeMap<u64, Result<Batch>>,
    closed: bool,
}

impl<'a> PrefetchQueue<'a> {
    /// A queue of the batches `first..end`, at most `depth` ahead, pinned for a device.
    pub fn new(
        sampler: &'a BatchSampler<'a>,
        first: u64,
        end: u64,
        depth: u64,
        device: Device,
    ) -> PrefetchQueue<'a> {
        let ready = BTreeMap::new();
        let state = QueueState { next_made: first, next_taken: first, ready, closed: false };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        PrefetchQueue { sampler, end, depth, device, state, changed }
    }

    /// Makes batches until all are made or the queue is closed: the body of a loader thread.
    pub fn fill(&self) {
        while let Some(number) = self.begin() {
            // A panic must reach `take`, which would wait for this batch forever.
            let made = catch_unwind(AssertUnwindSafe(|| self.make(number)));
            let made = made.unwrap_or_else(|_| {
                Err(Error::failed(format!("the loader panicked at batch {number}")))
            });
            self.lock().ready.insert(number, made);
            self.changed.notify_all();
        }
    }

    fn make(&self, number: u64) -> Result<Batch> {
        Ok(self.sampler.make(number)?.pin(self.device))
    }

    /// Waits for the next batch in order. Errors if it could not be made, if the queue is closed,
    /// or after the last batch.
    pub fn take(&self) -> Result<Batch> {
        let mut state = self.lock();
        loop {
            let next = state.next_taken;
            if let Some(batch) = state.ready.remove(&next) {
                state.next_taken += 1;
                self.changed.notify_all();
                return batch;
            }
            if state.closed || next >= self.end {
                return Err(Error::failed("no batch is left"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the loader threads.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Claims the next batch to make, once fewer than `depth` are ahead.
    fn begin(&self) -> Option<u64> {
        let mut state = self.lock();
        while !state.closed
            && state.next_made < self.end
            && state.next_made >= state.next_taken + self.depth
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed || state.next_made >= self.end {
            return None;
        }
        state.next_made += 1;
        Some(state.next_made - 1)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

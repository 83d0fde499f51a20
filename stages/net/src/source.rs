//! Where a training's batches come from: volumes on the device, or threads that make them in
//! memory.

use crate::device::Place;
use crate::loader::{Batch, Feed, Plan};
use crate::memory;
use crate::resident::Resident;
use std::fmt::Display;
use tch::Kind;
use voxflow_stages::{Context, Result};

/// Where training volumes are kept, against what is decided by the memory that is free: `device` or
/// `memory`.
pub const VOLUMES: &str = "VOXFLOW_TRAINING_VOLUMES";

/// The part of a device's free memory that volumes may take: a share of 1 in this; a step needs the
/// rest.
const SHARE: u64 = 4;

/// A source of batches.
pub enum Source<'a> {
    /// Made on the device when they are taken.
    Resident(Resident<'a>),
    /// Made ahead by threads.
    Feed(Feed<'a>, usize),
}

impl<'a> Source<'a> {
    /// The source of batches `first..last`: the device where it has room, else `threads`. Tells
    /// which.
    pub fn new(
        cx: &Context,
        plan: &'a Plan<'a>,
        place: &Place,
        compute: Kind,
        (first, last): (u64, u64),
        threads: usize,
    ) -> Result<Source<'a>> {
        let bytes = Resident::bytes(plan, compute);
        let free = memory::of(place.device).map(|memory| memory.free);
        let fits = match std::env::var(VOLUMES).as_deref() {
            Ok("device") => true,
            Ok("memory") => false,
            _ => free.is_some_and(|free| bytes <= free / SHARE),
        };
        let name = &place.name;
        if fits {
            cx.info(format!(
                "training volumes: {} on {name}, where patches are cut and varied",
                size(bytes)
            ));
            return Ok(Source::Resident(Resident::new(plan, compute, place.device)?));
        }
        if let Some(free) = free {
            let (bytes, free) = (size(bytes), size(free));
            cx.info(format!("training volumes: {bytes}, of {free} free on {name}; {threads} threads make patches"));
        }
        Ok(Source::Feed(Feed::new(plan, first, last, 2 + threads as u64, place.device), threads))
    }

    /// The feed once for each thread that is to fill it.
    pub fn to_fill(&self) -> impl Iterator<Item = &Feed<'a>> {
        let feed =
            if let Source::Feed(feed, threads) = self { Some((feed, *threads)) } else { None };
        feed.into_iter().flat_map(|(feed, threads)| std::iter::repeat_n(feed, threads))
    }

    /// Batch `number`, counted from the start of the training; they are taken in order.
    pub fn take(&self, number: u64) -> Result<Batch> {
        match self {
            Source::Resident(resident) => resident.take(number),
            Source::Feed(feed, _) => feed.take(),
        }
    }
}

/// Closes the source when dropped, so that a failed training does not wait for its loaders.
pub struct Closing<'a>(pub &'a Source<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Source::Feed(feed, _) = self.0 {
            feed.close();
        }
    }
}

fn size(bytes: u64) -> impl Display {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

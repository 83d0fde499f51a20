//! Inversion of scores that come a few rows at a time, a row being a plane of the slowest axis of a
//! tensor (X, Y, Z). Each slab of the image's own grid is decided as soon as the rows around it are
//! there, and rows that no later slab needs are dropped. The labels are those of [`Inverter`], bit
//! by bit.

use crate::error::{Error, Result};
use crate::image::Volume;
use crate::image::invert::{Decision, Inverter};
use crate::image::resample::{Planes, Z_FASTEST};
use std::collections::VecDeque;
use std::ops::Range;

/// Labels on the image's own grid, as far as rows of scores have come.
pub struct RowInverter {
    inverter: Inverter,
    decision: Decision,
    channels: usize,
    labels: Vec<u8>,
    /// The rows that each slab is made of.
    needs: Vec<Range<usize>>,
    /// For each slab, the first row that it or a later one needs.
    first_needed: Vec<usize>,
    /// The first slab that is not decided yet.
    next: usize,
    /// Rows that have come.
    come: usize,
    held: VecDeque<HeldRows>,
}

/// Scores (channels, rows, Y, Z), z fastest.
struct HeldRows {
    rows: Range<usize>,
    scores: Vec<f32>,
}

impl HeldRows {
    /// Keeps the rows from `first` on.
    fn drop_before(&mut self, first: usize, channels: usize) {
        let (before, all) = (first.saturating_sub(self.rows.start), self.rows.len());
        if before == 0 {
            return;
        }
        let plane = self.scores.len() / (channels * all);
        let each = self.scores.chunks_exact(all * plane);
        self.scores = each.flat_map(|rows| &rows[before * plane..]).copied().collect();
        self.rows.start = first;
    }
}

/// The rows of one channel.
struct Channel<'a> {
    held: &'a VecDeque<HeldRows>,
    channel: usize,
    /// Voxels of a row.
    plane: usize,
}

impl Planes<f32> for Channel<'_> {
    fn plane(&self, index: usize) -> &[f32] {
        let held = self.held.iter().find(|held| held.rows.contains(&index));
        held.map_or(&[], |HeldRows { rows, scores }| {
            let row = self.channel * rows.len() + index - rows.start;
            &scores[row * self.plane..][..self.plane]
        })
    }
}

impl RowInverter {
    /// For scores of so many classes or regions on a prepared volume.
    pub fn new(inverter: Inverter, decision: Decision, channels: usize) -> Result<RowInverter> {
        decision.check(channels)?;
        let resampler = inverter.resampler();
        let needs = resampler.planes_of_slabs(Z_FASTEST);
        let rows = resampler.source_voxels() / resampler.source_plane(Z_FASTEST).max(1);
        let mut first_needed = vec![];
        needs.iter().rev().fold(rows, |later, need| {
            let first = if need.is_empty() { later } else { later.min(need.start) };
            first_needed.push(first);
            first
        });
        first_needed.reverse();
        Ok(RowInverter {
            labels: vec![0; needs.len() * resampler.slab(Z_FASTEST)],
            held: VecDeque::new(),
            next: 0,
            come: 0,
            inverter,
            decision,
            channels,
            needs,
            first_needed,
        })
    }

    /// Takes the next rows: (channels, rows, Y, Z), z fastest.
    pub fn add(&mut self, scores: Vec<f32>) -> Result<()> {
        let row = self.channels * self.inverter.resampler().source_plane(Z_FASTEST);
        let rows = scores.len() / row.max(1);
        if rows * row != scores.len() {
            return Err(Error::failed(format!(
                "{} numbers are not whole rows of {row} scores",
                scores.len()
            )));
        }
        self.held.push_back(HeldRows { rows: self.come..self.come + rows, scores });
        self.come += rows;
        self.decide();
        let needed = self.first_needed.get(self.next).copied().unwrap_or(self.come);
        self.held.retain(|held| held.rows.end > needed);
        if let Some(first) = self.held.front_mut() {
            first.drop_before(needed, self.channels);
        }
        Ok(())
    }

    /// Rows that are held for slabs to come.
    pub fn held_rows(&self) -> usize {
        self.held.iter().map(|held| held.rows.len()).sum()
    }

    /// Decides the slabs whose rows have all come.
    fn decide(&mut self) {
        let ready = self.needs[self.next..].iter().take_while(|need| need.end <= self.come).count();
        let resampler = self.inverter.resampler();
        let slab = resampler.slab(Z_FASTEST);
        let (first, plane) = (self.next, resampler.source_plane(Z_FASTEST));
        let labels = &mut self.labels[first * slab..(first + ready) * slab];
        let (held, channels, decision) = (&self.held, self.channels, &self.decision);
        resampler.in_slabs_from(first, labels, Z_FASTEST, |slabs, labels, plan| {
            decision.fill(labels, channels, |channel, out| {
                let source = Channel { held, channel, plane };
                plan.linear_of_planes(&source, slabs.clone(), out, |_, _| {});
            });
        });
        self.next += ready;
    }

    /// The label map, after all rows have come.
    pub fn finish(self) -> Result<Volume<u8>> {
        if self.next < self.needs.len() {
            return Err(Error::failed(format!(
                "{} of {} slabs are without scores",
                self.needs.len() - self.next,
                self.needs.len()
            )));
        }
        Ok(self.inverter.turned_back(self.labels, Z_FASTEST))
    }
}

//! The non-zero region: voxels that are not 0 in some channel, and those enclosed by them.

use crate::image::crop::{Box3, Foreground};
use std::ops::Range;

/// The box around voxels with a non-zero channel; `None` if all are 0.
pub fn nonzero_box<'a>(
    channels: impl Iterator<Item = &'a [f32]>,
    shape: [usize; 3],
) -> Option<Box3> {
    let [width, height, _] = shape;
    let mut found = Foreground::none();
    for channel in channels {
        for (z, slab) in channel.chunks_exact((width * height).max(1)).enumerate() {
            found = found.and(Foreground::of_slab(z, slab, width, |value| value != 0.0));
        }
    }
    found.boxed(shape, 0)
}

/// A flag for each voxel: true in the non-zero region, its holes filled. A hole is not connected to
/// the volume's faces through the sides of voxels.
pub fn nonzero_mask(channels: &[&[f32]], shape: [usize; 3]) -> Vec<bool> {
    let voxels = shape.iter().product();
    let mut mask = vec![false; voxels];
    for channel in channels {
        mask.iter_mut().zip(*channel).for_each(|(set, value)| *set |= *value != 0.0);
    }
    if mask.contains(&false) {
        fill_holes(&mut mask, shape);
    }
    mask
}

/// Zeros in a row: the first voxel, and the end (exclusive).
struct ZeroRun {
    start: u32,
    end: u32,
    parent: u32,
}

/// Runs with zeros, joined if they touch; run 0 is everything outside.
struct ZeroRuns(Vec<ZeroRun>);

impl ZeroRuns {
    fn root(&mut self, mut run: u32) -> u32 {
        while self.0[run as usize].parent != run {
            let above = self.0[self.0[run as usize].parent as usize].parent;
            self.0[run as usize].parent = above;
            run = above;
        }
        run
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        let (low, high) = (one.min(other), one.max(other));
        self.0[high as usize].parent = low;
    }

    /// Joins overlapping runs from two rows.
    fn join_rows(&mut self, one: Range<u32>, other: Range<u32>) {
        let (mut a, mut b) = (one.start, other.start);
        while a < one.end && b < other.end {
            let (first, second) = (&self.0[a as usize], &self.0[b as usize]);
            let (overlap, first_ends) =
                (first.start < second.end && second.start < first.end, first.end < second.end);
            if overlap {
                self.join(a, b);
            }
            if first_ends { a += 1 } else { b += 1 }
        }
    }
}

fn fill_holes(mask: &mut [bool], [width, height, depth]: [usize; 3]) {
    let mut runs = ZeroRuns(vec![ZeroRun { start: 0, end: 0, parent: 0 }]);
    // Past the last run of each row.
    let mut ends: Vec<u32> = Vec::with_capacity(height * depth);
    for (row, voxels) in mask.chunks_exact(width.max(1)).enumerate() {
        let first = runs.0.len() as u32;
        add_runs(&mut runs, voxels);
        let here = first..runs.0.len() as u32;
        ends.push(here.end);
        let (y, z) = (row % height, row / height);
        let is_face = y == 0 || z == 0 || y + 1 == height || z + 1 == depth;
        for run in here.clone() {
            let ZeroRun { start, end, .. } = runs.0[run as usize];
            if is_face || start == 0 || end as usize == width {
                runs.join(0, run);
            }
        }
        if y > 0 {
            runs.join_rows(runs_of(row - 1, &ends), here.clone());
        }
        if z > 0 {
            runs.join_rows(runs_of(row - height, &ends), here);
        }
    }
    let mut first = 1;
    for (voxels, end) in mask.chunks_exact_mut(width.max(1)).zip(ends) {
        for run in first..end {
            if runs.root(run) != 0 {
                let ZeroRun { start, end, .. } = runs.0[run as usize];
                voxels[start as usize..end as usize].fill(true);
            }
        }
        first = end;
    }
}

/// The runs of a row, by the first run after each row.
fn runs_of(row: usize, ends: &[u32]) -> Range<u32> {
    ends[..row].last().copied().unwrap_or(1)..ends[row]
}

fn add_runs(runs: &mut ZeroRuns, voxels: &[bool]) {
    let mut at = 0;
    while let Some(zeros) = voxels[at..].iter().position(|set| !set) {
        let start = at + zeros;
        let length = voxels[start..].iter().position(|set| *set).unwrap_or(voxels.len() - start);
        at = start + length;
        let parent = runs.0.len() as u32;
        runs.0.push(ZeroRun { start: start as u32, end: at as u32, parent });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_bays_are_not() {
        let [w, h, d] = [6, 5, 5];
        let mut shell = vec![0.0f32; w * h * d];
        for (at, value) in shell.iter_mut().enumerate() {
            let (x, y, z) = (at % w, at / w % h, at / w / h);
            let inside = (1..5).contains(&x) && (1..4).contains(&y) && (1..4).contains(&z);
            let core = (2..4).contains(&x) && y == 2 && z == 2;
            *value = if inside && !core { -1.0 } else { 0.0 };
        }
        assert_eq!(nonzero_mask(&[&shell], [w, h, d]).iter().filter(|set| **set).count(), 36);
        let found = nonzero_box([&shell[..]].into_iter(), [w, h, d]).unwrap();
        assert_eq!(found, Box3 { start: [1; 3], end: [5, 4, 4] });
        // A channel to the outside, closed again by the other channel.
        let at = 3 + w * (2 + h * 3);
        shell[at] = 0.0;
        assert_eq!(nonzero_mask(&[&shell], [w, h, d]).iter().filter(|set| **set).count(), 33);
        let mut other = vec![0.0f32; w * h * d];
        other[at] = 2.0;
        let both = nonzero_mask(&[&shell, &other], [w, h, d]);
        assert_eq!(both.iter().filter(|set| **set).count(), 36);
        assert_eq!(nonzero_box([&[0.0f32; 8][..]].into_iter(), [2; 3]), None);
    }
}

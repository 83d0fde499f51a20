//! A window: the part of a volume that a patch shows, and its copy from the volume's layout (x
//! fastest) to the patch's (z fastest).

use crate::image::tile::Tiled;
use std::ops::Range;

/// Region of a volume shown by a patch, with mirrored axes.
pub(super) struct Window {
    /// The volume's X, Y, Z.
    pub shape: [usize; 3],
    /// The patch's first voxel, which may lie outside.
    pub start: [i64; 3],
    /// The patch's X, Y, Z.
    pub size: [usize; 3],
    /// The axes that are mirrored.
    pub flips: [bool; 3],
    /// The label beyond the volume.
    pub beyond: u8,
}

/// Rows turned together: they fill a line in the processor's cache.
const BAND: usize = 16;

impl Window {
    /// Copies the part out of image (any number of channels) and label; outside, images are 0.
    /// `finish` is given each image line right after copying, while in cache.
    pub fn copy(
        &self,
        (image, label): (&[f32], &[u8]),
        (to_image, to_label): (&mut [f32], &mut [u8]),
        finish: impl Fn(&mut [f32]),
    ) {
        let (volume, voxels): (usize, usize) =
            (self.shape.iter().product(), self.size.iter().product());
        if !self.is_inside() {
            to_image.fill(0.0);
            to_label.fill(self.beyond);
        }
        for (source, target) in image.chunks_exact(volume).zip(to_image.chunks_exact_mut(voxels)) {
            self.transpose(source, target, &finish);
        }
        self.transpose(label, to_label, |_| {});
    }

    /// True if the volume fills the patch.
    pub fn is_inside(&self) -> bool {
        (0..3).all(|axis| self.filled(axis) == (0..self.size[axis]))
    }

    /// Copies the inside, from x fastest to z fastest, one (x, z) plane after the other: a plane's
    /// rows are read whole, and every patch line is written whole.
    fn transpose<T: Tiled<N>, const N: usize>(
        &self,
        source: &[T],
        target: &mut [T],
        finish: impl Fn(&mut [T]),
    ) {
        let [xs, ys, zs] = std::array::from_fn(|axis| self.filled(axis));
        let step = self.size[1] * self.size[2];
        // In the order of the source's rows, which a flip turns round.
        let (first, step) =
            if self.flips[0] { (xs.end.max(1) - 1, step.wrapping_neg()) } else { (xs.start, step) };
        let row = |y: usize, z: usize| {
            let from = self.shown(0, first)
                + self.shape[0] * (self.shown(1, y) + self.shape[1] * self.shown(2, z));
            &source[from..from + xs.len()]
        };
        for y in ys {
            let line = |x: usize| (x * self.size[1] + y) * self.size[2];
            if xs.len() < N || zs.len() < BAND {
                for (x, z) in zs.clone().flat_map(|z| (0..xs.len()).map(move |x| (x, z))) {
                    target[line(first).wrapping_add(x.wrapping_mul(step)) + z] = row(y, z)[x];
                }
            } else {
                for z in zs.clone().step_by(BAND).map(|z| z.min(zs.end - BAND)) {
                    let mut rows: [&[T]; BAND] = [&[]; BAND];
                    for (i, slot) in rows.iter_mut().enumerate() {
                        *slot = row(y, z + i);
                    }
                    turn(&rows, target, (line(first) + z, step));
                }
            }
            xs.clone().for_each(|x| finish(&mut target[line(x)..line(x) + self.size[2]]));
        }
    }

    /// The patch's indices along an axis that the volume fills.
    fn filled(&self, axis: usize) -> Range<usize> {
        let (start, volume, patch) =
            (self.start[axis], self.shape[axis] as i64, self.size[axis] as i64);
        let first = (-start).clamp(0, patch);
        let (first, end) = (first as usize, (volume - start).clamp(first, patch) as usize);
        if self.flips[axis] { self.size[axis] - end..self.size[axis] - first } else { first..end }
    }

    /// The volume's index that the patch shows at its index `at` along an axis.
    fn shown(&self, axis: usize, at: usize) -> usize {
        let at = if self.flips[axis] { self.size[axis] - 1 - at } else { at };
        (self.start[axis] + at as i64) as usize
    }
}

/// Writes the rows as columns, tile by tile: value x of all rows starts at `first` + x · `step`.
/// Rows are at least `N` long; the last tile overlaps the one before if needed.
#[inline(always)]
fn turn<T: Tiled<N>, const N: usize>(
    rows: &[&[T]; BAND],
    target: &mut [T],
    (first, step): (usize, usize),
) {
    let width = rows[0].len();
    for x in (0..width).step_by(N).map(|x| x.min(width - N)) {
        for band in (0..BAND).step_by(N) {
            // Whole arrays are read and written: the compiler then needs no calls for them.
            T::turn(
                |i| rows[band + i][x..].first_chunk().map_or([T::default(); N], |values| *values),
                |i, column| {
                    if let Some(place) = target
                        [first.wrapping_add((x + i).wrapping_mul(step)) + band..]
                        .first_chunk_mut()
                    {
                        *place = column;
                    }
                },
            );
        }
    }
}

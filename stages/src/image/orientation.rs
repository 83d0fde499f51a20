//! Orientation: turning a volume so that its axes run to the right, to the front and up (RAS+),
//! by flips and permutations only, and back again.

use crate::error::{Error, Result};
use crate::image::affine::{axes, multiply, nearest_rotation, spacing_mm};
use crate::image::{Affine, Volume};
use std::borrow::Cow;

/// Permutation and flips from a file's axes to RAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation {
    /// For each RAS axis, the file's axis.
    pub axes: [usize; 3],
    /// For each RAS axis, whether the file's axis is flipped.
    pub flips: [bool; 3],
}

impl Orientation {
    /// No turn.
    pub const IDENTITY: Orientation = Orientation { axes: [0, 1, 2], flips: [false; 3] };

    /// The affine's orientation by nibabel's `io_orientation`: each file axis, the most clearly
    /// directed first, takes the world axis it changes most, among those left.
    pub fn of(affine: &Affine) -> Result<Orientation> {
        let size = spacing_mm(affine);
        let unit = axes(affine).map(|row| std::array::from_fn(|column| row[column] / size[column]));
        let mut rotation = nearest_rotation(&unit).ok_or_else(hopeless)?;
        let strength =
            |column: usize| (0..3).map(|row| rotation[row][column].powi(2)).fold(0.0, f64::max);
        let mut order = [0, 1, 2].map(|column| (strength(column), column));
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut found = Orientation { axes: [3; 3], flips: [false; 3] };
        for (_, column) in order {
            let largest = (0..3).fold(0, |best, row| {
                if rotation[row][column].abs() > rotation[best][column].abs() { row } else { best }
            });
            if rotation[largest][column].abs() < 1e-8 {
                return Err(hopeless());
            }
            found.axes[largest] = column;
            found.flips[largest] = rotation[largest][column] < 0.0;
            rotation[largest] = [0.0; 3];
        }
        Ok(found)
    }

    /// True if nothing has to be turned.
    pub fn is_ras(&self) -> bool {
        *self == Orientation::IDENTITY
    }

    /// This turn followed by `next`.
    pub fn then(&self, next: &Orientation) -> Orientation {
        Orientation {
            axes: next.axes.map(|axis| self.axes[axis]),
            flips: std::array::from_fn(|at| next.flips[at] ^ self.flips[next.axes[at]]),
        }
    }

    /// The grid after turning: the file's `shape` along the RAS axes.
    pub fn shape(&self, shape: [usize; 3]) -> [usize; 3] {
        self.axes.map(|axis| shape[axis])
    }

    /// The affine after turning a grid of the file's `shape`.
    pub fn affine(&self, affine: &Affine, shape: [usize; 3]) -> Affine {
        let mut turn = [[0.0; 4]; 4];
        turn[3][3] = 1.0;
        for ras in 0..3 {
            let file = self.axes[ras];
            turn[file][ras] = if self.flips[ras] { -1.0 } else { 1.0 };
            turn[file][3] = if self.flips[ras] { shape[file] as f64 - 1.0 } else { 0.0 };
        }
        multiply(affine, &turn)
    }

    /// Turns a volume to RAS.
    pub fn apply<T: Copy>(&self, volume: Volume<T>) -> Volume<T> {
        if self.is_ras() {
            return volume;
        }
        let (shape, walk) = (self.shape(volume.shape), self.walk(volume.shape));
        let mut data = Vec::with_capacity(volume.data.len());
        volume.each_channel().for_each(|channel| walk.copy(channel, &mut data));
        Volume {
            channels: volume.channels,
            shape,
            data,
            affine: self.affine(&volume.affine, volume.shape),
        }
    }

    /// One channel with its axes in RAS order, and the axes it still runs backwards along. Copied
    /// only if axes change places.
    pub fn ordered<'a, T: Copy>(
        &self,
        channel: &'a [T],
        shape: [usize; 3],
    ) -> (Cow<'a, [T]>, [bool; 3]) {
        if self.axes == [0, 1, 2] {
            return (Cow::Borrowed(channel), self.flips);
        }
        let mut data = Vec::with_capacity(channel.len());
        self.walk(shape).copy(channel, &mut data);
        (Cow::Owned(data), [false; 3])
    }

    /// The way in RAS order through a file with this `shape`.
    fn walk(&self, shape: [usize; 3]) -> Walk {
        let stride = [1, shape[0], shape[0] * shape[1]];
        Walk::flipped(
            self.shape(shape),
            std::array::from_fn(|ras| (stride[self.axes[ras]], self.flips[ras])),
        )
    }

    /// Turns one channel on the RAS grid back to the file's own grid of `shape`, x fastest.
    /// `stride` tells how far apart neighbours along each RAS axis lie in `data`.
    pub fn undo<T: Copy>(&self, data: &[T], stride: [usize; 3], shape: [usize; 3]) -> Vec<T> {
        let steps = std::array::from_fn(|file| {
            let ras = self.axes.iter().position(|&axis| axis == file).unwrap_or(file);
            (stride[ras], self.flips[ras])
        });
        let mut out = Vec::with_capacity(data.len());
        Walk::flipped(shape, steps).copy(data, &mut out);
        out
    }
}

fn hopeless() -> Error {
    Error::failed("the affine's axes do not span space; correct the header")
}

/// A walk through memory: its start, and the step along each axis of the copy.
struct Walk {
    shape: [usize; 3],
    start: usize,
    step: [isize; 3],
}

impl Walk {
    fn flipped(shape: [usize; 3], steps: [(usize, bool); 3]) -> Walk {
        Walk {
            shape,
            start: (0..3)
                .filter(|&axis| steps[axis].1)
                .map(|axis| (shape[axis] - 1) * steps[axis].0)
                .sum(),
            step: steps
                .map(|(stride, flip)| if flip { -(stride as isize) } else { stride as isize }),
        }
    }

    /// Appends the copy, x fastest. Tiles keep both sides in the processor's cache where the
    /// source's fastest axis is not x.
    fn copy<T: Copy>(&self, source: &[T], out: &mut Vec<T>) {
        const TILE: usize = 32;
        let [nx, ny, nz] = self.shape;
        let base = out.len();
        let Some(&first) = source.first() else { return };
        out.resize(base + nx * ny * nz, first);
        let out = &mut out[base..];
        for (tile, j) in (0..nz.div_ceil(TILE)).flat_map(|tile| (0..ny).map(move |j| (tile, j))) {
            for x0 in (0..nx).step_by(TILE.max(if self.step[0].abs() == 1 { nx } else { TILE })) {
                let x1 = (x0 + if self.step[0].abs() == 1 { nx } else { TILE }).min(nx);
                for k in tile * TILE..((tile + 1) * TILE).min(nz) {
                    let row =
                        self.start as isize + self.step[1] * j as isize + self.step[2] * k as isize;
                    let target = &mut out[(k * ny + j) * nx + x0..(k * ny + j) * nx + x1];
                    for (offset, slot) in target.iter_mut().enumerate() {
                        *slot = source[(row + self.step[0] * (x0 + offset) as isize) as usize];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 3, 4];
    /// File axes run to P, S and L.
    const SAGITTAL: Affine =
        [[0.0, 0.0, -2.0, 9.0], [-1.0, 0.0, 0.0, 8.0], [0.0, 3.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]];

    #[test]
    fn a_sagittal_volume_is_turned_and_each_voxel_keeps_its_place_in_the_world() {
        let file: Vec<u8> = (0..24).collect();
        let orientation = Orientation::of(&SAGITTAL).unwrap();
        assert_eq!(orientation, Orientation { axes: [2, 0, 1], flips: [true, true, false] });
        let (ras, backwards) = orientation.ordered(&file, SHAPE);
        assert_eq!((orientation.shape(SHAPE), backwards), ([4, 2, 3], [false; 3]));
        let affine = orientation.affine(&SAGITTAL, SHAPE);
        for (x, y, z) in [(0, 0, 0), (3, 1, 2), (2, 0, 1)] {
            let world = crate::image::affine::apply(&affine, [x as f64, y as f64, z as f64]);
            let (i, j, k) = (1 - y, z, 3 - x);
            assert_eq!(
                world,
                crate::image::affine::apply(&SAGITTAL, [i as f64, j as f64, k as f64])
            );
            assert_eq!(ras[x + 4 * (y + 2 * z)], file[i + 2 * (j + 3 * k)]);
        }
    }

    #[test]
    fn a_file_that_only_runs_backwards_is_not_copied() {
        let file: Vec<u8> = (0..24).collect();
        let orientation = Orientation { axes: [0, 1, 2], flips: [true, false, true] };
        let (same, backwards) = orientation.ordered(&file, SHAPE);
        assert!(matches!(same, Cow::Borrowed(_)));
        assert_eq!(backwards, [true, false, true]);
    }

    #[test]
    fn undoing_gives_the_file_back() {
        let file: Vec<u8> = (0..24).collect();
        let orientation = Orientation::of(&SAGITTAL).unwrap();
        let (ras, _) = orientation.ordered(&file, SHAPE);
        assert_eq!(orientation.undo(&ras, [1, 4, 8], SHAPE), file);
    }
}

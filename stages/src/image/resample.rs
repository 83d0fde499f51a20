//! Resampling: a grid's values at another grid's voxels, trilinear or nearest, borders extended.
//! Positions are found in `grid_map`, values in `interpolate`.

use crate::error::Result;
use crate::image::grid_map::{GridMap, GridMapping};
pub use crate::image::grid_map::{StorageOrder, X_FASTEST, Z_FASTEST};
pub use crate::image::interpolate::Planes;
use crate::image::interpolate::{Interpolator, Number};
use crate::image::spacing::Grid;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slabs that one task makes.
const SLABS: usize = 16;

/// The source voxels used; x, y, z as in memory.
#[derive(Clone, Debug)]
pub enum Taken {
    /// All.
    All,
    /// By axis: true for used indices; a voxel needs all three.
    Axes([Vec<bool>; 3]),
    /// A bit for each voxel, x fastest.
    Voxels {
        /// The bits.
        bits: Vec<u64>,
        /// X, Y, Z.
        shape: [usize; 3],
    },
}

impl Taken {
    fn of_axes(axes: [Vec<bool>; 3]) -> Taken {
        match axes.iter().flatten().all(|taken| *taken) {
            true => Taken::All,
            false => Taken::Axes(axes),
        }
    }

    /// True if a voxel is.
    pub fn has(&self, [x, y, z]: [usize; 3]) -> bool {
        match self {
            Taken::All => true,
            Taken::Axes([xs, ys, zs]) => xs[x] && ys[y] && zs[z],
            Taken::Voxels { bits, shape } => {
                let voxel = x + shape[0] * (y + shape[1] * z);
                bits[voxel / 64] >> (voxel % 64) & 1 == 1
            }
        }
    }
}

/// Takes values from one grid to another.
#[derive(Clone, Debug)]
pub struct Resampler(GridMap);

impl Resampler {
    /// From grid `from` to grid `to`. Grids of equal shape whose affines agree to 1e-3 are the
    /// same.
    pub fn new(from: &Grid, to: &Grid) -> Result<Resampler> {
        GridMap::new(from, to).map(Resampler)
    }

    /// To grid `to`, whose voxels lie at these positions of each source axis, within its ends.
    pub fn of_positions(source: [usize; 3], to: Grid, positions: [Vec<f64>; 3]) -> Resampler {
        Resampler(GridMap::of_positions(source, to, positions))
    }

    /// The same with only the source's box from `start` to `end` (exclusive) kept, and 0 all
    /// around.
    pub fn of_box(self, start: [usize; 3], end: [usize; 3]) -> Resampler {
        Resampler(self.0.of_box(start, end))
    }

    /// The same with source data running backwards along the set axes: a file is read as if it were
    /// already turned.
    pub fn of_backwards(self, backwards: [bool; 3]) -> Resampler {
        Resampler(self.0.of_backwards(backwards))
    }

    /// The results' grid: the source's own if both are the same.
    pub fn target(&self) -> Grid {
        self.0.target()
    }

    /// True if source and target are the same voxels.
    pub fn is_same(&self) -> bool {
        self.0.is_same()
    }

    /// Voxels of the source's data.
    pub fn source_voxels(&self) -> usize {
        self.0.source_voxels()
    }

    /// One channel, trilinear. Source and result lie in `order`.
    pub fn linear<T: Number>(&self, source: &[T], order: StorageOrder) -> Vec<f32> {
        let mut out = vec![0.0; self.0.target.iter().product()];
        self.linear_into(source, order, &mut out, |_, _| {});
        out
    }

    /// The same into `out`. `finish` is given each slab and its number once it is made, while it is
    /// at hand.
    pub fn linear_into<T: Number>(
        &self,
        source: &[T],
        order: StorageOrder,
        out: &mut [f32],
        finish: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.in_slabs(out, order, |slabs, out, interpolator| {
            interpolator.linear_each(source, slabs, out, &finish)
        });
    }

    /// One channel, nearest (half to even). Source and result lie in `order`; outside the box is
    /// `T::default()`.
    pub fn nearest<T: Copy + Default + Send + Sync>(
        &self,
        source: &[T],
        order: StorageOrder,
    ) -> Vec<T> {
        let mut out = vec![T::default(); self.0.target.iter().product()];
        self.in_slabs(&mut out, order, |slabs, out, interpolator| {
            interpolator.nearest(source, slabs, out)
        });
        out
    }

    /// Source voxels used by nearest-neighbour values.
    pub fn taken(&self, order: StorageOrder) -> Taken {
        if matches!(self.0.map, GridMapping::Same) {
            return Taken::All;
        }
        let interpolator = Interpolator::new(&self.0, order);
        if matches!(self.0.map, GridMapping::Parallel(_)) {
            return Taken::of_axes(interpolator.taken());
        }
        let bits: Vec<AtomicU64> =
            (0..self.source_voxels().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let mut nothing = vec![(); self.0.target.iter().product()];
        self.in_slabs(&mut nothing, order, |slabs, out, interpolator| {
            interpolator.mark(slabs, out, |voxel| {
                bits[voxel / 64].fetch_or(1 << (voxel % 64), Ordering::Relaxed);
            });
        });
        let bits = bits.into_iter().map(AtomicU64::into_inner).collect();
        Taken::Voxels { bits, shape: self.0.source }
    }

    /// Fills `out` in runs of slabs of the slowest axis, in parallel; every run is its own work.
    pub fn in_slabs<T: Send>(
        &self,
        out: &mut [T],
        order: StorageOrder,
        fill: impl Fn(Range<usize>, &mut [T], &Interpolator) + Sync,
    ) {
        self.in_runs((0, SLABS), out, order, fill);
    }

    /// The same for `out` of the slabs from `first` on, in a run for each thread.
    pub fn in_slabs_from<T: Send>(
        &self,
        first: usize,
        out: &mut [T],
        order: StorageOrder,
        fill: impl Fn(Range<usize>, &mut [T], &Interpolator) + Sync,
    ) {
        let slabs = out.len() / self.0.slab(order).max(1);
        let run = slabs.div_ceil(rayon::current_num_threads()).clamp(1, SLABS);
        self.in_runs((first, run), out, order, fill);
    }

    fn in_runs<T: Send>(
        &self,
        (first, length): (usize, usize),
        out: &mut [T],
        order: StorageOrder,
        fill: impl Fn(Range<usize>, &mut [T], &Interpolator) + Sync,
    ) {
        let interpolator = Interpolator::new(&self.0, order);
        let slab = self.0.slab(order).max(1);
        out.par_chunks_mut(slab * length).enumerate().for_each(|(run, out)| {
            let first = first + run * length;
            fill(first..first + out.len() / slab, out, &interpolator);
        });
    }

    /// For each slab of the slowest axis, the source planes of its trilinear values along that
    /// axis.
    pub fn planes_of_slabs(&self, order: StorageOrder) -> Vec<Range<usize>> {
        let interpolator = Interpolator::new(&self.0, order);
        (0..self.0.target[order[2]]).map(|slab| interpolator.planes_of(slab)).collect()
    }

    /// Voxels of a plane of the slowest axis of the source's data.
    pub fn source_plane(&self, order: StorageOrder) -> usize {
        self.0.source[order[0]] * self.0.source[order[1]]
    }

    /// Voxels of a slab of the results.
    pub fn slab(&self, order: StorageOrder) -> usize {
        self.0.slab(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::affine::IDENTITY;

    const SHAPE: [usize; 3] = [5, 4, 3];

    /// Numbers in no order, and the same turned round along x and z.
    fn numbers() -> (Vec<f32>, Vec<i16>) {
        let number = |[x, y, z]: [usize; 3]| (x * 31 + y * 17 + z * 5) as i16 % 23 - 11;
        let voxels = (0..60).map(|voxel| [voxel % 5, voxel / 5 % 4, voxel / 20]);
        let forwards = voxels.clone().map(|voxel| f32::from(number(voxel))).collect();
        (forwards, voxels.map(|[x, y, z]| number([4 - x, y, 2 - z])).collect())
    }

    #[test]
    fn a_file_that_runs_backwards_is_read_as_if_it_were_turned() {
        let from = Grid { shape: SHAPE, affine: IDENTITY };
        let scaled = from.with_spacing([0.7, 1.4, 0.9]).unwrap();
        let mut slanted = scaled;
        (slanted.affine[0][1], slanted.affine[1][0]) = (0.3, -0.3);
        let (forwards, backwards) = numbers();
        for to in [from, scaled, slanted] {
            let resampler = Resampler::new(&from, &to).unwrap();
            let turned = resampler.clone().of_backwards([true, false, true]);
            assert_eq!(
                turned.linear(&backwards, X_FASTEST),
                resampler.linear(&forwards, X_FASTEST)
            );
            let nearest = turned.nearest(&backwards, X_FASTEST);
            let nearest: Vec<f32> = nearest.into_iter().map(f32::from).collect();
            assert_eq!(nearest, resampler.nearest(&forwards, X_FASTEST));
        }
    }
}

//! Resampling: values of one grid at the voxels of another, trilinear or nearest, borders extended.
//!
//! Positions are computed in float64 the way PyTorch's `affine_grid` and `grid_sample` do
//! (normalised coordinates, `align_corners=False`), because ties of nearest labels hang on their
//! last bit. Where the axes run parallel, an axis at a time; otherwise a gather of eight voxels.

use crate::error::{Error, Result};
use crate::image::Affine;
use crate::image::affine::{IDENTITY, close, invert, multiply, solve};
use crate::image::spacing::{Grid, TOLERANCE};
use rayon::prelude::*;
use std::ops::Range;

/// The order of axes in memory, fastest first.
pub type Order = [usize; 3];
/// As NIfTI files and [`crate::image::Volume`] lie.
pub const X_FASTEST: Order = [0, 1, 2];
/// As tensors (X, Y, Z) lie.
pub const Z_FASTEST: Order = [2, 1, 0];

/// Off-diagonals that move nothing by more than this many voxels are taken for rounding.
const PARALLEL: f64 = 1e-6;
/// Slabs that one task makes.
const SLABS: usize = 16;

/// Takes values from one grid to another.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// The shape of the source's data: the whole grid, or the box that is kept of it.
    source: [usize; 3],
    /// Where that box begins on the source's grid.
    start: [usize; 3],
    target: [usize; 3],
    /// Where the target lies as the reference's bookkeeping has it: the source's affine times the map.
    affine: Affine,
    map: Map,
}

#[derive(Clone, Debug)]
enum Map {
    /// Both grids are the same.
    Same,
    /// Each axis by itself: positions on the source's axis.
    Parallel([Vec<f64>; 3]),
    /// Any direction: the map of normalised coordinates.
    Oblique(Oblique),
}

#[derive(Clone, Debug)]
struct Oblique {
    theta: [[f64; 4]; 3],
    /// The source's whole grid.
    shape: [usize; 3],
    /// The normalised coordinate of each target voxel, per axis.
    base: [Vec<f64>; 3],
}

/// Both neighbours of a position on one axis, and their weights. What lies outside the kept box weighs 0.
#[derive(Clone, Debug, Default)]
struct Taps {
    low: Vec<u32>,
    high: Vec<u32>,
    low_weight: Vec<f32>,
    high_weight: Vec<f32>,
}

impl Resampler {
    /// From grid `from` to grid `to`. Grids of equal shape whose affines agree to 1e-3 are the same.
    pub fn new(from: &Grid, to: &Grid) -> Result<Resampler> {
        let singular = || Error::failed("a grid's axes do not span space; correct the header");
        let xform = solve(&from.affine, &to.affine).ok_or_else(singular)?;
        let agree = close(&from.affine, &to.affine, TOLERANCE) || close(&xform, &IDENTITY, TOLERANCE);
        let same = from.shape == to.shape && agree;
        let affine = if same { from.affine } else { multiply(&from.affine, &xform) };
        let map = if same {
            Map::Same
        } else {
            let theta = normalised(&xform, from.shape, to.shape).ok_or_else(singular)?;
            let base = to.shape.map(base_coordinates);
            let slanted = (0..3).any(|row| {
                (0..3)
                    .filter(|&column| column != row)
                    .any(|column| (theta[row][column] * from.shape[row] as f64 / 2.0).abs() > PARALLEL)
            });
            if slanted {
                Map::Oblique(Oblique { theta, shape: from.shape, base })
            } else {
                Map::Parallel(std::array::from_fn(|axis| {
                    let [scale, shift] = [theta[axis][axis], theta[axis][3]];
                    base[axis].iter().map(|b| clipped(b * scale + shift, from.shape[axis])).collect()
                }))
            }
        };
        Ok(Resampler { source: from.shape, start: [0; 3], target: to.shape, affine, map })
    }

    /// The same where only the box from `start` to `end` (exclusive) of the source is kept, and
    /// all around it is 0.
    pub fn of_box(self, start: [usize; 3], end: [usize; 3]) -> Resampler {
        Resampler { source: std::array::from_fn(|axis| end[axis] - start[axis]), start, ..self }
    }

    /// Whether source and target are the same voxels.
    pub fn is_same(&self) -> bool {
        matches!(self.map, Map::Same) && self.source == self.target
    }

    /// The grid that results have: the source's own where both are the same.
    pub fn target(&self) -> Grid {
        Grid { shape: self.target, affine: self.affine }
    }

    /// Voxels of the source's data.
    pub fn source_voxels(&self) -> usize {
        self.source.iter().product()
    }

    /// Voxels of one slab of the target: all but its slowest axis.
    fn slab(&self, order: Order) -> usize {
        self.target[order[0]] * self.target[order[1]]
    }

    /// One channel, trilinear. Source and result lie in `order`.
    pub fn linear(&self, source: &[f32], order: Order) -> Vec<f32> {
        let mut out = vec![0.0; self.target.iter().product()];
        self.in_slabs(&mut out, order, |slabs, out, plan| plan.linear(source, slabs, out));
        out
    }

    /// One channel, nearest (half to even). Source and result lie in `order`; outside the box is
    /// `T::default()`.
    pub fn nearest<T: Copy + Default + Send + Sync>(&self, source: &[T], order: Order) -> Vec<T> {
        let mut out = vec![T::default(); self.target.iter().product()];
        self.in_slabs(&mut out, order, |slabs, out, plan| plan.nearest(source, slabs, out));
        out
    }

    /// Fills `out` in runs of slabs of the slowest axis, in parallel; every run is its own work.
    pub fn in_slabs<T: Send>(&self, out: &mut [T], order: Order, fill: impl Fn(Range<usize>, &mut [T], &Plan) + Sync) {
        let plan = Plan::new(self, order);
        let slab = self.slab(order).max(1);
        out.par_chunks_mut(slab * SLABS).enumerate().for_each(|(run, out)| {
            let first = run * SLABS;
            fill(first..first + out.len() / slab, out, &plan);
        });
    }

    /// The position of every target voxel along one axis, for parallel grids.
    fn positions(&self, axis: usize) -> Vec<f64> {
        match &self.map {
            Map::Parallel(positions) => positions[axis].clone(),
            _ => (0..self.target[axis]).map(|index| index as f64).collect(),
        }
    }
}

/// A resampler made ready for data that lie in one order.
pub struct Plan<'a> {
    resampler: &'a Resampler,
    order: Order,
    /// By memory axis, fastest first.
    taps: [Taps; 3],
    nearest: [Vec<Option<u32>>; 3],
    stride: [usize; 3],
}

impl<'a> Plan<'a> {
    fn new(resampler: &'a Resampler, order: Order) -> Plan<'a> {
        let place = |axis: usize| (resampler.start[axis], resampler.source[axis]);
        let oblique = matches!(resampler.map, Map::Oblique(_));
        let positions = order.map(|axis| if oblique { vec![] } else { resampler.positions(axis) });
        let mut stride = [0; 3];
        stride[order[0]] = 1;
        stride[order[1]] = resampler.source[order[0]];
        stride[order[2]] = resampler.source[order[0]] * resampler.source[order[1]];
        Plan {
            resampler,
            order,
            taps: std::array::from_fn(|at| Taps::new(&positions[at], place(order[at]))),
            nearest: std::array::from_fn(|at| {
                positions[at].iter().map(|p| inside(p.round_ties_even(), place(order[at]))).collect()
            }),
            stride,
        }
    }

    /// Trilinear values of the slabs `slabs` of the slowest axis.
    pub fn linear(&self, source: &[f32], slabs: Range<usize>, out: &mut [f32]) {
        match &self.resampler.map {
            Map::Oblique(oblique) => self.walk(oblique, slabs, out, |p| self.gather(source, p)),
            _ => self.linear_parallel(source, slabs, out),
        }
    }

    /// Nearest values of the slabs `slabs` of the slowest axis.
    pub fn nearest<T: Copy + Default>(&self, source: &[T], slabs: Range<usize>, out: &mut [T]) {
        if let Map::Oblique(oblique) = &self.resampler.map {
            self.walk(oblique, slabs, out, |p| {
                let index = self.index(p.map(f64::round_ties_even));
                index.map_or_else(T::default, |index| source[index])
            });
            return;
        }
        let [fast, middle, slow] = &self.nearest;
        let step = self.order.map(|axis| self.stride[axis]);
        let rows = slabs.flat_map(|s| middle.iter().map(move |m| (slow[s], *m)));
        for (row, out) in rows.zip(out.chunks_exact_mut(fast.len().max(1))) {
            let (Some(slow), Some(middle)) = row else { continue };
            let row = &source[slow as usize * step[2] + middle as usize * step[1]..];
            for (slot, index) in out.iter_mut().zip(fast) {
                *slot = index.map_or_else(T::default, |index| row[index as usize]);
            }
        }
    }

    /// Plane by plane: a source plane is resampled once and serves all slabs between it and the next.
    fn linear_parallel(&self, source: &[f32], slabs: Range<usize>, out: &mut [f32]) {
        let slow = &self.taps[2];
        let size = self.resampler.slab(self.order);
        let mut planes = [(None, vec![0.0; size]), (None, vec![0.0; size])];
        for (slab, out) in slabs.zip(out.chunks_exact_mut(size.max(1))) {
            let (low, high) = (slow.low[slab], slow.high[slab]);
            let (low_weight, high_weight) = (slow.low_weight[slab], slow.high_weight[slab]);
            if planes[1].0 == Some(low) {
                planes.swap(0, 1);
            }
            if low_weight != 0.0 {
                self.plane(source, low, &mut planes[0]);
            }
            if high_weight == 0.0 {
                scale(&planes[0].1, low_weight, out);
                continue;
            }
            self.plane(source, high, &mut planes[1]);
            if low_weight == 0.0 {
                scale(&planes[1].1, high_weight, out);
            } else {
                blend(&planes[0].1, low_weight, &planes[1].1, high_weight, out);
            }
        }
    }

    /// One source plane (slow index `index`) on the target's two fast axes, unless it is there already.
    fn plane(&self, source: &[f32], index: u32, (held, plane): &mut (Option<u32>, Vec<f32>)) {
        if *held == Some(index) {
            return;
        }
        *held = Some(index);
        let [fast, middle, _] = &self.taps;
        let width = self.resampler.source[self.order[0]];
        let base = index as usize * width * self.resampler.source[self.order[1]];
        let row = |index: u32| &source[base + index as usize * width..][..width];
        let mut mixed = vec![0.0; width];
        for (line, out) in plane.chunks_exact_mut(fast.low.len().max(1)).enumerate() {
            blend(
                row(middle.low[line]),
                middle.low_weight[line],
                row(middle.high[line]),
                middle.high_weight[line],
                &mut mixed,
            );
            for (i, slot) in out.iter_mut().enumerate() {
                *slot = mixed[fast.low[i] as usize] * fast.low_weight[i]
                    + mixed[fast.high[i] as usize] * fast.high_weight[i];
            }
        }
    }

    /// Calls `take` with the position of every voxel of the slabs.
    fn walk<T>(&self, oblique: &Oblique, slabs: Range<usize>, out: &mut [T], take: impl Fn([f64; 3]) -> T) {
        let [fast, middle, slow] = self.order;
        let (width, height) = (self.resampler.target[fast], self.resampler.target[middle]);
        let lines = slabs.flat_map(|s| (0..height).map(move |m| (s, m)));
        for ((s, m), out) in lines.zip(out.chunks_exact_mut(width.max(1))) {
            let mut voxel = [0; 3];
            (voxel[slow], voxel[middle]) = (s, m);
            for (f, slot) in out.iter_mut().enumerate() {
                voxel[fast] = f;
                *slot = take(oblique.position(voxel));
            }
        }
    }

    /// The trilinear value at a position of the source's whole grid.
    fn gather(&self, source: &[f32], position: [f64; 3]) -> f32 {
        let low = position.map(f64::floor);
        let mut sum = 0.0;
        for corner in 0..8 {
            let mut weight = 1.0;
            let mut voxel = low;
            for axis in 0..3 {
                let high = corner >> axis & 1 == 1;
                let part = position[axis] - low[axis];
                weight *= if high { part } else { 1.0 - part };
                voxel[axis] += f64::from(u8::from(high));
            }
            if weight != 0.0
                && let Some(index) = self.index(voxel)
            {
                sum += f64::from(source[index]) * weight;
            }
        }
        sum as f32
    }

    /// Where a voxel of the source's whole grid lies in the data, if it is kept.
    fn index(&self, voxel: [f64; 3]) -> Option<usize> {
        (0..3).try_fold(0, |index, axis| {
            let at = inside(voxel[axis], (self.resampler.start[axis], self.resampler.source[axis]))?;
            Some(index + at as usize * self.stride[axis])
        })
    }
}

impl Oblique {
    /// The clipped position on the source's grid of a target voxel.
    fn position(&self, voxel: [usize; 3]) -> [f64; 3] {
        let [x, y, z] = std::array::from_fn(|axis| self.base[axis][voxel[axis]]);
        std::array::from_fn(|axis| {
            let row = &self.theta[axis];
            clipped(z * row[2] + y * row[1] + x * row[0] + row[3], self.shape[axis])
        })
    }
}

impl Taps {
    fn new(positions: &[f64], place: (usize, usize)) -> Taps {
        let mut taps = Taps::default();
        for &position in positions {
            let low = position.floor();
            let (at_low, at_high) = (inside(low, place), inside(low + 1.0, place));
            let part = position - low;
            taps.low.push(at_low.unwrap_or(0));
            taps.high.push(at_high.unwrap_or(0));
            taps.low_weight.push(if at_low.is_some() { (1.0 - part) as f32 } else { 0.0 });
            taps.high_weight.push(if at_high.is_some() { part as f32 } else { 0.0 });
        }
        taps
    }
}

/// The index inside the kept box of an index on the whole axis.
fn inside(index: f64, (start, length): (usize, usize)) -> Option<u32> {
    let at = index - start as f64;
    (at >= 0.0 && at < length as f64).then_some(at as u32)
}

fn scale(source: &[f32], weight: f32, out: &mut [f32]) {
    out.iter_mut().zip(source).for_each(|(out, value)| *out = value * weight);
}

fn blend(a: &[f32], a_weight: f32, b: &[f32], b_weight: f32, out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a * a_weight + b * b_weight;
    }
}

/// A normalised coordinate as a position on an axis of `length` voxels, moved to its border if outside.
fn clipped(coordinate: f64, length: usize) -> f64 {
    let length = length as f64;
    (((coordinate + 1.0) * length - 1.0) / 2.0).max(0.0).min(length - 1.0)
}

/// `xform` (target voxel to source voxel) between normalised coordinates, where an axis runs from
/// −1 to 1 over the outer faces of its voxels.
fn normalised(xform: &[[f64; 4]; 4], source: [usize; 3], target: [usize; 3]) -> Option<[[f64; 4]; 3]> {
    let normal = |shape: [usize; 3]| {
        let mut matrix = IDENTITY;
        for axis in 0..3 {
            matrix[axis][axis] = 2.0 / shape[axis] as f64;
            matrix[axis][3] = 1.0 / shape[axis] as f64 - 1.0;
        }
        matrix
    };
    let theta = multiply(&multiply(&normal(source), xform), &invert(&normal(target))?);
    Some([theta[0], theta[1], theta[2]])
}

/// The centres of `length` voxels between −1 and 1: as torch does, a line from −1 to 1 built from
/// both ends with fused multiply-adds, then shrunk.
fn base_coordinates(length: usize) -> Vec<f64> {
    if length == 1 {
        return vec![0.0];
    }
    let (n, step) = (length as f64, 2.0 / (length as f64 - 1.0));
    let line = |index: usize| {
        if index < length / 2 {
            step.mul_add(index as f64, -1.0)
        } else {
            (-step).mul_add((length - index - 1) as f64, 1.0)
        }
    };
    (0..length).map(|index| line(index) * (n - 1.0) / n).collect()
}

//! Interpolation: values at a [`GridMap`]'s positions, for data in one order.
//!
//! Parallel grids are resampled an axis at a time: a source plane serves all slabs between it and
//! the next. Oblique grids gather eight voxels, or the nearest.

use crate::image::grid_map::{GridMap, GridMapping, Oblique, StorageOrder};
use std::ops::Range;

/// A stored number with its float32 value.
pub trait Number: Copy + Send + Sync {
    /// The nearest float32.
    fn float(self) -> f32;
}

impl Number for f32 {
    fn float(self) -> f32 {
        self
    }
}

impl Number for i16 {
    fn float(self) -> f32 {
        f32::from(self)
    }
}

impl Number for u8 {
    fn float(self) -> f32 {
        f32::from(self)
    }
}

/// Source data, a plane of the slowest axis at a time.
pub trait Planes<T>: Sync {
    /// The plane of this index.
    fn plane(&self, index: usize) -> &[T];
}

/// Planes that lie one after another.
struct WholeSource<'a, T> {
    values: &'a [T],
    plane: usize,
}

impl<T: Sync> Planes<T> for WholeSource<'_, T> {
    fn plane(&self, index: usize) -> &[T] {
        &self.values[index * self.plane..][..self.plane]
    }
}

/// Interpolates data stored in a given axis order.
pub struct Interpolator<'a> {
    map: &'a GridMap,
    order: StorageOrder,
    /// By memory axis, fastest first.
    taps: [Taps; 3],
    nearest: [Vec<Option<u32>>; 3],
    stride: [usize; 3],
}

impl<'a> Interpolator<'a> {
    pub(super) fn new(grid_map: &'a GridMap, order: StorageOrder) -> Interpolator<'a> {
        let oblique = matches!(grid_map.map, GridMapping::Oblique(_));
        let positions = order.map(|axis| if oblique { vec![] } else { grid_map.positions(axis) });
        let mut stride = [0; 3];
        stride[order[0]] = 1;
        stride[order[1]] = grid_map.source[order[0]];
        stride[order[2]] = grid_map.source[order[0]] * grid_map.source[order[1]];
        Interpolator {
            map: grid_map,
            order,
            taps: std::array::from_fn(|at| {
                Taps::new(&positions[at], AxisSide::of(grid_map, order[at]))
            }),
            nearest: std::array::from_fn(|at| {
                let side = AxisSide::of(grid_map, order[at]);
                positions[at].iter().map(|p| side.inside(p.round_ties_even())).collect()
            }),
            stride,
        }
    }

    /// Trilinear values in the slowest axis's slabs `slabs`.
    pub fn linear(&self, source: &[f32], slabs: Range<usize>, out: &mut [f32]) {
        self.linear_each(source, slabs, out, |_, _| {});
    }

    /// The same of any numbers. `finish` is given each slab and its number once it is made.
    pub fn linear_each<T: Number>(
        &self,
        source: &[T],
        slabs: Range<usize>,
        out: &mut [f32],
        finish: impl Fn(usize, &mut [f32]),
    ) {
        self.linear_of_planes(&self.whole(source), slabs, out, finish);
    }

    /// The same of planes, namely those of [`Interpolator::planes_of`] for the slabs.
    pub fn linear_of_planes<T: Number>(
        &self,
        source: &impl Planes<T>,
        slabs: Range<usize>,
        out: &mut [f32],
        finish: impl Fn(usize, &mut [f32]),
    ) {
        let GridMapping::Parallel(_) = &self.map.map else {
            let size = self.map.slab(self.order).max(1);
            for (slab, out) in slabs.zip(out.chunks_exact_mut(size)) {
                match &self.map.map {
                    GridMapping::Oblique(oblique) => {
                        self.walk(oblique, slab..slab + 1, out, |p| self.gather(source, p))
                    }
                    _ => self.nearest_of(source, slab..slab + 1, out, T::float),
                }
                finish(slab, out);
            }
            return;
        };
        self.linear_parallel(source, slabs, out, finish);
    }

    /// The planes of the slowest source axis for a slab's trilinear values: the range from first to
    /// last, possibly empty.
    pub fn planes_of(&self, slab: usize) -> Range<usize> {
        let taps = &self.taps[2];
        let used = match &self.map.map {
            GridMapping::Oblique(oblique) => return self.planes_around(oblique, slab),
            GridMapping::Same => vec![self.nearest[2][slab]],
            GridMapping::Parallel(_) => vec![
                (taps.low_weight[slab] != 0.0).then_some(taps.low[slab]),
                (taps.high_weight[slab] != 0.0).then_some(taps.high[slab]),
            ],
        };
        range_of(used.into_iter().flatten())
    }

    /// The same on an oblique grid: positions are largest and smallest at a slab's corners.
    fn planes_around(&self, oblique: &Oblique, slab: usize) -> Range<usize> {
        let [fast, middle, slow] = self.order;
        let corner = |number: usize| {
            let mut voxel = [0; 3];
            voxel[slow] = slab;
            voxel[fast] = (number & 1) * (self.map.target[fast] - 1);
            voxel[middle] = (number >> 1) * (self.map.target[middle] - 1);
            oblique.position(voxel)[slow].floor()
        };
        let lows = [0, 1, 2, 3].map(corner);
        let first = lows.iter().copied().fold(f64::INFINITY, f64::min);
        let last = lows.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 1.0;
        let side = AxisSide::of(self.map, slow);
        range_of((first as usize..=last as usize).filter_map(|index| side.inside(index as f64)))
    }

    fn whole<'s, T>(&self, values: &'s [T]) -> WholeSource<'s, T> {
        WholeSource { values, plane: self.stride[self.order[2]] }
    }

    /// Indices of the source's axes (x, y, z) used by nearest-neighbour values, on parallel grids.
    pub fn taken(&self) -> [Vec<bool>; 3] {
        let mut taken = self.map.source.map(|length| vec![false; length]);
        for (at, indices) in self.nearest.iter().enumerate() {
            let axis = &mut taken[self.order[at]];
            indices.iter().flatten().for_each(|index| axis[*index as usize] = true);
        }
        taken
    }

    /// Calls `mark` with each nearest value's source voxel in the slabs, on oblique grids.
    pub fn mark(&self, slabs: Range<usize>, out: &mut [()], mark: impl Fn(usize)) {
        if let GridMapping::Oblique(oblique) = &self.map.map {
            self.walk(oblique, slabs, out, |p| {
                self.index(p.map(f64::round_ties_even)).into_iter().for_each(&mark);
            });
        }
    }

    /// Nearest values in the slowest axis's slabs `slabs`.
    pub fn nearest<T: Copy + Default + Sync>(
        &self,
        source: &[T],
        slabs: Range<usize>,
        out: &mut [T],
    ) {
        self.nearest_of(&self.whole(source), slabs, out, |value| value);
    }

    /// The same, each value through `convert`.
    fn nearest_of<S: Copy, T: Copy + Default>(
        &self,
        source: &impl Planes<S>,
        slabs: Range<usize>,
        out: &mut [T],
        convert: impl Fn(S) -> T,
    ) {
        if let GridMapping::Oblique(oblique) = &self.map.map {
            self.walk(oblique, slabs, out, |p| {
                let place = self.place(p.map(f64::round_ties_even));
                place.map_or_else(T::default, |(plane, at)| convert(source.plane(plane)[at]))
            });
            return;
        }
        let [fast, middle, slow] = &self.nearest;
        let step = self.order.map(|axis| self.stride[axis]);
        let rows = slabs.flat_map(|s| middle.iter().map(move |m| (slow[s], *m)));
        for (row, out) in rows.zip(out.chunks_exact_mut(fast.len().max(1))) {
            let (Some(slow), Some(middle)) = row else {
                out.fill(T::default());
                continue;
            };
            let row = &source.plane(slow as usize)[middle as usize * step[1]..][..step[1]];
            for (slot, index) in out.iter_mut().zip(fast) {
                *slot = index.map_or_else(T::default, |index| convert(row[index as usize]));
            }
        }
    }

    /// Plane by plane: a source plane is resampled once and serves all slabs between it and the
    /// next.
    fn linear_parallel<T: Number>(
        &self,
        source: &impl Planes<T>,
        slabs: Range<usize>,
        out: &mut [f32],
        finish: impl Fn(usize, &mut [f32]),
    ) {
        let slow = &self.taps[2];
        let size = self.map.slab(self.order);
        let mut mixed = vec![0.0; self.map.source[self.order[0]]];
        let mut planes = [(None, vec![0.0; size]), (None, vec![0.0; size])];
        for (slab, out) in slabs.zip(out.chunks_exact_mut(size.max(1))) {
            let (low, high) = (slow.low[slab], slow.high[slab]);
            let (low_weight, high_weight) = (slow.low_weight[slab], slow.high_weight[slab]);
            if planes[1].0 == Some(low) {
                planes.swap(0, 1);
            }
            if low_weight != 0.0 {
                self.plane(source, low, &mut planes[0], &mut mixed);
            }
            if high_weight != 0.0 {
                self.plane(source, high, &mut planes[1], &mut mixed);
            }
            if high_weight == 0.0 {
                scale(&planes[0].1, low_weight, out);
            } else if low_weight == 0.0 {
                scale(&planes[1].1, high_weight, out);
            } else {
                blend(&planes[0].1, low_weight, &planes[1].1, high_weight, out);
            }
            finish(slab, out);
        }
    }

    /// Resamples one source plane (slow index `index`) to the target's two fast axes, unless done
    /// already. `mixed` has room for one source row.
    fn plane<T: Number>(
        &self,
        source: &impl Planes<T>,
        index: u32,
        (held, plane): &mut (Option<u32>, Vec<f32>),
        mixed: &mut [f32],
    ) {
        if *held == Some(index) {
            return;
        }
        *held = Some(index);
        let [fast, middle, _] = &self.taps;
        let width = self.map.source[self.order[0]];
        let source = source.plane(index as usize);
        let row = |index: u32| &source[index as usize * width..][..width];
        for (line, out) in plane.chunks_exact_mut(fast.low.len().max(1)).enumerate() {
            let (low, high) = (row(middle.low[line]), row(middle.high[line]));
            blend(low, middle.low_weight[line], high, middle.high_weight[line], mixed);
            let (lows, highs) =
                (fast.low.iter().zip(&fast.low_weight), fast.high.iter().zip(&fast.high_weight));
            for ((slot, (low, low_weight)), (high, high_weight)) in
                out.iter_mut().zip(lows).zip(highs)
            {
                *slot = mixed[*low as usize] * low_weight + mixed[*high as usize] * high_weight;
            }
        }
    }

    /// Calls `take` with every voxel's position in the slabs.
    fn walk<T>(
        &self,
        oblique: &Oblique,
        slabs: Range<usize>,
        out: &mut [T],
        take: impl Fn([f64; 3]) -> T,
    ) {
        let [fast, middle, slow] = self.order;
        let (width, height) = (self.map.target[fast], self.map.target[middle]);
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
    fn gather<T: Number>(&self, source: &impl Planes<T>, position: [f64; 3]) -> f32 {
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
                && let Some((plane, at)) = self.place(voxel)
            {
                sum += f64::from(source.plane(plane)[at].float()) * weight;
            }
        }
        sum as f32
    }

    /// The data index for a voxel on the source's whole grid, if kept.
    fn index(&self, voxel: [f64; 3]) -> Option<usize> {
        self.place(voxel).map(|(plane, at)| plane * self.stride[self.order[2]] + at)
    }

    /// The same as the plane's index and the place within the plane.
    fn place(&self, voxel: [f64; 3]) -> Option<(usize, usize)> {
        let [fast, middle, slow] = self.order;
        let inside = |axis: usize| AxisSide::of(self.map, axis).inside(voxel[axis]);
        let (fast, line, plane) = (inside(fast)?, inside(middle)?, inside(slow)?);
        Some((plane as usize, fast as usize + line as usize * self.stride[middle]))
    }
}

/// From the smallest to the largest index.
fn range_of(indices: impl Iterator<Item = u32>) -> Range<usize> {
    let ends = indices.fold(None, |ends: Option<(u32, u32)>, index| {
        Some(ends.map_or((index, index), |(least, most)| (least.min(index), most.max(index))))
    });
    ends.map_or(0..0, |(least, most)| least as usize..most as usize + 1)
}

/// An axis in the source's data.
#[derive(Clone, Copy)]
struct AxisSide {
    /// First index of the kept box on the whole axis.
    start: usize,
    length: usize,
    backwards: bool,
}

impl AxisSide {
    fn of(grid_map: &GridMap, axis: usize) -> AxisSide {
        let GridMap { start, source, backwards, .. } = grid_map;
        AxisSide { start: start[axis], length: source[axis], backwards: backwards[axis] }
    }

    /// The data index for an index on the whole axis, if kept.
    fn inside(self, index: f64) -> Option<u32> {
        let at = index - self.start as f64;
        let kept = at >= 0.0 && at < self.length as f64;
        kept.then(|| if self.backwards { self.length as u32 - 1 - at as u32 } else { at as u32 })
    }
}

/// Both neighbours of a position along an axis, and their weights. Neighbours outside the kept box
/// weigh 0.
#[derive(Clone, Debug, Default)]
struct Taps {
    low: Vec<u32>,
    high: Vec<u32>,
    low_weight: Vec<f32>,
    high_weight: Vec<f32>,
}

impl Taps {
    fn new(positions: &[f64], side: AxisSide) -> Taps {
        let mut taps = Taps::default();
        for &position in positions {
            let low = position.floor();
            let (at_low, at_high) = (side.inside(low), side.inside(low + 1.0));
            let part = position - low;
            taps.low.push(at_low.unwrap_or(0));
            taps.high.push(at_high.unwrap_or(0));
            taps.low_weight.push(if at_low.is_some() { (1.0 - part) as f32 } else { 0.0 });
            taps.high_weight.push(if at_high.is_some() { part as f32 } else { 0.0 });
        }
        taps
    }
}

fn scale(source: &[f32], weight: f32, out: &mut [f32]) {
    out.iter_mut().zip(source).for_each(|(out, value)| *out = value * weight);
}

fn blend<T: Number>(a: &[T], a_weight: f32, b: &[T], b_weight: f32, out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a.float() * a_weight + b.float() * b_weight;
    }
}

//! Cubic splines: values between voxels as scipy's `zoom(order=3, mode="nearest", grid_mode=True)`
//! gives them, an axis at a time. Beyond its ends an axis goes on with its last value.

use crate::image::axis_positions::{nearest, positions};
use rayon::prelude::*;

/// The pole in the filter from values to coefficients: √3 − 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Its gain.
const GAIN: f64 = 6.0;
/// Coefficients kept beyond either end; positions lie up to half a voxel outside.
const MARGIN: usize = 3;
/// Lines filtered together.
const LANES: usize = 16;
/// Lines along z resized before they are put in place.
const GROUP: usize = 4096;

type Lanes = [f64; LANES];

/// Resizes a volume, x fastest, and cuts it to its own range. A `separate` axis copies the nearest
/// slices, and each is cut to its own range.
pub fn resize(
    source: Vec<f32>,
    shape: [usize; 3],
    target: [usize; 3],
    separate: Option<usize>,
) -> Vec<f32> {
    let (mut volume, mut now) = (source, shape);
    if let Some(axis) = separate {
        volume = copied(&volume, now, axis, target[axis]);
        now[axis] = target[axis];
    }
    let ranges = ranges(&volume, now, separate);
    let mut axes: Vec<usize> = (0..3).filter(|axis| now[*axis] != target[*axis]).collect();
    let growth: [f64; 3] = std::array::from_fn(|axis| target[axis] as f64 / shape[axis] as f64);
    axes.sort_by(|a, b| growth[*a].total_cmp(&growth[*b]));
    for axis in axes {
        volume = resized(&volume, now, axis, target[axis]);
        now[axis] = target[axis];
    }
    cut(&mut volume, target, separate, &ranges);
    volume
}

/// The nearest slices along an axis.
fn copied(source: &[f32], shape: [usize; 3], axis: usize, length: usize) -> Vec<f32> {
    let stride: usize = shape[..axis].iter().product();
    let slices: Vec<usize> =
        positions(shape[axis], length).map(|position| nearest(position, shape[axis])).collect();
    let blocks = source.chunks_exact((stride * shape[axis]).max(1));
    let chosen =
        blocks.flat_map(|block| slices.iter().map(move |at| &block[at * stride..][..stride]));
    chosen.flatten().copied().collect()
}

/// The volume's range, or each slice's along a separate axis.
fn ranges(volume: &[f32], shape: [usize; 3], separate: Option<usize>) -> Vec<(f32, f32)> {
    let mut ranges =
        vec![(f32::INFINITY, f32::NEG_INFINITY); separate.map_or(1, |axis| shape[axis])];
    each_slice(shape, separate, |slice, range| {
        let ends = &mut ranges[slice];
        for value in &volume[range] {
            *ends = (ends.0.min(*value), ends.1.max(*value));
        }
    });
    ranges
}

fn cut(volume: &mut [f32], shape: [usize; 3], separate: Option<usize>, ranges: &[(f32, f32)]) {
    each_slice(shape, separate, |slice, range| {
        let (low, high) = ranges[slice];
        volume[range].iter_mut().for_each(|value| *value = value.max(low).min(high));
    });
}

/// Calls `visit` with every run of voxels and its slice's number.
fn each_slice(
    shape: [usize; 3],
    separate: Option<usize>,
    mut visit: impl FnMut(usize, std::ops::Range<usize>),
) {
    let all: usize = shape.iter().product();
    let Some(axis) = separate else { return visit(0, 0..all) };
    let stride: usize = shape[..axis].iter().product::<usize>().max(1);
    (0..all / stride).for_each(|run| visit(run % shape[axis], run * stride..(run + 1) * stride));
}

/// Each new voxel's place: its first coefficient, and four weights.
struct SplineTaps(Vec<(usize, [f64; 4])>);

impl SplineTaps {
    fn new(source: usize, target: usize) -> SplineTaps {
        let taps = positions(source, target).map(|position| {
            let low = position.floor();
            let first = low as isize - 1 + MARGIN as isize;
            (first.max(0) as usize, weights(position - low))
        });
        SplineTaps(taps.collect())
    }
}

/// The cubic B-spline at four voxels, the second being `part` below the position.
fn weights(part: f64) -> [f64; 4] {
    let rest = 1.0 - part;
    let first = rest * rest * rest / 6.0;
    let second = (part * part * (part - 2.0) * 3.0 + 4.0) / 6.0;
    let third = (rest * rest * (rest - 2.0) * 3.0 + 4.0) / 6.0;
    [first, second, third, 1.0 - first - second - third]
}

/// One axis resized.
fn resized(source: &[f32], shape: [usize; 3], axis: usize, length: usize) -> Vec<f32> {
    let taps = SplineTaps::new(shape[axis], length);
    let old: usize = shape[axis];
    let stride: usize = shape[..axis].iter().product();
    let voxels = source.len() / old.max(1) * length;
    let mut out = vec![0.0; voxels];
    match axis {
        // Rows: as many as a group of lanes holds.
        0 => out.par_chunks_mut(length * LANES).zip(source.par_chunks(old * LANES)).for_each_init(
            Vec::new,
            |lanes, (out, rows)| {
                let count = rows.len() / old;
                lines(
                    lanes,
                    &taps,
                    old,
                    count,
                    |lane, at| rows[lane * old + at],
                    |lane, at, value| {
                        out[lane * length + at] = value;
                    },
                );
            },
        ),
        1 => out
            .par_chunks_mut(stride * length)
            .zip(source.par_chunks(stride * old))
            .for_each_init(Vec::new, |lanes, (out, plane)| {
                columns(lanes, &taps, plane, stride, 0..stride, |line, at, value| {
                    out[at * stride + line] = value;
                });
            }),
        _ => along_slowest(source, &taps, stride, &mut out),
    }
    out
}

/// The slowest axis: groups of lines at a time, since their voxels are far apart.
fn along_slowest(source: &[f32], taps: &SplineTaps, stride: usize, out: &mut [f32]) {
    let groups: Vec<usize> = (0..stride).step_by(GROUP).collect();
    for some in groups.chunks(rayon::current_num_threads().max(1) * 2) {
        let made: Vec<Vec<f32>> = some
            .par_iter()
            .map_init(Vec::new, |lanes, &first| {
                let here = first..(first + GROUP).min(stride);
                let width = here.len();
                let mut made = vec![0.0; width * taps.0.len()];
                columns(lanes, taps, source, stride, here, |line, at, value| {
                    made[at * width + line - first] = value;
                });
                made
            })
            .collect();
        for (first, made) in some.iter().zip(made) {
            let width = GROUP.min(stride - first);
            let rows = made.chunks_exact(width).zip(out.chunks_exact_mut(stride));
            rows.for_each(|(made, out)| out[*first..first + width].copy_from_slice(made));
        }
    }
}

/// Lines whose voxels lie `stride` apart; those of `here`.
fn columns(
    lanes: &mut Vec<Lanes>,
    taps: &SplineTaps,
    source: &[f32],
    stride: usize,
    here: std::ops::Range<usize>,
    mut put: impl FnMut(usize, usize, f32),
) {
    let old = source.len() / stride.max(1);
    for first in here.clone().step_by(LANES) {
        let count = LANES.min(here.end - first);
        let get = |lane: usize, at: usize| source[at * stride + first + lane];
        lines(lanes, taps, old, count, get, |lane, at, value| put(first + lane, at, value));
    }
}

/// Up to [`LANES`] lines at once: values to coefficients, and those to values at the taps.
fn lines(
    lanes: &mut Vec<Lanes>,
    taps: &SplineTaps,
    length: usize,
    count: usize,
    get: impl Fn(usize, usize) -> f32,
    mut put: impl FnMut(usize, usize, f32),
) {
    lanes.clear();
    lanes.resize(length + 2 * MARGIN, [0.0; LANES]);
    for (at, values) in lanes.iter_mut().enumerate() {
        let at = at.saturating_sub(MARGIN).min(length - 1);
        for (lane, value) in values.iter_mut().enumerate().take(count) {
            *value = f64::from(get(lane, at));
        }
    }
    filter(lanes);
    for (at, (first, weights)) in taps.0.iter().enumerate() {
        let [a, b, c, d] = std::array::from_fn(|tap| &lanes[first + tap]);
        let mut sum = [0.0; LANES];
        for lane in 0..LANES {
            sum[lane] = a[lane] * weights[0]
                + b[lane] * weights[1]
                + c[lane] * weights[2]
                + d[lane] * weights[3];
        }
        (0..count).for_each(|lane| put(lane, at, sum[lane] as f32));
    }
}

/// Values to coefficients in place: a filter forwards and one backwards, both begun as if the first
/// and the last value went on for ever.
fn filter(lanes: &mut [Lanes]) {
    let [.., last] = lanes else { return };
    let steady = last.map(|value| GAIN * value / (1.0 - POLE));
    let mut before = lanes[0].map(|value| GAIN * value / (1.0 - POLE));
    for values in lanes.iter_mut() {
        for lane in 0..LANES {
            values[lane] = GAIN * values[lane] + POLE * before[lane];
        }
        before = *values;
    }
    let mut after: Lanes = std::array::from_fn(|lane| {
        let change = before[lane] - steady[lane];
        -POLE * (steady[lane] / (1.0 - POLE) + change / (1.0 - POLE * POLE))
    });
    let Some((last, others)) = lanes.split_last_mut() else { return };
    *last = after;
    for values in others.iter_mut().rev() {
        for lane in 0..LANES {
            values[lane] = POLE * (after[lane] - values[lane]);
        }
        after = *values;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32], length: usize, axis: usize) -> Vec<f32> {
        let (mut shape, mut target) = ([1; 3], [1; 3]);
        (shape[axis], target[axis]) = (values.len(), length);
        resize(values.to_vec(), shape, target, None)
    }

    #[test]
    fn a_resized_line_is_the_references_on_every_axis() {
        // skimage.transform.resize([0, 1, 4, 2, 7], 8, 3, mode="edge", anti_aliasing=False)
        let reference = [
            0.003_635_5,
            0.068_796_8,
            1.205_568,
            3.569_451_4,
            3.382_694,
            1.942_068_1,
            4.618_07,
            7.0,
        ];
        for axis in 0..3 {
            let found = line(&[0.0, 1.0, 4.0, 2.0, 7.0], 8, axis);
            let apart = found.iter().zip(reference).map(|(a, b): (&f32, f32)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5, "{axis}: {found:?}");
        }
    }

    #[test]
    fn constants_stay_and_values_stay_within_their_range() {
        assert!(line(&[3.0; 7], 19, 1).iter().all(|value| (value - 3.0).abs() < 1e-6));
        let found = line(&[0.0, 0.0, 1.0, 1.0, 0.0, 1.0], 23, 0);
        assert!(found.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn separate_slices_are_copied_and_cut_to_their_own_range() {
        let slices = [0.0, 1.0, 0.0, 1.0, 9.0, 9.0, 5.0, 9.0];
        let found = resize(slices.to_vec(), [4, 1, 2], [7, 1, 3], Some(2));
        assert_eq!(found.len(), 21);
        assert_eq!(found[7..14], found[14..21], "of two equally near slices the upper one");
        assert!(found[..7].iter().all(|value| *value <= 1.0));
        assert!(found[7..].iter().all(|value| (5.0..=9.0).contains(value)));
    }
}

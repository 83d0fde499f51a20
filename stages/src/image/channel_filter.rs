//! Changes of a patch's channel, given their parameters; channels are z fastest.

/// Values times `factor` about their mean, clipped to their range before.
pub(super) fn stretch(values: &mut [f32], factor: f32) {
    let (low, high) = range(values);
    let mean = mean(values) as f32;
    values.iter_mut().for_each(|value| *value = ((*value - mean) * factor + mean).clamp(low, high));
}

/// ((v − min) / range)^power · range + min, then shifted and scaled to the mean and standard
/// deviation before; of the negative if `inverted`.
pub(super) fn raise_retaining_stats(values: &mut [f32], power: f32, inverted: bool) {
    const LEAST: f32 = 1e-7;
    let sign = if inverted { -1.0 } else { 1.0 };
    values.iter_mut().for_each(|value| *value *= sign);
    let (before, spread) = (mean(values), deviation(values));
    let (low, high) = range(values);
    let range = high - low;
    values.iter_mut().for_each(|value| {
        *value = libm::powf((*value - low) / range.max(LEAST), power) * range + low;
    });
    let (after, spread_after) = (mean(values), deviation(values));
    let factor = spread as f32 / (spread_after as f32).max(LEAST);
    let (before, after) = (before as f32, after as f32);
    values.iter_mut().for_each(|value| *value = ((*value - after) * factor + before) * sign);
}

/// Gaussian blur along each axis, reflected at the borders; kernels have about 6 sigma voxels.
pub(super) fn blur(values: &mut [f32], shape: [usize; 3], sigmas: [f64; 3]) {
    for axis in 0..3 {
        let kernel = gaussian_kernel(sigmas[axis]);
        // A border is reflected once: longer kernels are left out on short axes.
        if kernel.len() / 2 < shape[axis] {
            convolve(values, shape, axis, &kernel);
        }
    }
}

/// Weights for a Gaussian filter: an odd number, single-precision like the positions.
pub fn gaussian_kernel(sigma: f64) -> Vec<f32> {
    let wanted = sigma * 6.0 + 0.5;
    let rounded = wanted.round_ties_even();
    let sides = match rounded as i64 {
        odd if odd % 2 == 1 => odd,
        even if wanted >= rounded => even + 1,
        even => even - 1,
    };
    let half = (sides - 1) as f32 * 0.5;
    let weights = (0..sides).map(|index| {
        let offset = (index as f32 - half) / sigma as f32;
        libm::expf(-0.5 * offset * offset)
    });
    let weights: Vec<f32> = weights.collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn convolve(values: &mut [f32], shape: [usize; 3], axis: usize, kernel: &[f32]) {
    let (half, side) = (kernel.len() / 2, shape[axis]);
    let stride: usize = shape[axis + 1..].iter().product();
    let mut line = vec![0.0; side + 2 * half];
    let blocks = values.len() / (side * stride);
    for first in (0..blocks).flat_map(|block| (0..stride).map(move |at| block * side * stride + at))
    {
        for (index, slot) in line.iter_mut().enumerate() {
            *slot = values[first + reflected(index as isize - half as isize, side) * stride];
        }
        for index in 0..side {
            let window = line[index..index + kernel.len()].iter().zip(kernel);
            values[first + index * stride] = window.map(|(value, weight)| value * weight).sum();
        }
    }
}

/// The index inside a line, reflected at its ends without repeating them.
fn reflected(index: isize, side: usize) -> usize {
    let last = side as isize - 1;
    let inside = if index < 0 { -index } else { index };
    (if inside > last { 2 * last - inside } else { inside }) as usize
}

/// Resampled to `sides` by nearest neighbour (PyTorch's `nearest-exact`) and back by trilinear
/// interpolation (without aligned corners).
pub(super) fn coarsen(values: &mut [f32], shape: [usize; 3], sides: [usize; 3]) {
    let nearest: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let scale = shape[axis] as f32 / sides[axis] as f32;
        (0..sides[axis])
            .map(|at| (((at as f32 + 0.5) * scale) as usize).min(shape[axis] - 1))
            .collect()
    });
    let coarse = small(values, shape, &nearest);
    let linear: [Vec<(usize, usize, f32)>; 3] = std::array::from_fn(|axis| {
        let scale = sides[axis] as f32 / shape[axis] as f32;
        (0..shape[axis])
            .map(|at| {
                let place = ((at as f32 + 0.5) * scale - 0.5).max(0.0);
                let low = place as usize;
                (low, (low + 1).min(sides[axis] - 1), place - low as f32)
            })
            .collect()
    });
    let [_, height, depth] = sides;
    let row = |x: usize, y: usize| (x * height + y) * depth;
    let mut place = 0;
    for (x0, x1, fx) in &linear[0] {
        for (y0, y1, fy) in &linear[1] {
            let rows = [row(*x0, *y0), row(*x0, *y1), row(*x1, *y0), row(*x1, *y1)];
            for (z0, z1, fz) in &linear[2] {
                let [a, b, c, d] =
                    rows.map(|row| coarse[row + z0] * (1.0 - fz) + coarse[row + z1] * fz);
                let (near, far) = (a * (1.0 - fy) + b * fy, c * (1.0 - fy) + d * fy);
                values[place] = near * (1.0 - fx) + far * fx;
                place += 1;
            }
        }
    }
}

fn small(values: &[f32], shape: [usize; 3], nearest: &[Vec<usize>; 3]) -> Vec<f32> {
    let [xs, ys, zs] = nearest;
    let mut coarse = Vec::with_capacity(xs.len() * ys.len() * zs.len());
    for x in xs {
        for y in ys {
            let row = (x * shape[1] + y) * shape[2];
            coarse.extend(zs.iter().map(|z| values[row + z]));
        }
    }
    coarse
}

fn range(values: &[f32]) -> (f32, f32) {
    let ends = (f32::INFINITY, f32::NEG_INFINITY);
    values.iter().fold(ends, |(low, high), value| (low.min(*value), high.max(*value)))
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

/// The standard deviation with n − 1.
fn deviation(values: &[f32]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_odd_and_sum_to_one() {
        for (sigma, sides) in [(0.5, 3), (0.75, 5), (1.0, 7)] {
            let kernel = gaussian_kernel(sigma);
            assert_eq!(kernel.len(), sides, "sigma {sigma}");
            assert!((kernel.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_constant_stays_under_every_change() {
        let constant = vec![2.5f32; 4 * 5 * 6];
        let near = |values: &[f32]| values.iter().all(|value| (value - 2.5).abs() < 1e-5);
        let mut values = constant.clone();
        blur(&mut values, [4, 5, 6], [0.5, 0.8, 1.0]);
        assert!(near(&values));
        coarsen(&mut values, [4, 5, 6], [2, 3, 5]);
        assert!(near(&values));
        stretch(&mut values, 1.2);
        assert!(near(&values));
        raise_retaining_stats(&mut values, 1.4, true);
        assert!(near(&values), "{values:?}");
    }
}

//! Rotation and scale of a patch, read from a larger one: trilinear for the image, 0 outside; for
//! the label the value with the largest share. "Outside" counts as a value; it becomes 0, or a
//! marked label's outside.

use crate::image::warp::from_centre;

/// A drawn rotation and scale about the centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotoscale {
    /// Radians about the three axes; the rotations are composed as Rz·Ry·Rx.
    pub angles: [f64; 3],
    /// Factors along the three axes.
    pub scales: [f64; 3],
    /// An axis that stays: the last angle turns the other two.
    pub flat_axis: Option<usize>,
}

impl Rotoscale {
    /// From the result's centred voxels to the source's.
    pub fn matrix(&self) -> [[f64; 3]; 3] {
        let [(sx, cx), (sy, cy), (sz, cz)] = self.angles.map(libm::sincos);
        let Some(flat) = self.flat_axis else {
            let rotation = [
                [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
                [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
                [-sy, cy * sx, cy * cx],
            ];
            return rotation.map(|row| std::array::from_fn(|axis| row[axis] * self.scales[axis]));
        };
        let (first, second) = match flat {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        };
        let mut matrix = [[0.0; 3]; 3];
        matrix[flat][flat] = 1.0;
        matrix[first][first] = cz * self.scales[first];
        matrix[first][second] = -sz * self.scales[second];
        matrix[second][first] = sz * self.scales[first];
        matrix[second][second] = cz * self.scales[second];
        matrix
    }

    /// Resamples a patch of shape `from` (z fastest) into shape `to`. `beyond` is the label outside
    /// of the former.
    pub fn resample(
        &self,
        (from_image, from_label, from): (&[f32], &[u8], [usize; 3]),
        (image, label, to): (&mut [f32], &mut [u8], [usize; 3]),
        beyond: u8,
    ) {
        let matrix = self.matrix().map(|row| row.map(|entry| entry as f32));
        let [nx, ny, nz] = to.map(|side| side as f32);
        let (source, target): (usize, usize) = (from.iter().product(), to.iter().product());
        let mut place = 0;
        for x in 0..to[0] {
            for y in 0..to[1] {
                for z in 0..to[2] {
                    let at = [from_centre(x, nx), from_centre(y, ny), from_centre(z, nz)];
                    let corners = Corners::around(position(&matrix, at, from), from);
                    let channels =
                        from_image.chunks_exact(source).zip(image.chunks_exact_mut(target));
                    channels.for_each(|(from, to)| to[place] = corners.mean(from));
                    label[place] = corners.majority(from_label, beyond);
                    place += 1;
                }
            }
        }
    }
}

/// The position in the source, by the single-precision steps of `grid_sample`.
fn position(matrix: &[[f32; 3]; 3], at: [f32; 3], from: [usize; 3]) -> [f32; 3] {
    std::array::from_fn(|axis| {
        let side = from[axis] as f32;
        let centred = matrix[axis][0] * at[0] + matrix[axis][1] * at[1] + matrix[axis][2] * at[2];
        ((centred / (side / 2.0) + 1.0) * side - 1.0) / 2.0
    })
}

/// The eight voxels around a position with their weights; `None` for those outside.
struct Corners {
    voxels: [(Option<usize>, f32); 8],
    nearest: Option<usize>,
}

impl Corners {
    fn around(at: [f32; 3], shape: [usize; 3]) -> Corners {
        let low = at.map(f32::floor);
        let rest: [f32; 3] = std::array::from_fn(|axis| at[axis] - low[axis]);
        let voxels = std::array::from_fn(|number: usize| {
            let high = [number & 4 != 0, number & 2 != 0, number & 1 != 0];
            let corner = std::array::from_fn(|axis| low[axis] + f32::from(u8::from(high[axis])));
            let [x, y, z] =
                std::array::from_fn(|axis| if high[axis] { rest[axis] } else { 1.0 - rest[axis] });
            (voxel(corner, shape), x * y * z)
        });
        Corners { voxels, nearest: voxel(at.map(f32::round_ties_even), shape) }
    }

    /// The mean, 0 outside.
    fn mean(&self, values: &[f32]) -> f32 {
        let inside =
            self.voxels.iter().filter_map(|(voxel, weight)| Some((values[(*voxel)?], weight)));
        inside.map(|(value, weight)| value * weight).sum()
    }

    /// The value with the largest weight; of equal ones the nearest voxel's, else the lowest.
    /// Outside counts as the value `beyond`, unless that is the background.
    fn majority(&self, labels: &[u8], beyond: u8) -> u8 {
        let values =
            self.voxels.map(|(voxel, weight)| (inner_value(labels, voxel, beyond), weight));
        let first = values[0].0;
        if values.iter().all(|(value, _)| *value == first) {
            return first.unwrap_or(beyond);
        }
        let mut best = inner_value(labels, self.nearest, beyond);
        let mut most = share(&values, best);
        for (rival, _) in values {
            let weight = share(&values, rival);
            // Shares of sums in another order are equal within a few last bits.
            if weight > most + 1e-6 {
                (best, most) = (rival, weight);
            }
        }
        best.unwrap_or(beyond)
    }
}

/// A voxel's label; `None` outside, and for a label that stands for outside.
fn inner_value(labels: &[u8], voxel: Option<usize>, beyond: u8) -> Option<u8> {
    let label = labels[voxel?];
    (beyond == 0 || label != beyond).then_some(label)
}

/// A voxel's index; `None` outside.
fn voxel(place: [f32; 3], shape: [usize; 3]) -> Option<usize> {
    let inside = (0..3).all(|axis| place[axis] >= 0.0 && place[axis] < shape[axis] as f32);
    let [x, y, z] = place.map(|place| place as usize);
    inside.then(|| (x * shape[1] + y) * shape[2] + z)
}

/// Sum of a value's weights.
fn share(values: &[(Option<u8>, f32)], wanted: Option<u8>) -> f32 {
    let same = values.iter().filter(|(value, _)| *value == wanted);
    same.map(|(_, weight)| *weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(angles: [f64; 3], scale: f64) -> Rotoscale {
        Rotoscale { angles, scales: [scale; 3], flat_axis: None }
    }

    #[test]
    fn nothing_drawn_is_the_middle_of_the_larger_patch() {
        let image: Vec<f32> = (0..6 * 6 * 6).map(|voxel| voxel as f32).collect();
        let label: Vec<u8> = (0..6 * 6 * 6).map(|voxel| (voxel % 5) as u8).collect();
        let (mut small, mut labels) = (vec![0.0; 64], vec![0; 64]);
        let source = (&image[..], &label[..], [6; 3]);
        alone([0.0; 3], 1.0).resample(source, (&mut small, &mut labels, [4; 3]), 0);
        for (place, value) in small.iter().enumerate() {
            let voxel = ((place / 16 + 1) * 6 + place / 4 % 4 + 1) * 6 + place % 4 + 1;
            assert!((value - voxel as f32).abs() < 1e-3);
            assert_eq!(labels[place], (voxel % 5) as u8);
        }
    }

    #[test]
    fn a_flat_axis_turns_the_slices_alone() {
        let quarter = Rotoscale {
            angles: [0.3, 0.2, std::f64::consts::FRAC_PI_2],
            scales: [2.0; 3],
            flat_axis: Some(0),
        };
        let matrix = quarter.matrix();
        assert_eq!(matrix[0], [1.0, 0.0, 0.0]);
        assert!((matrix[1][2] + 2.0).abs() < 1e-12 && (matrix[2][1] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn far_outside_everything_is_zero() {
        let (mut image, mut label) = (vec![9.0; 27], vec![9; 27]);
        alone([0.0; 3], 100.0).resample(
            (&[1.0; 8], &[3; 8], [2; 3]),
            (&mut image, &mut label, [3; 3]),
            0,
        );
        let outside = (0..27).filter(|place| *place != 13);
        assert!(outside.clone().all(|place| image[place] == 0.0 && label[place] == 0));
        assert_eq!((image[13], label[13]), (1.0, 3));
    }
}

//! The spatial changes of a patch: mirroring, quarter turns and affine maps, given their parameters.

use crate::image::patch::Patch;

/// An affine change about the patch's centre, as MONAI's `RandAffine` once its parameters are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affinity {
    /// Radians about the three axes; the rotations are composed as Rx·Ry·Rz.
    pub rotation: [f64; 3],
    /// Voxels along the three axes.
    pub translation: [f64; 3],
    /// Factors along the three axes.
    pub scale: [f64; 3],
}

/// Mirrors along the axes that are set.
pub fn flip(patch: &mut Patch, flips: [bool; 3]) {
    if flips.contains(&true) {
        rearrange(patch, [0, 1, 2], flips);
    }
}

/// Turns by `quarters` in the plane of `axes`, in the direction of `torch.rot90`.
pub fn turn(patch: &mut Patch, quarters: u8, [a, b]: [usize; 2]) {
    let (mut axes, mut flips) = ([0, 1, 2], [false; 3]);
    if quarters % 2 == 1 {
        axes.swap(a, b);
    }
    flips[a] = matches!(quarters % 4, 1 | 2);
    flips[b] = matches!(quarters % 4, 2 | 3);
    if !quarters.is_multiple_of(4) {
        rearrange(patch, axes, flips);
    }
}

/// Axis d of the result is axis `axes[d]` of the patch, reversed where `flips[d]`.
fn rearrange(patch: &mut Patch, axes: [usize; 3], flips: [bool; 3]) {
    let from = patch.shape;
    let voxels: usize = from.iter().product();
    let shape = axes.map(|axis| from[axis]);
    let mut image = Vec::with_capacity(patch.image.len());
    patch.image.chunks_exact(voxels).for_each(|channel| copy(channel, from, axes, flips, &mut image));
    let mut label = Vec::with_capacity(voxels);
    copy(&patch.label, from, axes, flips, &mut label);
    *patch = Patch { channels: patch.channels, shape, image, label };
}

fn copy<T: Copy>(source: &[T], from: [usize; 3], axes: [usize; 3], flips: [bool; 3], out: &mut Vec<T>) {
    let strides = [from[1] * from[2], from[2], 1];
    // For each axis of the result: where its first voxel lies, and the step to the next.
    let walk: [(usize, isize, usize); 3] = std::array::from_fn(|d| {
        let (length, stride) = (from[axes[d]], strides[axes[d]]);
        if flips[d] { ((length - 1) * stride, -(stride as isize), length) } else { (0, stride as isize, length) }
    });
    let at = |d: usize, index: usize| walk[d].0 as isize + walk[d].1 * index as isize;
    for x in 0..walk[0].2 {
        for y in 0..walk[1].2 {
            let row = at(0, x) + at(1, y);
            out.extend((0..walk[2].2).map(|z| source[(row + at(2, z)) as usize]));
        }
    }
}

impl Affinity {
    /// Resamples the patch: trilinear for the image, nearest for the label, border values outside.
    pub fn apply(&self, patch: &mut Patch) {
        let [nx, ny, nz] = patch.shape;
        let voxels = nx * ny * nz;
        let map = Map::new(self.matrix(), patch.shape);
        let mut image = vec![0.0; patch.image.len()];
        let mut label = Vec::with_capacity(voxels);
        let mut row = vec![[0f32; 3]; nz];
        for (xy, start) in (0..nx * ny).zip((0..voxels).step_by(nz)) {
            row.iter_mut().enumerate().for_each(|(z, position)| *position = map.position([xy / ny, xy % ny, z]));
            for (source, target) in patch.image.chunks_exact(voxels).zip(image.chunks_exact_mut(voxels)) {
                let target = &mut target[start..start + nz];
                target.iter_mut().zip(&row).for_each(|(value, at)| *value = trilinear(source, patch.shape, *at));
            }
            label.extend(row.iter().map(|at| patch.label[nearest(patch.shape, *at)]));
        }
        *patch = Patch { channels: patch.channels, shape: patch.shape, image, label };
    }

    /// Rotation · translation · scale, from centred output voxels to centred input voxels: three rows
    /// of (x, y, z, 1).
    pub fn matrix(&self) -> [[f64; 4]; 3] {
        let [(sx, cx), (sy, cy), (sz, cz)] = self.rotation.map(libm::sincos);
        let rotation = [
            [cy * cz, -cy * sz, sy],
            [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
            [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
        ];
        rotation.map(|row| {
            let shift: f64 = row.iter().zip(self.translation).map(|(entry, shift)| entry * shift).sum();
            [row[0] * self.scale[0], row[1] * self.scale[1], row[2] * self.scale[2], shift]
        })
    }
}

/// From a voxel of the result to a position in the patch, by the single-precision steps of
/// `grid_sample` with `align_corners=False`.
struct Map {
    matrix: [[f32; 4]; 3],
    shape: [f32; 3],
}

impl Map {
    fn new(matrix: [[f64; 4]; 3], shape: [usize; 3]) -> Map {
        Map { matrix: matrix.map(|row| row.map(|entry| entry as f32)), shape: shape.map(|side| side as f32) }
    }

    #[inline]
    fn position(&self, voxel: [usize; 3]) -> [f32; 3] {
        let centred: [f32; 3] = std::array::from_fn(|axis| voxel[axis] as f32 - (self.shape[axis] - 1.0) / 2.0);
        std::array::from_fn(|axis| {
            let [x, y, z, shift] = self.matrix[axis];
            let side = self.shape[axis];
            let place = x * centred[0] + y * centred[1] + z * centred[2] + shift;
            let normal = place * (2.0 / side.max(2.0));
            (((normal + 1.0) * side - 1.0) / 2.0).clamp(0.0, side - 1.0)
        })
    }
}

#[inline]
fn trilinear(source: &[f32], shape: [usize; 3], at: [f32; 3]) -> f32 {
    let low = at.map(|place| place as u32 as usize);
    let rest: [f32; 3] = std::array::from_fn(|axis| at[axis] - low[axis] as f32);
    let step = |axis: usize, stride: usize| if low[axis] + 1 < shape[axis] { stride } else { 0 };
    let (dx, dy, dz) = (step(0, shape[1] * shape[2]), step(1, shape[2]), step(2, 1));
    let base = (low[0] * shape[1] + low[1]) * shape[2] + low[2];
    let line = |index: usize| source[index] + (source[index + dz] - source[index]) * rest[2];
    let plane = |index: usize| {
        let first = line(index);
        first + (line(index + dy) - first) * rest[1]
    };
    let first = plane(base);
    first + (plane(base + dx) - first) * rest[0]
}

/// The index of the nearest voxel, halves to even.
#[inline]
fn nearest(shape: [usize; 3], at: [f32; 3]) -> usize {
    // Adding 2²³ leaves no bits for a fraction: the sum is rounded, halves to even.
    const WHOLE: f32 = 8_388_608.0;
    let [x, y, z] = at.map(|place| ((place + WHOLE) - WHOLE) as u32 as usize);
    (x * shape[1] + y) * shape[2] + z
}

//! The spatial changes of a patch: rearranged axes and affine maps, given their parameters.

/// An affine change about the patch's centre, as MONAI's `RandAffine` once its parameters are
/// drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affinity {
    /// Radians about the three axes; the rotations are composed as Rx·Ry·Rz.
    pub rotation: [f64; 3],
    /// Voxels along the three axes.
    pub translation: [f64; 3],
    /// Factors along the three axes.
    pub scale: [f64; 3],
}

/// Writes voxels with the result's axis d taken from the source's axis `axes[d]`, reversed if
/// `flips[d]`; z is the fastest axis in both.
pub(super) fn rearrange<T: Copy>(
    source: &[T],
    from: [usize; 3],
    axes: [usize; 3],
    flips: [bool; 3],
    target: &mut [T],
) {
    let strides = [from[1] * from[2], from[2], 1];
    // For each axis of the result: where its first voxel lies, and the step to the next.
    let walk: [(usize, isize, usize); 3] = std::array::from_fn(|d| {
        let (length, stride) = (from[axes[d]], strides[axes[d]]);
        if flips[d] {
            ((length - 1) * stride, -(stride as isize), length)
        } else {
            (0, stride as isize, length)
        }
    });
    let at = |d: usize, index: usize| walk[d].0 as isize + walk[d].1 * index as isize;
    for x in 0..walk[0].2 {
        for y in 0..walk[1].2 {
            let row = at(0, x) + at(1, y);
            let start = (x * walk[1].2 + y) * walk[2].2;
            for (z, value) in target[start..start + walk[2].2].iter_mut().enumerate() {
                *value = source[(row + at(2, z)) as usize];
            }
        }
    }
}

impl Affinity {
    /// Resamples a patch of this shape: trilinear for the image, nearest for the label, border
    /// values outside.
    pub(super) fn resample(
        &self,
        shape: [usize; 3],
        (from_image, from_label): (&[f32], &[u8]),
        (image, label): (&mut [f32], &mut [u8]),
    ) {
        let [nx, ny, nz] = shape;
        let voxels = nx * ny * nz;
        let map = PatchMapping::new(self.matrix(), shape);
        let mut row = std::array::from_fn(|_| vec![0.0; nz]);
        for (xy, start) in (0..nx * ny).zip((0..voxels).step_by(nz)) {
            map.positions([xy / ny, xy % ny], &mut row);
            let at = |z: usize| [row[0][z], row[1][z], row[2][z]];
            for (source, target) in
                from_image.chunks_exact(voxels).zip(image.chunks_exact_mut(voxels))
            {
                let target = target[start..start + nz].iter_mut().enumerate();
                target.for_each(|(z, value)| *value = trilinear(source, shape, at(z)));
            }
            let label = label[start..start + nz].iter_mut().enumerate();
            label.for_each(|(z, value)| *value = from_label[nearest(shape, at(z))]);
        }
    }

    /// Rotation · translation · scale, from centred output voxels to centred input voxels: three
    /// rows of (x, y, z, 1).
    pub fn matrix(&self) -> [[f64; 4]; 3] {
        let [(sx, cx), (sy, cy), (sz, cz)] = self.rotation.map(libm::sincos);
        let rotation = [
            [cy * cz, -cy * sz, sy],
            [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
            [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
        ];
        rotation.map(|row| {
            let shift: f64 =
                row.iter().zip(self.translation).map(|(entry, shift)| entry * shift).sum();
            [row[0] * self.scale[0], row[1] * self.scale[1], row[2] * self.scale[2], shift]
        })
    }
}

/// From a voxel of the result to a position in the patch, by the single-precision steps of
/// `grid_sample` with `align_corners=False`.
struct PatchMapping {
    matrix: [[f32; 4]; 3],
    shape: [f32; 3],
}

/// A voxel's distance along an axis from the middle of so many voxels.
#[inline]
pub(super) fn from_centre(voxel: usize, side: f32) -> f32 {
    voxel as f32 - (side - 1.0) / 2.0
}

impl PatchMapping {
    fn new(matrix: [[f64; 4]; 3], shape: [usize; 3]) -> PatchMapping {
        PatchMapping {
            matrix: matrix.map(|row| row.map(|entry| entry as f32)),
            shape: shape.map(|side| side as f32),
        }
    }

    /// The positions of the voxels (x, y, 0), (x, y, 1) and so on, an axis at a time.
    fn positions(&self, [x, y]: [usize; 2], row: &mut [Vec<f32>; 3]) {
        for ((places, entries), side) in row.iter_mut().zip(self.matrix).zip(self.shape) {
            let known = entries[0] * from_centre(x, self.shape[0])
                + entries[1] * from_centre(y, self.shape[1]);
            for (z, place) in places.iter_mut().enumerate() {
                let normal = (known + entries[2] * from_centre(z, self.shape[2]) + entries[3])
                    * (2.0 / side.max(2.0));
                *place = (((normal + 1.0) * side - 1.0) / 2.0).clamp(0.0, side - 1.0);
            }
        }
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

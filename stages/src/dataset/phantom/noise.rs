//! Noise as a reconstruction leaves it: correlated between neighbouring voxels.

use super::tissue::TissueContrast;
use crate::random::Draw;
use rayon::prelude::*;

/// Noise for all channels in case `index`, x fastest. Every slice has its own stream, so slices can
/// be drawn in any order.
pub fn field(shape: [usize; 3], seed: u64, index: u64, contrasts: &[TissueContrast]) -> Vec<f32> {
    let [nx, ny, nz] = shape;
    let mut field = Vec::with_capacity(nx * ny * nz * contrasts.len());
    for (channel, contrast) in contrasts.iter().enumerate() {
        let purpose = format!("phantom noise {channel}");
        let planes: Vec<Vec<f32>> = (0..nz + 2)
            .into_par_iter()
            .map(|z| plane(nx, ny, Draw::new(seed, z as u64, index, &purpose)))
            .collect();
        // 1-2-1 over slices, whose squares sum to 6.
        let scale = contrast.noise / 6f32.sqrt();
        let slices = (0..nz).into_par_iter().flat_map_iter(|z| {
            let (below, here, above) = (&planes[z], &planes[z + 1], &planes[z + 2]);
            (0..nx * ny).map(move |at| scale * (below[at] + 2.0 * here[at] + above[at]))
        });
        field.par_extend(slices);
    }
    field
}

/// One slice with noise (standard deviation 1), smoothed 1-2-1 along x and y.
fn plane(nx: usize, ny: usize, mut draw: Draw) -> Vec<f32> {
    let (wide, high) = (nx + 2, ny + 2);
    let white: Vec<f32> = (0..wide * high).map(|_| nearly_normal(draw.bits())).collect();
    let mut rows = vec![0f32; nx * high];
    for y in 0..high {
        let row = &white[y * wide..(y + 1) * wide];
        (0..nx).for_each(|x| rows[y * nx + x] = row[x] + 2.0 * row[x + 1] + row[x + 2]);
    }
    (0..nx * ny).map(|at| (rows[at] + 2.0 * rows[at + nx] + rows[at + 2 * nx]) / 6.0).collect()
}

/// The sum of four uniform numbers, scaled to mean 0 and standard deviation 1.
fn nearly_normal(bits: u64) -> f32 {
    let sum: u32 = (0..4).map(|part| (bits >> (16 * part)) as u32 & 0xffff).sum();
    (sum as f32 - 131_070.0) / 37_837.2
}

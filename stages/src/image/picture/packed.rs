//! Voxels packed for a page: 16-bit values and label maps in slabs of slices, each compressed by
//! itself so that a reader may begin anywhere.
//!
//! A value is stored as the difference to the one before it (the first of a slab: to 0), folded so
//! that small differences of either sign are small numbers, all low bytes before all high bytes,
//! as gzip. Labels are stored as they are, as gzip.

use crate::error::{Error, Result};
use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;

/// Voxels in a slab, about.
const SLAB: usize = 1 << 21;

/// Compression of slabs: the fast end, since noise hardly gets smaller.
const LEVEL: i32 = 2;

/// Stored values: `stored · slope + offset` is the image's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Value of one step.
    pub slope: f64,
    /// Value stored as 0.
    pub offset: f64,
}

/// Consecutive slices along the third RAS axis, packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Slab {
    /// Index of the first slice.
    pub first: usize,
    /// Number of slices.
    pub slices: usize,
    /// Values as gzip.
    pub values: Vec<u8>,
    /// Each label map as gzip, the reference first.
    pub maps: Vec<Vec<u8>>,
}

/// A slice with its values and label maps, packed as a slab of one.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedSlice {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values as gzip.
    pub values: Vec<u8>,
    /// Each label map as gzip, the reference first.
    pub maps: Vec<Vec<u8>>,
}

impl Scale {
    /// Whole numbers of 16 bits stay as they are; others are spread over 65 536 steps from the
    /// smallest to the largest.
    pub fn of(values: &[f32]) -> Scale {
        if values.par_iter().all(|value| value.fract() == 0.0 && value.abs() <= 32_767.0) {
            return Scale { slope: 1.0, offset: 0.0 };
        }
        let [low, high] = range(values).map(f64::from);
        let slope = ((high - low) / 65_535.0).max(f64::from(f32::MIN_POSITIVE));
        Scale { slope, offset: low + 32_768.0 * slope }
    }

    /// The number stored for a value; for NaN that of the smallest value.
    pub fn stored(self, value: f32) -> i16 {
        let steps = (f64::from(value) - self.offset) / self.slope;
        if steps.is_nan() { i16::MIN } else { steps.round() as i16 }
    }
}

/// Smallest and largest finite value; zeros if there are none.
pub fn range(values: &[f32]) -> [f32; 2] {
    let finite = values.par_iter().copied().filter(|value| value.is_finite());
    let ends = finite.map(|value| [value, value]).reduce_with(wider);
    ends.unwrap_or([0.0, 0.0])
}

fn wider(one: [f32; 2], other: [f32; 2]) -> [f32; 2] {
    [one[0].min(other[0]), one[1].max(other[1])]
}

/// All slabs of values (x fastest) and label maps of this shape, in order.
pub(super) fn slabs(
    shape: [usize; 3],
    values: &[f32],
    maps: &[&[u8]],
    scale: Scale,
) -> Result<Vec<Slab>> {
    let (area, depth) = (shape[0] * shape[1], shape[2]);
    let slices = (SLAB / area.max(1)).clamp(1, depth.max(1));
    let firsts: Vec<usize> = (0..depth).step_by(slices).collect();
    let slabs = firsts.into_par_iter().map(|first| {
        let slices = slices.min(depth - first);
        let voxels = first * area..(first + slices) * area;
        let values = gzip(&folded(&values[voxels.clone()], scale))?;
        let maps = maps.iter().map(|map| gzip(&map[voxels.clone()])).collect::<Result<_>>()?;
        Ok(Slab { first, slices, values, maps })
    });
    slabs.collect()
}

/// Packs values and maps of a slice that has been cut.
pub(super) fn slice(
    (width, height): (usize, usize),
    values: &[f32],
    maps: &[Vec<u8>],
    scale: Scale,
) -> Result<PackedSlice> {
    let maps = maps.iter().map(|map| gzip(map)).collect::<Result<_>>()?;
    Ok(PackedSlice { width, height, values: gzip(&folded(values, scale))?, maps })
}

/// Differences of neighbours: low bytes, then high bytes.
fn folded(values: &[f32], scale: Scale) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 2];
    let (low, high) = bytes.split_at_mut(values.len());
    let mut before = 0i16;
    for ((value, low), high) in values.iter().zip(low).zip(high) {
        let now = scale.stored(*value);
        let difference = now.wrapping_sub(before);
        let folded = ((difference << 1) ^ (difference >> 15)) as u16;
        [*low, *high] = folded.to_le_bytes();
        before = now;
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let level = CompressionLvl::new(LEVEL).unwrap_or_default();
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor
        .gzip_compress(bytes, &mut packed)
        .map_err(|error| Error::failed(format!("voxels for a page: {error}")))?;
    packed.truncate(length);
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same steps as the page's script.
    fn read(packed: &[u8], count: usize) -> Vec<i16> {
        let mut bytes = vec![0; count * 2];
        libdeflater::Decompressor::new().gzip_decompress(packed, &mut bytes).unwrap();
        let mut value = 0i16;
        let numbers = (0..count).map(|at| {
            let folded = u16::from_le_bytes([bytes[at], bytes[at + count]]);
            value = value.wrapping_add((folded >> 1) as i16 ^ -((folded & 1) as i16));
            value
        });
        numbers.collect()
    }

    #[test]
    fn whole_numbers_come_back_as_they_were_whatever_their_differences() {
        let values = [0.0, -1024.0, 3071.0, 32_767.0, -32_767.0, 5.0, 5.0];
        let scale = Scale::of(&values);
        assert_eq!(scale, Scale { slope: 1.0, offset: 0.0 });
        let packed = gzip(&folded(&values, scale)).unwrap();
        assert_eq!(read(&packed, 7), [0, -1024, 3071, 32_767, -32_767, 5, 5]);
    }

    #[test]
    fn fractions_are_kept_to_a_65535th_of_their_range_and_nan_is_the_least() {
        let values = [0.0, 0.25, 1.0, f32::NAN];
        let scale = Scale::of(&values);
        let found = read(&gzip(&folded(&values, scale)).unwrap(), 4);
        let back: Vec<f64> =
            found.iter().map(|stored| f64::from(*stored) * scale.slope + scale.offset).collect();
        for (value, back) in [0.0, 0.25, 1.0, 0.0].iter().zip(&back) {
            assert!((value - back).abs() < 1e-5, "{back:?}");
        }
    }
}

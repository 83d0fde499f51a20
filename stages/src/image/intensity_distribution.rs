//! An image's value distribution: exact for few distinct values, else in many bins.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bins for more distinct values: each has equally many voxels and stands for their mean.
const BINS: usize = 16_384;
/// Bytes of a bin: a float32 and a uint32, least significant byte first.
const BIN_BYTES: usize = 8;

/// A distribution of voxel values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntensityDistribution {
    /// Voxels, mean, variance and ends.
    pub summary: Summary,
    /// Rising values, each with its voxel count.
    pub bins: Vec<(f32, u32)>,
}

/// Exact figures of all values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Number of voxels.
    pub voxels: u64,
    /// Number of bins.
    pub bins: usize,
    /// Mean; 0 without voxels, as the others.
    pub mean: f64,
    /// Population variance.
    pub variance: f64,
    /// The smallest value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
}

impl IntensityDistribution {
    /// That of finite values.
    pub fn of(mut values: Vec<f32>) -> IntensityDistribution {
        let voxels = values.len() as f64;
        if values.is_empty() {
            return IntensityDistribution::default();
        }
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / voxels;
        let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
        let distinct = counted(&values).unwrap_or_else(|| {
            values.sort_unstable_by(f32::total_cmp);
            values.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
        });
        let ends = distinct.first().zip(distinct.last()).map(|(first, last)| (first.0, last.0));
        let (min, max) = ends.unwrap_or_default();
        let bins = if distinct.len() > BINS { binned(&values) } else { distinct };
        let variance = squares / voxels;
        let summary =
            Summary { voxels: values.len() as u64, bins: bins.len(), mean, variance, min, max };
        IntensityDistribution { summary, bins }
    }

    /// The bins as bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.bins
            .iter()
            .flat_map(|(value, voxels)| value.to_le_bytes().into_iter().chain(voxels.to_le_bytes()))
    }

    /// From several summaries and the concatenated bytes in their bins.
    pub fn all_of(summaries: &[Summary], bytes: &[u8]) -> Result<Vec<IntensityDistribution>> {
        let (bins, rest) = bytes.as_chunks::<BIN_BYTES>();
        let promised: usize = summaries.iter().map(|summary| summary.bins).sum();
        if !rest.is_empty() || bins.len() != promised {
            return Err(Error::failed("the bins of a case are damaged; run with --force"));
        }
        let mut bins = bins.iter().map(|[a, b, c, d, e, f, g, h]| {
            (f32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]))
        });
        let distributions = summaries.iter().map(|summary| IntensityDistribution {
            summary: *summary,
            bins: bins.by_ref().take(summary.bins).collect(),
        });
        Ok(distributions.collect())
    }
}

/// 16-bit whole numbers counted without sorting; `None` for others.
fn counted(values: &[f32]) -> Option<Vec<(f32, u32)>> {
    let mut counts = vec![0u32; 1 << 16];
    for value in values {
        let whole = *value as i32;
        if whole as f32 != *value || i16::try_from(whole).is_err() {
            return None;
        }
        counts[(whole + 32_768) as usize] += 1;
    }
    let seen = (-32_768..).zip(counts).filter(|(_, count)| *count > 0);
    Some(seen.map(|(value, count)| (value as f32, count)).collect())
}

/// Sorted values in bins of equal numbers, each with its mean.
fn binned(sorted: &[f32]) -> Vec<(f32, u32)> {
    let bins = sorted.chunks(sorted.len().div_ceil(BINS));
    bins.map(|bin| {
        let mean = bin.iter().map(|value| f64::from(*value)).sum::<f64>() / bin.len() as f64;
        (mean as f32, bin.len() as u32)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_broken_numbers_have_one_distribution() {
        let whole = IntensityDistribution::of(vec![3.0, -2.0, 3.0, 7.0]);
        assert_eq!(whole.bins, [(-2.0, 1), (3.0, 2), (7.0, 1)]);
        assert_eq!((whole.summary.mean, whole.summary.variance), (2.75, 10.1875));
        let broken = IntensityDistribution::of(vec![3.5, -2.0, 3.5]);
        assert_eq!(broken.bins, [(-2.0, 1), (3.5, 2)]);
        assert_eq!((broken.summary.min, broken.summary.max), (-2.0, 3.5));
        assert_eq!(IntensityDistribution::of(vec![]), IntensityDistribution::default());
    }

    #[test]
    fn many_values_are_binned_and_come_back_from_bytes() {
        let many = IntensityDistribution::of((0..100_000).map(|at| at as f32 / 7.0).collect());
        assert_eq!(many.bins.iter().map(|bin| u64::from(bin.1)).sum::<u64>(), 100_000);
        assert!(many.bins.len() <= BINS && many.bins.is_sorted_by(|a, b| a.0 < b.0));
        let few = IntensityDistribution::of(vec![1.5]);
        let bytes: Vec<u8> = many.bytes().chain(few.bytes()).collect();
        let summaries = [many.summary, few.summary];
        let back = IntensityDistribution::all_of(&summaries, &bytes).unwrap();
        assert_eq!(back, [many, few]);
        IntensityDistribution::all_of(&summaries, &bytes[1..]).unwrap_err();
    }
}

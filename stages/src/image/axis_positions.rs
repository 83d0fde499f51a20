//! Voxel positions on an axis divided anew between the same ends.

/// Positions for `target` voxels on an axis with `source` voxels; both have the same ends.
pub(super) fn positions(source: usize, target: usize) -> impl Iterator<Item = f64> {
    let scale = source as f64 / target as f64;
    (0..target).map(move |index| (index as f64 + 0.5) * scale - 0.5)
}

/// The nearest voxel within the axis; the upper if two are equally near.
pub(super) fn nearest(position: f64, length: usize) -> usize {
    ((position + 0.5).floor().max(0.0) as usize).min(length - 1)
}

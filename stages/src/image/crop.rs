//! Cropping: the box around what matters.

use crate::image::Volume;
use crate::image::grid_map::StorageOrder;
use crate::image::spacing::Grid;

/// A box of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box3 {
    /// The first voxel along each axis.
    pub start: [usize; 3],
    /// The end along each axis, exclusive.
    pub end: [usize; 3],
}

impl Box3 {
    /// The whole of a grid.
    pub fn whole(shape: [usize; 3]) -> Box3 {
        Box3 { start: [0; 3], end: shape }
    }

    /// X, Y, Z of the box.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.start[axis])
    }
}

/// The smallest box around all voxels found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreground {
    start: [usize; 3],
    end: [usize; 3],
}

impl Foreground {
    /// Nothing found yet.
    pub fn none() -> Foreground {
        Foreground { start: [usize::MAX; 3], end: [0; 3] }
    }

    /// The foreground's bounding box in slab `z`, with rows `width` voxels long.
    pub fn of_slab(
        z: usize,
        slab: &[f32],
        width: usize,
        is_foreground: impl Fn(f32) -> bool,
    ) -> Foreground {
        let mut found = Foreground::none();
        for (y, row) in slab.chunks_exact(width.max(1)).enumerate() {
            // Told for whole rows first, many voxels at a time.
            if row.iter().fold(false, |any, &value| any | is_foreground(value)) {
                let first = row.iter().position(|&value| is_foreground(value)).unwrap_or(0);
                let last = row.iter().rposition(|&value| is_foreground(value)).unwrap_or(first);
                found =
                    found.and(Foreground { start: [first, y, z], end: [last + 1, y + 1, z + 1] });
            }
        }
        found
    }

    /// Both together.
    pub fn and(self, other: Foreground) -> Foreground {
        Foreground {
            start: std::array::from_fn(|axis| self.start[axis].min(other.start[axis])),
            end: std::array::from_fn(|axis| self.end[axis].max(other.end[axis])),
        }
    }

    /// The box, widened by `margin` and clipped to a grid's `shape`. `None` if nothing was found.
    pub fn boxed(self, shape: [usize; 3], margin: usize) -> Option<Box3> {
        (self.end[0] > 0).then(|| Box3 {
            start: self.start.map(|first| first.saturating_sub(margin)),
            end: std::array::from_fn(|axis| self.end[axis].saturating_add(margin).min(shape[axis])),
        })
    }
}

/// The voxels inside the box, in the memory of the volume, with the affine moved along.
pub fn cropped<T: Copy>(mut volume: Volume<T>, part: &Box3) -> Volume<T> {
    let shape = part.shape();
    if shape == volume.shape {
        return volume;
    }
    let [width, height, depth] = volume.shape;
    let mut end = 0;
    for slab in (0..volume.channels)
        .flat_map(|channel| (part.start[2]..part.end[2]).map(move |z| z + depth * channel))
    {
        for y in part.start[1]..part.end[1] {
            let row = width * (y + height * slab);
            volume.data.copy_within(row + part.start[0]..row + part.end[0], end);
            end += shape[0];
        }
    }
    volume.data.truncate(end);
    let origin = crate::image::affine::apply(&volume.affine, part.start.map(|first| first as f64));
    (0..3).for_each(|row| volume.affine[row][3] = origin[row]);
    Volume { shape, ..volume }
}

/// A box's grid within another grid.
pub fn part_of(grid: &Grid, part: &Box3) -> Grid {
    let mut affine = grid.affine;
    let origin = crate::image::affine::apply(&affine, part.start.map(|first| first as f64));
    (0..3).for_each(|row| affine[row][3] = origin[row]);
    Grid { shape: part.shape(), affine }
}

/// A box's values in a grid of `shape`, and the default elsewhere. Both lie in `order`.
pub fn placed<T: Copy + Default>(
    data: Vec<T>,
    part: &Box3,
    shape: [usize; 3],
    order: StorageOrder,
) -> Vec<T> {
    if *part == Box3::whole(shape) {
        return data;
    }
    let [fast, middle, _] = order;
    let [width, height, _] = order.map(|axis| part.shape()[axis]);
    let first = order.map(|axis| part.start[axis]);
    let mut out = vec![T::default(); shape.iter().product()];
    for (row, values) in data.chunks_exact(width.max(1)).enumerate() {
        let (line, slab) = (first[1] + row % height, first[2] + row / height);
        let start = first[0] + shape[fast] * (line + shape[middle] * slab);
        out[start..start + width].copy_from_slice(values);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::affine::IDENTITY;

    fn with_voxels(set: &[(usize, [usize; 3])]) -> Volume<f32> {
        let mut data = vec![0.0; 2 * 4 * 5 * 6];
        set.iter().for_each(|(channel, [x, y, z])| data[x + 4 * (y + 5 * (z + 6 * channel))] = 1.0);
        Volume { channels: 2, shape: [4, 5, 6], data, affine: IDENTITY }
    }

    fn foreground(image: &Volume<f32>, above: &[f32], margin: usize) -> Option<Box3> {
        let slabs = image.each_channel().zip(above).flat_map(|(channel, &above)| {
            channel
                .chunks_exact(20)
                .enumerate()
                .map(move |(z, slab)| Foreground::of_slab(z, slab, 4, |value| value > above))
        });
        slabs.fold(Foreground::none(), Foreground::and).boxed(image.shape, margin)
    }

    #[test]
    fn the_box_holds_the_foreground_of_every_channel_and_its_margin_stays_inside() {
        let image = with_voxels(&[(0, [1, 1, 2]), (1, [2, 4, 2])]);
        let tight = foreground(&image, &[0.0, 0.0], 0).unwrap();
        assert_eq!(tight, Box3 { start: [1, 1, 2], end: [3, 5, 3] });
        let wide = foreground(&image, &[0.0, 0.0], 2).unwrap();
        assert_eq!(wide, Box3 { start: [0, 0, 0], end: [4, 5, 5] });
        assert_eq!(foreground(&image, &[0.0, 1.0], 0).unwrap().end, [2, 2, 3]);
        assert_eq!(foreground(&image, &[1.0, 1.0], 0), None);
    }

    #[test]
    fn a_box_is_placed_back_where_it_was_cut_in_either_order() {
        let part = Box3 { start: [1, 0, 2], end: [3, 1, 4] };
        let found = placed(vec![1, 2, 3, 4], &part, [4, 2, 4], [0, 1, 2]);
        let set: Vec<_> = (0..32).filter(|at| found[*at] != 0).map(|at| (at, found[at])).collect();
        assert_eq!(set, [(17, 1), (18, 2), (25, 3), (26, 4)]);
        let found = placed(vec![1, 3, 2, 4], &part, [4, 2, 4], [2, 1, 0]);
        let set: Vec<_> = (0..32).filter(|at| found[*at] != 0).map(|at| (at, found[at])).collect();
        assert_eq!(set, [(10, 1), (11, 3), (18, 2), (19, 4)]);
        assert_eq!(placed(vec![7], &Box3::whole([1; 3]), [1; 3], [0, 1, 2]), [7]);
    }

    #[test]
    fn a_crop_keeps_voxels_in_their_place_in_the_world() {
        let image = with_voxels(&[(0, [1, 1, 2]), (1, [2, 4, 2])]);
        let small = cropped(image, &Box3 { start: [1, 1, 2], end: [3, 5, 3] });
        assert_eq!((small.shape, small.data.len()), ([2, 4, 1], 16));
        assert_eq!((small.data[0], small.data[8 + 7]), (1.0, 1.0));
        assert_eq!([small.affine[0][3], small.affine[1][3], small.affine[2][3]], [1.0, 1.0, 2.0]);
    }
}

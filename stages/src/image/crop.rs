//! Cropping: the box around what matters.

use crate::image::Volume;

/// A box of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box3 {
    /// The first voxel of each axis.
    pub start: [usize; 3],
    /// One past the last voxel of each axis.
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

/// The box around the voxels where any channel exceeds its threshold, widened by `margin` and
/// clipped to the grid. `None` where there is no such voxel.
pub fn foreground(image: &Volume<f32>, above: &[f32], margin: usize) -> Option<Box3> {
    let (mut start, mut end) = (image.shape, [0; 3]);
    let [nx, ny, _] = image.shape;
    for (channel, &above) in image.each_channel().zip(above) {
        for (row, values) in channel.chunks_exact(nx).enumerate() {
            let Some(first) = values.iter().position(|&value| value > above) else { continue };
            let last = values.iter().rposition(|&value| value > above).unwrap_or(first);
            for (axis, (low, high)) in [(first, last), (row % ny, row % ny), (row / ny, row / ny)].iter().enumerate() {
                start[axis] = start[axis].min(*low);
                end[axis] = end[axis].max(high + 1);
            }
        }
    }
    (end[0] > 0).then(|| Box3 {
        start: start.map(|first| first.saturating_sub(margin)),
        end: std::array::from_fn(|axis| end[axis].saturating_add(margin).min(image.shape[axis])),
    })
}

/// The voxels inside the box, with the affine moved along.
pub fn cropped<T: Copy>(volume: Volume<T>, part: &Box3) -> Volume<T> {
    let shape = part.shape();
    if shape == volume.shape {
        return volume;
    }
    let mut data = Vec::with_capacity(shape.iter().product::<usize>() * volume.channels);
    for channel in volume.each_channel() {
        for z in part.start[2]..part.end[2] {
            for y in part.start[1]..part.end[1] {
                let row = volume.shape[0] * (y + volume.shape[1] * z);
                data.extend_from_slice(&channel[row + part.start[0]..row + part.end[0]]);
            }
        }
    }
    let mut affine = volume.affine;
    let origin = crate::image::affine::apply(&affine, part.start.map(|first| first as f64));
    (0..3).for_each(|row| affine[row][3] = origin[row]);
    Volume { channels: volume.channels, shape, data, affine }
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
    fn a_crop_keeps_voxels_in_their_place_in_the_world() {
        let image = with_voxels(&[(0, [1, 1, 2]), (1, [2, 4, 2])]);
        let small = cropped(image, &Box3 { start: [1, 1, 2], end: [3, 5, 3] });
        assert_eq!((small.shape, small.data.len()), ([2, 4, 1], 16));
        assert_eq!((small.data[0], small.data[8 + 7]), (1.0, 1.0));
        assert_eq!([small.affine[0][3], small.affine[1][3], small.affine[2][3]], [1.0, 1.0, 2.0]);
    }
}

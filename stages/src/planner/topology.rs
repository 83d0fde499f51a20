//! Topology: how often each axis is halved, with which kernels.

/// The smallest side of the last feature map.
const MIN_EDGE_LENGTH: f64 = 4.0;

/// Strides and kernels of all stages, and the patch that suits them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Number of halvings of each axis.
    pub pools: [u32; 3],
    /// Strides of each stage; the first has stride 1.
    pub strides: Vec<[usize; 3]>,
    /// Kernels of each stage.
    pub kernel_sizes: Vec<[usize; 3]>,
    /// The patch, padded to a multiple of the strides' product.
    pub patch_size: [usize; 3],
}

impl Topology {
    /// The product of the strides of an axis.
    pub fn divisor(&self, axis: usize) -> usize {
        1 << self.pools[axis]
    }
}

/// Halves the axes until none is left that is long enough. Axes whose voxels are less than twice as
/// large as the finest of these are halved together.
pub fn topology(spacing: [f64; 3], patch_size: [f64; 3]) -> Topology {
    let (mut current_spacing, mut current_size) = (spacing, patch_size);
    let (mut pools, mut kernel) = ([0; 3], [1; 3]);
    let (mut strides, mut kernel_sizes) = (vec![[1; 3]], vec![]);
    loop {
        let axes = poolable(current_spacing, current_size);
        if axes == [false; 3] {
            break;
        }
        let finest = current_spacing.iter().copied().fold(f64::INFINITY, f64::min);
        for axis in 0..3 {
            if current_spacing[axis] / finest < 2.0 {
                kernel[axis] = 3;
            }
        }
        for axis in (0..3).filter(|axis| axes[*axis]) {
            pools[axis] += 1;
            current_spacing[axis] *= 2.0;
            current_size[axis] = (current_size[axis] / 2.0).ceil();
        }
        strides.push(axes.map(|is_halved| if is_halved { 2 } else { 1 }));
        kernel_sizes.push(kernel);
    }
    kernel_sizes.push([3; 3]);
    let patch_size = std::array::from_fn(|axis| {
        let divisor = f64::from(1u32 << pools[axis]);
        ((patch_size[axis] / divisor).ceil() * divisor) as usize
    });
    Topology { pools, strides, kernel_sizes, patch_size }
}

/// The axes to halve next. An axis alone needs three times the smallest side.
fn poolable(spacing: [f64; 3], size: [f64; 3]) -> [bool; 3] {
    let is_long = size.map(|length| length >= 2.0 * MIN_EDGE_LENGTH);
    let long = (0..3).filter(|axis| is_long[*axis]);
    let finest = long.map(|axis| spacing[axis]).fold(f64::INFINITY, f64::min);
    let axes: [bool; 3] = std::array::from_fn(|axis| is_long[axis] && spacing[axis] / finest < 2.0);
    let mut chosen = (0..3).filter(|axis| axes[*axis]);
    match (chosen.next(), chosen.next()) {
        (Some(only), None) if size[only] < 3.0 * MIN_EDGE_LENGTH => [false; 3],
        _ => axes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_axis_joins_when_the_others_have_become_as_coarse() {
        let found = topology([3.6, 0.625, 0.625], [20.0, 320.0, 256.0]);
        assert_eq!((found.pools, found.patch_size), ([2, 6, 6], [20, 320, 256]));
        assert_eq!(found.strides[1], [1, 2, 2]);
        let flat = found.kernel_sizes.iter().filter(|kernel| kernel[0] == 1).count();
        assert_eq!((flat, found.kernel_sizes.len()), (2, 7));
    }

    #[test]
    fn a_patch_is_padded_up_and_small_volumes_keep_their_stride() {
        assert_eq!(topology([1.0; 3], [36.0, 49.5, 35.0]).patch_size, [40, 56, 40]);
        let tiny = topology([1.0; 3], [7.0, 6.5, 7.0]);
        assert_eq!((tiny.strides.len(), tiny.patch_size), (1, [7, 7, 7]));
    }
}

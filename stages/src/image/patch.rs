//! A patch: a piece of a volume in the network's layout.

/// A piece of a volume with its label, z fastest and channels slowest, as networks read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Number of image channels.
    pub channels: usize,
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The image: index = z + Z·(y + Y·(x + X·c)).
    pub image: Vec<f32>,
    /// The label values: index = z + Z·(y + Y·x).
    pub label: Vec<u8>,
}

impl Patch {
    /// A patch of zeros.
    pub(super) fn blank(channels: usize, shape: [usize; 3]) -> Patch {
        let voxels: usize = shape.iter().product();
        Patch { channels, shape, image: vec![0.0; channels * voxels], label: vec![0; voxels] }
    }
}

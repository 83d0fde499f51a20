//! A network by its hyper-parameters. The checks and the graph of each architecture are in
//! `networks`.

use super::Mistake;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A whole number for all axes, or three for x, y and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PerAxis {
    /// The same along all axes.
    All(u32),
    /// Along x, y and z.
    Each([u32; 3]),
}

impl PerAxis {
    /// True for sides of a kernel: odd, at most 31.
    pub(super) fn is_kernel(self) -> bool {
        self.xyz().iter().all(|side| side % 2 == 1 && *side <= 31)
    }

    /// True for strides in 1 to 16.
    pub(super) fn is_stride(self) -> bool {
        self.xyz().iter().all(|step| (1..=16).contains(step))
    }

    /// Along x, y and z.
    pub fn xyz(self) -> [u32; 3] {
        match self {
            PerAxis::All(number) => [number; 3],
            PerAxis::Each(numbers) => numbers,
        }
    }
}

/// Normalisation after a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch norm: eps 1e-5, momentum 0.1, with scale and shift.
    #[default]
    Batch,
    /// Instance norm: eps 1e-5; in 'unet' without scale and shift.
    Instance,
}

/// The architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    /// A residual 3D U-Net, built as MONAI's `UNet`.
    #[default]
    Unet,
    /// nnU-Net's default U-Net: stacked convolutions, instance norm with scale and shift,
    /// LeakyReLU.
    PlainConvUnet,
    /// nnU-Net's U-Net with residual blocks on the way down (ResEnc).
    ResidualEncoderUnet,
}

impl NetworkName {
    /// Models stored before there were names are U-Nets, and U-Nets are stored like them.
    pub(super) fn is_unnamed(&self) -> bool {
        *self == NetworkName::Unet
    }
}

/// A network and its hyper-parameters: those that its architecture reads, the others at their
/// defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The architecture's name.
    #[schemars(extend("x-neutral" = "unet", "default" = "unet"))]
    pub name: NetworkName,
    /// Channels of each level, from the top (for unet).
    pub channels: Vec<u32>,
    /// Strides, each one number or [x, y, z]. For unet those between levels, one fewer than
    /// channels; for the others those of each resolution stage, the first 1.
    pub strides: Vec<PerAxis>,
    /// Kernel of the convolutions; odd (for unet).
    pub kernel: PerAxis,
    /// Kernel of the transposed convolutions on the way up; odd (for unet).
    pub up_kernel: PerAxis,
    /// Convolutions in each residual unit on the way down; 0 for plain convolutions (for unet).
    pub residual_units: u32,
    /// Normalisation after each convolution (for unet).
    pub norm: Norm,
    /// Probability that dropout zeroes an element; 0 for none (for unet).
    pub dropout: f64,
    /// Channels of each resolution stage, from the top (for plain_conv_unet and
    /// residual_encoder_unet).
    #[schemars(extend("x-neutral" = []))]
    pub features: Vec<u32>,
    /// Kernel of each resolution stage's convolutions, each one number or [x, y, z]; odd (for
    /// plain_conv_unet and residual_encoder_unet).
    #[schemars(extend("x-neutral" = []))]
    pub kernel_sizes: Vec<PerAxis>,
    /// Convolutions of each resolution stage on the way down (for plain_conv_unet).
    #[schemars(extend("x-neutral" = []))]
    pub convolutions: Vec<u32>,
    /// Residual blocks of each resolution stage on the way down (for residual_encoder_unet).
    #[schemars(extend("x-neutral" = []))]
    pub blocks: Vec<u32>,
    /// Convolutions of each resolution stage on the way up, from the bottom; one fewer than
    /// features (for plain_conv_unet and residual_encoder_unet).
    #[schemars(extend("x-neutral" = []))]
    pub decoder_convolutions: Vec<u32>,
    /// Train the outputs of all resolution stages on the way up, by 'loss.output_weights' (for
    /// plain_conv_unet and residual_encoder_unet).
    #[schemars(extend("x-neutral" = false))]
    pub deep_supervision: bool,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            name: NetworkName::Unet,
            channels: vec![16, 32, 64, 128, 256],
            strides: vec![PerAxis::All(2); 4],
            kernel: PerAxis::All(3),
            up_kernel: PerAxis::All(3),
            residual_units: 2,
            norm: Norm::Batch,
            dropout: 0.0,
            features: vec![],
            kernel_sizes: vec![],
            convolutions: vec![],
            blocks: vec![],
            decoder_convolutions: vec![],
            deep_supervision: false,
        }
    }
}

impl Network {
    /// The product of the strides along each axis. Patch and window sides must be multiples.
    pub fn multiple(&self) -> [usize; 3] {
        let mut product = [1usize; 3];
        for stride in &self.strides {
            for (side, step) in product.iter_mut().zip(stride.xyz()) {
                *side = side.saturating_mul(step.max(1) as usize);
            }
        }
        product
    }

    /// Number of voxels at the deepest level for a patch or window.
    pub fn deepest_voxels(&self, sides: [usize; 3]) -> usize {
        let multiple = self.multiple();
        (0..3).map(|axis| sides[axis] / multiple[axis]).product()
    }

    /// Mistakes in patch or window sides for this network.
    pub fn check_sides(&self, sides: [usize; 3], path: &str) -> Option<Mistake> {
        let multiple = self.multiple();
        let mut axes = sides.iter().zip(&multiple);
        if axes.all(|(side, multiple)| *side > 0 && side.is_multiple_of(*multiple)) {
            return None;
        }
        let below = [0, 1, 2].map(|axis| (sides[axis] / multiple[axis]).max(1) * multiple[axis]);
        let above =
            [0, 1, 2].map(|axis| sides[axis].div_ceil(multiple[axis]).max(1) * multiple[axis]);
        let nearest =
            if below == above { format!("{below:?}") } else { format!("{below:?} or {above:?}") };
        let trouble = format!(
            "{sides:?} does not suit the strides, whose products are {multiple:?}: each side must \
             be \
             a multiple; the nearest valid is {nearest}"
        );
        Some((path.to_string(), trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_does_not_suit_the_strides_is_told_the_nearest_valid_sizes() {
        let network = Network::default();
        assert_eq!(network.check_sides([96, 96, 48], "patch"), None);
        let (path, trouble) = network.check_sides([100, 96, 40], "patch").unwrap();
        assert_eq!(path, "patch");
        assert!(
            trouble.ends_with("the nearest valid is [96, 96, 32] or [112, 96, 48]"),
            "{trouble}"
        );
    }
}

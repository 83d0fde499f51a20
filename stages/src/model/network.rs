//! A network by its hyper-parameters. The graph of each architecture is in `architecture`.

use super::{Mistake, mistake};
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
    /// Instance norm: eps 1e-5, without scale and shift.
    Instance,
}

/// The architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    /// A residual 3D U-Net, built as MONAI's `UNet`.
    #[default]
    Unet,
}

impl NetworkName {
    /// Models stored before there were names are U-Nets, and U-Nets are stored like them.
    fn is_unnamed(&self) -> bool {
        *self == NetworkName::Unet
    }
}

/// A network and its hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The architecture's name.
    #[serde(skip_serializing_if = "NetworkName::is_unnamed")]
    #[schemars(extend("x-neutral" = "unet", "default" = "unet"))]
    pub name: NetworkName,
    /// Channels of each level, from the top.
    pub channels: Vec<u32>,
    /// Strides between levels, one fewer than channels; each one number or [x, y, z].
    pub strides: Vec<PerAxis>,
    /// Kernel of the convolutions; odd.
    pub kernel: PerAxis,
    /// Kernel of the transposed convolutions on the way up; odd.
    pub up_kernel: PerAxis,
    /// Convolutions in each residual unit on the way down; 0 for plain convolutions.
    pub residual_units: u32,
    /// Normalisation after each convolution.
    pub norm: Norm,
    /// Probability that dropout zeroes an element; 0 for none.
    pub dropout: f64,
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

    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        let (channels, strides) = (self.channels.len(), self.strides.len());
        let needed = channels.saturating_sub(1);
        let lacking = format!("{channels} levels need {needed} strides, found {strides}");
        let kernel = "sides must be odd, at most 31";
        let wide = self.channels.iter().any(|count| !(1..=4096).contains(count));
        let steps = self.strides.iter().flat_map(|stride| stride.xyz());
        let far = steps.into_iter().any(|step| !(1..=16).contains(&step));
        let table: [(bool, &str, &str); 8] = [
            (channels < 2, "channels", "needs at least two levels, as in [16, 32]"),
            (wide, "channels", "each must lie in 1 to 4096"),
            (strides + 1 != channels, "strides", &lacking),
            (far, "strides", "each must lie in 1 to 16"),
            (!is_kernel(self.kernel), "kernel", kernel),
            (!is_kernel(self.up_kernel), "up_kernel", kernel),
            (self.residual_units > 16, "residual_units", "must lie in 0 to 16"),
            (!(0.0..1.0).contains(&self.dropout), "dropout", "must lie in 0 to below 1"),
        ];
        let mistakes =
            table.into_iter().map(|(is, key, words)| mistake(is, format!("{path}.{key}"), words));
        mistakes.flatten().collect()
    }

    /// Number of voxels at the deepest level for a patch or window.
    pub fn deepest_voxels(&self, sides: [usize; 3]) -> usize {
        let multiple = self.multiple();
        (0..3).map(|axis| sides[axis] / multiple[axis]).product()
    }

    /// Instance norm over a single value always gives 0; PyTorch refuses it ("Expected more than 1
    /// spatial element").
    pub fn check_instance_norm(&self, sides: [usize; 3], path: &str) -> Option<Mistake> {
        let is_single = self.norm == Norm::Instance && self.deepest_voxels(sides) == 1;
        mistake(
            is_single,
            path,
            format!(
                "{sides:?} leaves one voxel on the deepest level, and instance norm needs more \
                 than one; enlarge it, or take fewer or smaller strides"
            ),
        )
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

fn is_kernel(sides: PerAxis) -> bool {
    sides.xyz().iter().all(|side| side % 2 == 1 && *side <= 31)
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

    #[test]
    fn a_unet_may_be_named_and_is_stored_as_before_there_were_names() {
        let named: Network = serde_json::from_str(r#"{ "name": "unet", "dropout": 0.5 }"#).unwrap();
        let unnamed: Network = serde_json::from_str(r#"{ "dropout": 0.5 }"#).unwrap();
        assert_eq!(named, unnamed);
        let stored = serde_json::to_value(&named).unwrap();
        assert_eq!(stored.get("name"), None);
        assert!(serde_json::from_str::<Network>(r#"{ "name": "resnet" }"#).is_err());
    }

    #[test]
    fn a_level_without_a_stride_is_a_mistake() {
        let network = Network { strides: vec![PerAxis::All(2); 3], ..Network::default() };
        let mistakes = network.check("network");
        assert_eq!(
            mistakes,
            vec![("network.strides".to_string(), "5 levels need 4 strides, found 3".to_string())]
        );
    }
}

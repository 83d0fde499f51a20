//! The network of a configuration, as nnU-Net's plans of any version name it.

use crate::error::{Error, Result, Trouble};
use crate::model::{Network, NetworkName, PerAxis};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The class's module path of the two networks that are offered, and of these alone.
const CLASSES: [(&str, NetworkName); 2] = [
    ("PlainConvUNet", NetworkName::PlainConvUnet),
    ("ResidualEncoderUNet", NetworkName::ResidualEncoderUnet),
];

/// `architecture` of plans since nnU-Net 2.3.
#[derive(Deserialize)]
struct Architecture {
    network_class_name: String,
    arch_kwargs: ArchKwargs,
}

#[derive(Deserialize)]
struct ArchKwargs {
    features_per_stage: Vec<u32>,
    kernel_sizes: Vec<Vec<u32>>,
    strides: Vec<Vec<u32>>,
    #[serde(alias = "n_blocks_per_stage")]
    n_conv_per_stage: Vec<u32>,
    n_conv_per_stage_decoder: Vec<u32>,
    conv_bias: bool,
    norm_op: Option<String>,
    #[serde(default)]
    norm_op_kwargs: Map<String, Value>,
    #[serde(default)]
    dropout_op: Option<String>,
    nonlin: Option<String>,
}

/// The fields of older plans.
#[derive(Deserialize)]
#[allow(non_snake_case, reason = "nnU-Net's keys")]
struct OlderPlan {
    UNet_class_name: String,
    UNet_base_num_features: u32,
    unet_max_num_features: u32,
    n_conv_per_stage_encoder: Vec<u32>,
    n_conv_per_stage_decoder: Vec<u32>,
    conv_kernel_sizes: Vec<Vec<u32>>,
    pool_op_kernel_sizes: Vec<Vec<u32>>,
}

/// The network. `axes` has the plan's axis for each of x, y and z.
pub fn network(fields: &Map<String, Value>, axes: [usize; 3]) -> Result<Network> {
    let Architecture { network_class_name, arch_kwargs } = match fields.get("architecture") {
        Some(architecture) => Architecture::deserialize(architecture).trouble("architecture")?,
        None => {
            let older = OlderPlan::deserialize(Value::Object(fields.clone()));
            older.trouble("architecture")?.into_architecture()
        }
    };
    let name = network_class_name.rsplit('.').next().unwrap_or_default();
    let Some((_, name)) = CLASSES.iter().find(|(known, _)| *known == name) else {
        return Err(Error::failed(format!(
            "its network is a '{network_class_name}'; those that are offered are PlainConvUNet and \
             ResidualEncoderUNet"
        )));
    };
    arch_kwargs.check()?;
    let ArchKwargs { features_per_stage, n_conv_per_stage, n_conv_per_stage_decoder, .. } =
        arch_kwargs;
    let (convolutions, blocks) = match name {
        NetworkName::ResidualEncoderUnet => (vec![], n_conv_per_stage),
        _ => (n_conv_per_stage, vec![]),
    };
    Ok(Network {
        name: *name,
        features: features_per_stage,
        kernel_sizes: turned(&arch_kwargs.kernel_sizes, axes).trouble("kernel_sizes")?,
        strides: turned(&arch_kwargs.strides, axes).trouble("strides")?,
        convolutions,
        blocks,
        decoder_convolutions: n_conv_per_stage_decoder,
        deep_supervision: true,
        ..Network::default()
    })
}

/// The sides of each stage along x, y and z.
/// True if a class has this name, in whichever module.
fn is_class(class: &Option<String>, name: &str) -> bool {
    class.as_deref().is_some_and(|class| class.rsplit('.').next() == Some(name))
}

fn turned(stages: &[Vec<u32>], axes: [usize; 3]) -> Result<Vec<PerAxis>> {
    stages
        .iter()
        .map(|sides| match sides[..] {
            [_, _, _] => Ok(PerAxis::Each(axes.map(|axis| sides[axis]))),
            _ => Err(Error::failed(format!("{sides:?} is not of three axes"))),
        })
        .collect()
}

impl ArchKwargs {
    /// Errors if layers are others than those of the two networks.
    fn check(&self) -> Result<()> {
        let eps = self.norm_op_kwargs.get("eps").and_then(Value::as_f64);
        let is_affine = self.norm_op_kwargs.get("affine") == Some(&Value::Bool(true));
        let refused = [
            (!is_class(&self.norm_op, "InstanceNorm3d"), "norm_op", "InstanceNorm3d"),
            (!is_affine || eps != Some(1e-5), "norm_op_kwargs", "eps 1e-5 and affine"),
            (!is_class(&self.nonlin, "LeakyReLU"), "nonlin", "LeakyReLU"),
            (self.dropout_op.is_some(), "dropout_op", "none"),
            (!self.conv_bias, "conv_bias", "true"),
        ];
        match refused.iter().find(|(is_other, ..)| *is_other) {
            None => Ok(()),
            Some((_, key, offered)) => {
                Err(Error::failed(format!("its network has another '{key}' than {offered}")))
            }
        }
    }
}

impl OlderPlan {
    /// As nnU-Net itself takes plans of versions before 2.3.
    fn into_architecture(self) -> Architecture {
        let stages = self.n_conv_per_stage_encoder.len() as u32;
        let features = |stage: u32| {
            let doubled = 1u32
                .checked_shl(stage)
                .map(|factor| self.UNet_base_num_features.saturating_mul(factor));
            doubled.unwrap_or(u32::MAX).min(self.unet_max_num_features)
        };
        let arch_kwargs = ArchKwargs {
            features_per_stage: (0..stages).map(features).collect(),
            kernel_sizes: self.conv_kernel_sizes,
            strides: self.pool_op_kernel_sizes,
            n_conv_per_stage: self.n_conv_per_stage_encoder,
            n_conv_per_stage_decoder: self.n_conv_per_stage_decoder,
            conv_bias: true,
            norm_op: Some("InstanceNorm3d".into()),
            norm_op_kwargs: Map::from_iter([
                ("eps".to_string(), 1e-5.into()),
                ("affine".to_string(), true.into()),
            ]),
            dropout_op: None,
            nonlin: Some("LeakyReLU".into()),
        };
        Architecture { network_class_name: self.UNet_class_name, arch_kwargs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kwargs() -> Value {
        json!({
            "n_stages": 2, "features_per_stage": [32, 64], "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2]],
            "n_blocks_per_stage": [1, 3], "n_conv_per_stage_decoder": [1], "conv_bias": true,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": { "eps": 1e-5, "affine": true }, "dropout_op": null,
            "dropout_op_kwargs": null, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": { "inplace": true },
        })
    }

    fn of(class: &str, kwargs: Value) -> Result<Network> {
        let plan =
            json!({ "architecture": { "network_class_name": class, "arch_kwargs": kwargs } });
        network(plan.as_object().unwrap(), [2, 1, 0])
    }

    #[test]
    fn a_residual_encoder_is_turned_to_x_y_z() {
        let network = of("a.b.ResidualEncoderUNet", kwargs()).unwrap();
        assert_eq!(network.name, NetworkName::ResidualEncoderUnet);
        assert_eq!(network.blocks, [1, 3]);
        assert_eq!(network.kernel_sizes, [PerAxis::Each([3, 3, 1]), PerAxis::Each([3, 3, 3])]);
        assert_eq!(network.strides[1], PerAxis::Each([2, 2, 1]));
        assert_eq!(network.check("network"), []);
    }

    #[test]
    fn older_plans_mean_the_same() {
        let plan = json!({
            "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 32,
            "unet_max_num_features": 320, "num_pool_per_axis": [5, 5, 5],
            "n_conv_per_stage_encoder": [2, 2, 2, 2, 2], "n_conv_per_stage_decoder": [2, 2, 2, 2],
            "conv_kernel_sizes": vec![[3, 3, 3]; 5],
            "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
        });
        let network = network(plan.as_object().unwrap(), [2, 1, 0]).unwrap();
        assert_eq!(network.features, [32, 64, 128, 256, 320]);
        assert_eq!((network.convolutions.len(), network.strides[1]), (5, PerAxis::Each([2, 2, 1])));
        assert_eq!(network.check("network"), []);
    }

    #[test]
    fn other_networks_and_layers_are_refused_by_name() {
        let words = of("nnunetv2.Primus", kwargs()).unwrap_err().to_string();
        assert!(words.contains("a 'nnunetv2.Primus'"), "{words}");
        for (key, value) in [
            ("norm_op", json!("torch.nn.BatchNorm3d")),
            ("nonlin", json!("torch.nn.ReLU")),
            ("dropout_op", json!("torch.nn.Dropout3d")),
            ("conv_bias", json!(false)),
            ("norm_op_kwargs", json!({ "eps": 1e-3, "affine": true })),
        ] {
            let mut changed = kwargs();
            changed[key] = value;
            let words = of("ResidualEncoderUNet", changed).unwrap_err().to_string();
            assert!(words.contains(&format!("another '{key}'")), "{words}");
        }
    }
}

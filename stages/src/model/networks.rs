//! The table of architectures: a network's name leads to its keys, checks and graph. A new one is a
//! file like `unet` and a row here.

use super::architecture::Architecture;
use super::graph::Graph;
use super::network::NetworkName;
use super::plain_conv_unet::PlainConvUnet;
use super::residual_encoder_unet::ResidualEncoderUnet;
use super::unet::Unet;
use super::{Mistake, Network, Norm, mistake};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// All names, for messages.
const NAMES: [NetworkName; 3] =
    [NetworkName::Unet, NetworkName::PlainConvUnet, NetworkName::ResidualEncoderUnet];

impl NetworkName {
    /// The architecture of a name.
    pub fn architecture(self) -> &'static dyn Architecture {
        match self {
            NetworkName::Unet => &Unet,
            NetworkName::PlainConvUnet => &PlainConvUnet,
            NetworkName::ResidualEncoderUnet => &ResidualEncoderUnet,
        }
    }

    /// The name in a workflow.
    fn word(self) -> &'static str {
        match self {
            NetworkName::Unet => "unet",
            NetworkName::PlainConvUnet => "plain_conv_unet",
            NetworkName::ResidualEncoderUnet => "residual_encoder_unet",
        }
    }
}

/// Calls a macro with the parameters of all networks.
macro_rules! with_parameters {
    ($apply:ident) => {
        $apply!(
            channels,
            features,
            kernel_sizes,
            strides,
            kernel,
            up_kernel,
            residual_units,
            norm,
            dropout,
            convolutions,
            blocks,
            decoder_convolutions,
            deep_supervision
        )
    };
}

/// The parameters that the architecture reads. A U-Net is stored without its name, as before there
/// were names.
impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.name.is_unnamed() {
            map.serialize_entry("name", &self.name)?;
        }
        let keys = self.name.architecture().keys();
        macro_rules! entries {
            ($($key:ident),*) => {$(
                if keys.contains(&stringify!($key)) {
                    map.serialize_entry(stringify!($key), &self.$key)?;
                }
            )*};
        }
        with_parameters!(entries);
        map.end()
    }
}

impl Network {
    /// The graph for `inputs` channels and `outputs` classes. The parameters must pass
    /// [`Network::check`].
    pub fn graph(&self, inputs: usize, outputs: usize) -> Graph {
        self.name.architecture().graph(self, inputs, outputs)
    }

    /// The kind of its norms.
    pub fn kind_of_norms(&self) -> Norm {
        self.name.architecture().norm(self)
    }

    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        let own = self.name.architecture().check(self).into_iter();
        let all = self.foreign_keys().into_iter().map(|key| (key, self.foreign_trouble(key)));
        own.chain(all.map(|(key, trouble)| (key.to_string(), trouble)))
            .map(|(key, trouble)| (format!("{path}.{key}"), trouble))
            .collect()
    }

    /// Keys of other architectures with values other than their defaults.
    fn foreign_keys(&self) -> Vec<&'static str> {
        let (keys, usual) = (self.name.architecture().keys(), Network::default());
        let mut foreign = vec![];
        macro_rules! gather {
            ($($key:ident),*) => {$(
                if !keys.contains(&stringify!($key)) && self.$key != usual.$key {
                    foreign.push(stringify!($key));
                }
            )*};
        }
        with_parameters!(gather);
        foreign
    }

    fn foreign_trouble(&self, key: &str) -> String {
        let known = NAMES.into_iter().filter(|name| name.architecture().keys().contains(&key));
        let known: Vec<&str> = known.map(NetworkName::word).collect();
        format!(
            "is a parameter of {}, not of {}, which has {}",
            known.join(" and "),
            self.name.word(),
            self.name.architecture().keys().join(", ")
        )
    }

    /// Instance norm over a single value always gives 0; PyTorch refuses it ("Expected more than 1
    /// spatial element").
    pub fn check_instance_norm(&self, sides: [usize; 3], path: &str) -> Option<Mistake> {
        let is_single = self.kind_of_norms() == Norm::Instance && self.deepest_voxels(sides) == 1;
        mistake(
            is_single,
            path,
            format!(
                "{sides:?} leaves one voxel on the deepest level, and instance norm needs more \
                 than one; enlarge it, or take fewer or smaller strides"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PerAxis;

    #[test]
    fn a_unet_may_be_named_and_is_stored_as_before_there_were_names() {
        let named: Network = serde_json::from_str(r#"{ "name": "unet", "dropout": 0.5 }"#).unwrap();
        let unnamed: Network = serde_json::from_str(r#"{ "dropout": 0.5 }"#).unwrap();
        assert_eq!(named, unnamed);
        let stored = serde_json::to_string(&Network::default()).unwrap();
        let before = r#"{"channels":[16,32,64,128,256],"strides":[2,2,2,2],"kernel":3,"up_kernel":3,"residual_units":2,"norm":"batch","dropout":0.0}"#;
        assert_eq!(stored, before);
        assert!(serde_json::from_str::<Network>(r#"{ "name": "resnet" }"#).is_err());
    }

    #[test]
    fn a_network_is_stored_by_the_parameters_that_it_reads_and_comes_back() {
        for name in NAMES {
            let network = Network { name, ..Network::default() };
            let stored = serde_json::to_value(&network).unwrap();
            let mut keys: Vec<&str> = name.architecture().keys().to_vec();
            keys.extend((!name.is_unnamed()).then_some("name"));
            keys.sort_unstable();
            let mut found: Vec<&str> =
                stored.as_object().unwrap().keys().map(String::as_str).collect();
            found.sort_unstable();
            assert_eq!(found, keys);
            assert_eq!(
                stored.get("name").map(|name| name.as_str().unwrap()),
                match name {
                    NetworkName::Unet => None,
                    other => Some(other.word()),
                }
            );
            assert_eq!(serde_json::from_value::<Network>(stored).unwrap(), network);
        }
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

    #[test]
    fn a_parameter_of_another_network_is_a_mistake_that_names_its_network() {
        let network = Network { blocks: vec![1, 3], ..Network::default() };
        let (path, trouble) = network.check("network").remove(0);
        assert_eq!(path, "network.blocks");
        assert_eq!(
            trouble,
            "is a parameter of residual_encoder_unet, not of unet, which has channels, strides, \
             kernel, up_kernel, residual_units, norm, dropout"
        );
    }
}

//! Facts of a training in a checkpoint of nnU-Net's trainer, beside its weights.

use crate::error::{Error, Result};
use crate::model::foreign::{archive::TorchArchive, mapped, whole};
use crate::model::pickle::{Pickle, PickleNode, PickleValue};
use std::path::Path;

/// Facts of a training that prediction needs.
#[derive(Debug, PartialEq)]
pub struct NnunetCheckpoint {
    /// The configuration, as `3d_fullres`.
    pub configuration: String,
    /// The trainer's class.
    pub trainer: String,
    /// The plan's axes along which images may be flipped.
    pub mirroring_axes: Vec<usize>,
}

impl NnunetCheckpoint {
    /// Reads a file's pickle; no numbers of tensors.
    pub fn read(path: &Path) -> Result<NnunetCheckpoint> {
        let map = mapped(path)?;
        let archive = TorchArchive::open(&map)?;
        NnunetCheckpoint::of(&whole(archive.pickle()?)?)
    }

    fn of(pickle: &Pickle) -> Result<NnunetCheckpoint> {
        let root = pickle.root;
        let arguments = pickle.get(root, "init_args").ok_or_else(|| missing("init_args"))?;
        let Some(PickleValue::Text(configuration)) = pickle.get(arguments, "configuration") else {
            return Err(missing("init_args/configuration"));
        };
        let trainer = match pickle.get(root, "trainer_name") {
            Some(PickleValue::Text(name)) => name,
            _ => "unknown",
        };
        let axes = pickle.get(root, "inference_allowed_mirroring_axes");
        let mirroring_axes = match axes {
            None | Some(PickleValue::None) => vec![],
            Some(axes) => numbers(pickle, axes)
                .ok_or_else(|| Error::failed("'inference_allowed_mirroring_axes' is no list"))?,
        };
        Ok(NnunetCheckpoint {
            configuration: configuration.into(),
            trainer: trainer.into(),
            mirroring_axes,
        })
    }
}

fn missing(key: &str) -> Error {
    Error::failed(format!("has no '{key}': it is no checkpoint of nnU-Net v2's trainer"))
}

fn numbers(pickle: &Pickle, list: PickleValue) -> Option<Vec<usize>> {
    let (PickleNode::Tuple(items) | PickleNode::List(items)) = pickle.node(list)? else {
        return None;
    };
    items
        .iter()
        .map(|item| match item {
            PickleValue::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        })
        .collect()
}

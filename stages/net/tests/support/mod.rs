//! Fixtures that Python made, and the numbers that both sides draw by the same rule. What is held
//! against them is the tests'.
#![allow(dead_code, missing_docs)]

pub mod bench;
pub mod ranks;

use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};
use voxflow_net::network::GraphNetwork;
use voxflow_net::weights;

/// A fixture: its tensors, and what it says about them.
pub struct Fixture<A> {
    pub about: A,
    tensors: BTreeMap<String, Tensor>,
}

impl<A: DeserializeOwned> Fixture<A> {
    /// Of a name below `tests/parity/fixtures`, as "network/forwards".
    pub fn open(name: &str) -> Fixture<A> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/fixtures");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let about = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
        Fixture { tensors: weights::unpack(&bytes).unwrap(), about }
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the fixture has no '{name}'"))
    }

    pub fn under(&self, folder: &str) -> BTreeMap<String, Tensor> {
        let named = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(folder)?, tensor)));
        named.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect()
    }
}

/// The largest difference, relative to the largest wanted value.
pub fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    largest(&(found - wanted)) / largest(wanted).max(1e-30)
}

/// The largest absolute value.
pub fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// Values in [-1, 1), row by row, fp64: `drawn` of `tests/parity/drawn.py`.
pub fn drawn(seed: u64, shape: &[i64]) -> Tensor {
    const MASK: u64 = 0xFFFF_FFFF;
    let value = |place: u64| {
        let mut bits = (place * 2_654_435_761 + seed * 40_503) & MASK;
        bits ^= bits >> 15;
        bits = (bits * 2_246_822_519) & MASK;
        bits ^= bits >> 13;
        bits = (bits * 3_266_489_917) & MASK;
        (bits ^ (bits >> 16)) as f64 / 2f64.powi(31) - 1.0
    };
    let values: Vec<f64> = (0..shape.iter().product::<i64>() as u64).map(value).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// The same in fp32.
pub fn drawn_single(seed: u64, shape: &[i64]) -> Tensor {
    drawn(seed, shape).to_kind(Kind::Float)
}

/// Whole numbers below `classes`.
pub fn drawn_labels(seed: u64, classes: i64, shape: &[i64]) -> Tensor {
    ((drawn(seed, shape) + 1.0) / 2.0 * classes as f64).to_kind(Kind::Int64)
}

/// Gives every tensor of a network values as after a training: `fill` of `tests/parity/drawn.py`.
pub fn fill(network: &GraphNetwork, seed: u64) {
    let named = (0..).zip(network.parameters()).map(|(index, parameter)| {
        let (name, shape) = (&parameter.name, parameter.tensor.size());
        let values = match spread(name, &shape) {
            Some((middle, reach)) => middle + drawn(seed * 1000 + index, &shape) * reach,
            None => Tensor::zeros(&shape, (Kind::Int64, Device::Cpu)),
        };
        (name.clone(), values)
    });
    weights::fill(network, &named.collect()).unwrap();
}

/// The same with the tensors in the order of their names: `fill_by_name` of
/// `tests/parity/drawn.py`.
pub fn fill_by_name(network: &GraphNetwork, seed: u64) {
    let sorted: BTreeMap<&String, &Tensor> =
        network.parameters().iter().map(|one| (&one.name, &one.tensor)).collect();
    let named = (0..).zip(sorted).filter_map(|(index, (name, tensor))| {
        let (middle, reach) = spread(name, &tensor.size())?;
        Some((name.clone(), middle + drawn(seed * 1000 + index, &tensor.size()) * reach))
    });
    weights::fill(network, &named.collect()).unwrap();
}

/// Middle and reach of a tensor's values; none for a counter.
fn spread(name: &str, shape: &[i64]) -> Option<(f64, f64)> {
    match name {
        _ if name.ends_with("num_batches_tracked") => None,
        _ if name.ends_with("running_var") => Some((1.0, 0.5)),
        _ if name.ends_with(".N.weight") || name.ends_with(".norm.weight") => Some((1.0, 0.3)),
        _ if name.ends_with(".A.weight") => Some((0.25, 0.2)),
        _ if shape.len() > 1 => {
            Some((0.0, 1.0 / (shape[1..].iter().product::<i64>() as f64).sqrt()))
        }
        _ => Some((0.0, 0.3)),
    }
}

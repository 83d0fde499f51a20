//! A network's weights as plain numbers under their Python names, in safetensors: how they are
//! read, written, and held against the network. As libtorch's tensors they live in `voxflow-net`.

use super::ModelCard;
use super::foreign::Foreign;
use super::tensor_spec::TensorSpec;
use crate::dataset::name::shown;
use crate::error::{Error, Result, Trouble};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of a tensor, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorNumbers {
    /// Of weights and statistics.
    Floats(Vec<f32>),
    /// Of what counts.
    Counter(i64),
}

/// A network's tensors with their numbers, in the network's order.
pub type StateDict = Vec<(TensorSpec, TensorNumbers)>;

/// A network's tensors from another program's file. Errors unless names and shapes match. A missing
/// counter (`num_batches_tracked`) is 0: older files lack counters, and they do not affect results.
pub fn of_foreign(file: &Foreign, wanted: Vec<TensorSpec>) -> Result<StateDict> {
    check(
        &wanted,
        &file.views.iter().map(|(name, view)| (name.as_str(), &view.shape[..])).collect(),
    )?;
    let mut named = vec![];
    for spec in wanted {
        let numbers = match (spec.is_counter(), file.views.contains_key(&spec.name)) {
            (true, true) => TensorNumbers::Counter(file.counter(&spec.name)?),
            (true, false) => TensorNumbers::Counter(0),
            (false, _) => TensorNumbers::Floats(file.floats(&spec.name)?),
        };
        named.push((spec, numbers));
    }
    Ok(named)
}

/// The tensors of a model's own safetensors file.
pub fn of_model(bytes: &[u8], card: &ModelCard) -> Result<StateDict> {
    if let Some((path, trouble)) = card.network.check("network").first() {
        return Err(Error::failed(format!("{path}: {trouble}")));
    }
    of_foreign(&Foreign::open(bytes, None)?, card.graph().tensors())
}

/// Errors if names or shapes differ, and lists tensors that are missing (except counters),
/// superfluous, or differ in shape.
pub fn check(wanted: &[TensorSpec], found: &BTreeMap<&str, &[usize]>) -> Result<()> {
    let names = wanted.iter().flat_map(|spec| std::iter::once(&spec.name).chain(&spec.twins));
    let known: BTreeSet<&str> = names.map(String::as_str).collect();
    let absent: Vec<String> = wanted
        .iter()
        .filter(|spec| !spec.is_counter() && !found.contains_key(spec.name.as_str()))
        .map(|spec| format!("'{}'", spec.name))
        .collect();
    let extra: Vec<String> = found
        .keys()
        .filter(|name| !known.contains(*name))
        .map(|name| format!("'{name}'"))
        .collect();
    let shapes = wanted.iter().filter_map(|spec| {
        let shape = found.get(spec.name.as_str()).filter(|shape| **shape != spec.shape)?;
        Some(format!("'{}' is {shape:?} instead of {:?}", spec.name, spec.shape))
    });
    let shapes: Vec<String> = shapes.collect();
    let lists = [("missing", absent), ("left over", extra), ("of another shape", shapes)];
    let wrong = lists.iter().filter(|(_, names)| !names.is_empty());
    let wrong: Vec<String> =
        wrong.map(|(what, names)| format!("{what}: {}", shown(names))).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("the weights do not fit the network; {}", wrong.join("; "))))
}

/// The tensors as a safetensors file.
pub fn pack(tensors: &StateDict) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, numbers)| numbers.bytes()).collect();
    let views = tensors.iter().zip(&bytes).map(|((spec, _), bytes)| {
        let dtype = if spec.is_counter() { Dtype::I64 } else { Dtype::F32 };
        let view = TensorView::new(dtype, spec.shape.clone(), bytes);
        view.map(|view| (spec.name.as_str(), view)).trouble(&spec.name)
    });
    let views: Vec<(&str, TensorView)> = views.collect::<Result<_>>()?;
    safetensors::serialize(views, None).trouble("weights")
}

impl TensorNumbers {
    /// The numbers as little-endian bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            TensorNumbers::Floats(values) => {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            TensorNumbers::Counter(value) => value.to_le_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tensor_spec::{InitialValue, TensorRole};

    #[test]
    fn what_is_missing_left_over_and_of_another_shape_is_listed() {
        let spec = |name: &str, shape: &[usize]| TensorSpec {
            name: name.into(),
            shape: shape.into(),
            role: TensorRole::Weight,
            initial: InitialValue::Constant(0.0),
            twins: vec![format!("twin.{name}")],
        };
        let counter = TensorSpec { role: TensorRole::Counter, ..spec("n", &[]) };
        let found = BTreeMap::from([
            ("a", &[2][..]),
            ("twin.a", &[2][..]),
            ("b", &[3, 1][..]),
            ("d", &[][..]),
        ]);
        let wanted = [spec("a", &[2]), spec("b", &[3]), spec("c", &[1]), counter];
        let error = check(&wanted, &found).unwrap_err().to_string();
        assert_eq!(
            error,
            "the weights do not fit the network; missing: 'c'; left over: 'd'; \
             of another shape: 'b' is [3, 1] instead of [3]"
        );
    }
}

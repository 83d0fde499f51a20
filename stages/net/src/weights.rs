//! Weights as safetensors, under MONAI's parameter names, and their way into a network and back.

use crate::network::GraphNetwork;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_cache::disk;
use voxflow_stages::dataset::name::shown;
use voxflow_stages::model::weights::check;
use voxflow_stages::{Error, Result, Trouble};

/// Tensors by name, in the order of a network's `state_dict`.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Named tensors as a safetensors file. Numbers may be infinite or NaN, as in a checkpoint; weights
/// that leave a training are checked ([`write`]).
pub fn pack(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    // The views borrow the bytes: all bytes come first.
    let mut plain = vec![];
    for (name, tensor) in tensors {
        plain.push((name, PlainTensor::new(tensor)?));
    }
    let mut views = vec![];
    for (name, PlainTensor { dtype, shape, bytes }) in &plain {
        views.push((*name, TensorView::new(*dtype, shape.clone(), bytes).trouble(name)?));
    }
    safetensors::serialize(views, None).trouble("weights")
}

/// The tensors of a safetensors file, on the processor.
pub fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let file = safetensors::SafeTensors::deserialize(bytes).trouble("not a safetensors file")?;
    file.tensors()
        .into_iter()
        .map(|(name, view)| Ok((name.clone(), tensor(&name, &view)?)))
        .collect()
}

/// Writes a network's tensors to a file. Errors unless all numbers are finite.
pub fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    check_finite(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).trouble(
        "the training gave weights that are no numbers; lower 'learning_rate' or set \
         'clip_gradients'",
    )?;
    Ok(disk::write(path, &pack(tensors)?)?)
}

/// Reads a network's weights from a safetensors file. Errors unless all numbers are finite.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let tensors = unpack(&bytes).trouble_at(path)?;
    check_finite(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).trouble_at(path)?;
    Ok(tensors)
}

/// Errors if numbers are infinite or NaN, and names their tensors.
fn check_finite<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let bad: Vec<String> = tensors
        .filter(|(_, tensor)| !is_finite(tensor))
        .map(|(name, _)| format!("'{name}'"))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("{} holds numbers that are not finite", shown(&bad))))
}

fn is_finite(tensor: &Tensor) -> bool {
    !tensor.is_floating_point() || bool::try_from(tensor.isfinite().all()).is_ok_and(|all| all)
}

/// Copies of a network's tensors on the processor.
pub fn snapshot(network: &GraphNetwork) -> NamedTensors {
    let parameters = network.parameters().iter();
    let named = parameters.map(|known| (known.name.clone(), known.tensor.shallow_clone()));
    cpu_copies(named.collect())
}

/// Copies on the processor that share no memory with the tensors. From a device all numbers of a
/// kind come together: each copy would wait for the device.
pub fn cpu_copies(tensors: NamedTensors) -> NamedTensors {
    no_grad(|| {
        let mut fetched: Vec<Option<Tensor>> = tensors
            .iter()
            .map(|(_, tensor)| (tensor.device() == Device::Cpu).then(|| tensor.detach().copy()))
            .collect();
        while let Some(first) = fetched.iter().position(Option::is_none) {
            let kind = tensors[first].1.kind();
            let is_next =
                |place: &usize| fetched[*place].is_none() && tensors[*place].1.kind() == kind;
            let places: Vec<usize> = (first..tensors.len()).filter(is_next).collect();
            let together: Vec<&Tensor> = places.iter().map(|place| &tensors[*place].1).collect();
            for (place, copy) in places.iter().zip(fetch_together(&together)) {
                fetched[*place] = Some(copy);
            }
        }
        let names = tensors.into_iter().map(|(name, _)| name);
        names.zip(fetched.into_iter().flatten()).collect()
    })
}

/// Tensors of one type, from one device to the processor in a single copy.
fn fetch_together(tensors: &[&Tensor]) -> Vec<Tensor> {
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.detach().reshape([-1])).collect();
    let lengths: Vec<i64> = tensors.iter().map(|tensor| tensor.numel() as i64).collect();
    let all = Tensor::cat(&flat, 0).to_device(Device::Cpu);
    let parts = all.split_with_sizes(&lengths[..], 0).into_iter();
    parts.zip(tensors).map(|(part, tensor)| part.reshape(tensor.size())).collect()
}

/// The tensors with a prefix before their names.
pub fn with_prefix(prefix: &str, tensors: NamedTensors) -> NamedTensors {
    tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

/// The tensors whose names begin with a prefix, by the rest of their names.
pub fn without_prefix(
    prefix: &str,
    tensors: &BTreeMap<String, Tensor>,
) -> BTreeMap<String, Tensor> {
    tensors
        .iter()
        .filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_string(), tensor.shallow_clone()))
        })
        .collect()
}

/// Copies tensors into a network. Errors if names or shapes do not fit, and lists the missing, the
/// superfluous and those of another shape. A missing counter is no error: nothing is computed with
/// it.
pub fn fill(network: &GraphNetwork, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let shapes: Vec<(&str, Vec<usize>)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), sides(tensor))).collect();
    check(network.specs(), &shapes.iter().map(|(name, shape)| (*name, &shape[..])).collect())?;
    let pairs = network
        .parameters()
        .iter()
        .filter_map(|known| Some((&known.tensor, tensors.get(&known.name)?)));
    no_grad(|| pairs.for_each(|(tensor, found)| tensor.shallow_clone().copy_(found)));
    Ok(())
}

fn sides(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|side| *side as usize).collect()
}

/// A tensor's bytes in row-major order.
struct PlainTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl PlainTensor {
    fn new(tensor: &Tensor) -> Result<PlainTensor> {
        let tensor = tensor.to_device(Device::Cpu).contiguous();
        let (dtype, width) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::Int64 => (Dtype::I64, 8),
            other => return Err(Error::failed(format!("weights of kind {other:?} are not kept"))),
        };
        let mut bytes = vec![0u8; tensor.numel() * width];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel()).trouble("weights")?;
        Ok(PlainTensor { dtype, shape: sides(&tensor), bytes })
    }
}

fn tensor(name: &str, view: &TensorView) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        other => {
            return Err(Error::failed(format!(
                "'{name}' has numbers of kind {other:?}, which weights have not"
            )));
        }
    };
    let shape: Vec<i64> = view.shape().iter().map(|side| *side as i64).collect();
    Tensor::f_from_data_size(view.data(), &shape, kind).trouble(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::model::{Network, PerAxis};

    fn small(seed: u64) -> GraphNetwork {
        let network =
            Network { channels: vec![2, 3], strides: vec![PerAxis::All(2)], ..Network::default() };
        GraphNetwork::new(&network.graph(1, 2), seed, Kind::Float, Device::Cpu)
    }

    #[test]
    fn weights_come_back_from_their_file_as_they_were() {
        let (one, other) = (small(1), small(2));
        let bytes = pack(&snapshot(&one)).unwrap();
        fill(&other, &unpack(&bytes).unwrap()).unwrap();
        for ((name, left), (_, right)) in snapshot(&one).iter().zip(snapshot(&other)) {
            assert!(left.equal(&right), "{name}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut tensors = snapshot(&small(1));
            let (name, tensor) =
                tensors.iter_mut().find(|(name, _)| name.ends_with("running_var")).unwrap();
            let name = name.clone();
            let _ = no_grad(|| tensor.get(0).fill_(value));
            let refused = write(&path, &tensors).unwrap_err().to_string();
            assert!(refused.contains(&format!("'{name}' holds numbers")), "{refused}");
            assert!(!path.exists(), "nothing is left behind");
            std::fs::write(&path, pack(&tensors).unwrap()).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains("best.safetensors"), "{refused}");
            assert!(refused.contains(&format!("'{name}' holds numbers")), "{refused}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_missing_and_what_is_left_over_is_listed() {
        let network = small(1);
        let mut tensors: BTreeMap<String, Tensor> = snapshot(&network).into_iter().collect();
        let moved = tensors.remove("model.0.residual.bias").unwrap();
        tensors.insert("head.bias".into(), moved);
        let error = fill(&network, &tensors).unwrap_err().to_string();
        assert_eq!(
            error,
            "the weights do not fit the network; missing: 'model.0.residual.bias'; \
             left over: 'head.bias'"
        );
    }
}

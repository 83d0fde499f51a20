//! Cards reported by NVIDIA's management library (NVML, loaded with `dlopen`).

use super::card::{Card, Gpu};
use nvml_wrapper::{Device, Nvml, error::NvmlError};
use std::ffi::OsString;

/// Overrides the library's path.
const LIBRARY: &str = "VOXFLOW_NVML";

/// All cards in bus order; empty without a driver.
pub(super) fn cards() -> Vec<Card> {
    let library = std::env::var_os(LIBRARY).unwrap_or_else(|| OsString::from("libnvidia-ml.so.1"));
    let nvml = match Nvml::builder().lib_path(&library).init() {
        Ok(nvml) => nvml,
        Err(error) => {
            tracing::debug!("no cards: {}: {error}", library.display());
            return vec![];
        }
    };
    let count = nvml.device_count().unwrap_or(0);
    (0..count)
        .filter_map(|index| card(&nvml, index).inspect_err(|error| left_out(index, error)).ok())
        .collect()
}

fn left_out(index: u32, error: &NvmlError) {
    tracing::warn!("GPU {index}: left out, since the driver does not describe it: {error}");
}

fn card(nvml: &Nvml, index: u32) -> Result<Card, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let has_instances = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    let instances = has_instances.then(|| instances(&device));
    Ok(Card { whole: gpu(&device)?, instances })
}

/// MIG instances on a card; indices may have gaps.
fn instances(device: &Device) -> Vec<Gpu> {
    let most = device.mig_device_count().unwrap_or(0);
    (0..most)
        .filter_map(|index| {
            device.mig_device_by_index(index).and_then(|instance| gpu(&instance)).ok()
        })
        .collect()
}

fn gpu(device: &Device) -> Result<Gpu, NvmlError> {
    Ok(Gpu {
        id: device.uuid()?,
        name: device.name().unwrap_or_default(),
        memory: device.memory_info().map_or(0, |memory| memory.total),
    })
}

//! A training's metrics of memory: after each epoch, and at the end.

use crate::device_memory;
use tch::Device;
use voxflow_stages::Metric;

/// Resident memory of this process now, and the peaks so far.
pub fn now(device: Device) -> Vec<Metric> {
    let now = field("VmRSS:").map(|bytes| measured("memory_bytes", bytes));
    now.into_iter().chain(peaks(device)).collect()
}

/// The peaks of this process so far: resident memory by the kernel, and device memory by libtorch.
pub fn peaks(device: Device) -> Vec<Metric> {
    let own = field("VmHWM:").map(|bytes| measured("peak_memory_bytes", bytes));
    let of_device = device_memory::of(device);
    let of_device =
        of_device.map(|memory| measured("peak_device_memory_bytes", memory.peak as f64));
    own.into_iter().chain(of_device).collect()
}

fn measured(name: &str, bytes: f64) -> Metric {
    Metric { measured: true, ..Metric::new(name, bytes) }
}

/// Bytes of a field of this process's status; `None` if the kernel has no such field.
fn field(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = value.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_now_is_no_more_than_its_peak_and_the_processor_has_none_of_a_device() {
        let rows = now(Device::Cpu);
        let names: Vec<&str> = rows.iter().map(|row| row.metric.as_str()).collect();
        assert_eq!(names, ["memory_bytes", "peak_memory_bytes"]);
        let values: Vec<f64> = rows.iter().filter_map(|row| row.value).collect();
        assert!(values[0] > 1e6 && values[0] <= values[1], "{values:?}");
        assert!(rows.iter().all(|row| row.measured));
    }
}

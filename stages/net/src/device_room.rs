//! Room on a device for volumes, beside the work itself. It is set once for a training, a
//! validation or a prediction, so that where each volume lives depends on sizes alone.

use crate::device_memory;
use crate::torch_flags;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Volumes take 1 part in this of a device's memory; a training step needs the rest.
const SHARE: u64 = 4;

/// Bytes for volumes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceRoom(u64);

impl DeviceRoom {
    /// A share of a device's free memory; of its total memory under deterministic algorithms, so
    /// that another program on the device changes nothing. `None` on the processor, and before a
    /// device's first tensor.
    pub fn of(device: Device) -> Option<DeviceRoom> {
        let memory = device_memory::of(device)?;
        let bytes = if torch_flags::is_deterministic() { memory.total } else { memory.free };
        Some(DeviceRoom(bytes / SHARE))
    }

    /// The room that a resumed training had before, if the device has it still.
    pub fn resumed(self, before: Option<DeviceRoom>) -> DeviceRoom {
        before.filter(|before| *before <= self).unwrap_or(self)
    }

    /// True if it holds so many bytes.
    pub fn holds(self, bytes: u64) -> bool {
        bytes <= self.0
    }

    /// Its bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_training_keeps_its_room_unless_the_device_has_less() {
        let (large, small) = (DeviceRoom(100), DeviceRoom(60));
        assert_eq!(large.resumed(Some(small)), small);
        assert_eq!(small.resumed(Some(large)), small);
        assert_eq!(large.resumed(None), large);
        assert!(small.holds(60) && !small.holds(61));
        assert_eq!(DeviceRoom::of(Device::Cpu), None);
    }
}

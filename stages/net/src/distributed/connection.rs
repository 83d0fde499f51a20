//! Ranks connected to add tensors up.

use super::communicator::Communicator;
use super::nccl::Nccl;
use super::process_group::ProcessGroup;
use super::shared_memory::SharedMemory;
use tch::Device;
use voxflow_stages::Result;

/// Ranks connected to add tensors up, for the life of the process: gradients computed later go
/// through the same connection.
pub struct Connection {
    /// The ranks.
    pub group: &'static ProcessGroup,
    /// The library for sums.
    pub communicator: Box<dyn Communicator>,
}

impl Connection {
    /// Connects a group's ranks, each by its device.
    pub fn open(group: &'static ProcessGroup, device: Device) -> Result<&'static Connection> {
        let communicator: Box<dyn Communicator> = match device {
            Device::Cuda(index) => Box::new(Nccl::connect(group, index)?),
            _ => Box::new(SharedMemory::new(group)),
        };
        let connection: &'static Connection =
            Box::leak(Box::new(Connection { group, communicator }));
        group.on_abort(move || connection.communicator.abort());
        Ok(connection)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "Connection({} of {})", self.group.rank(), self.group.ranks())
    }
}

//! A group of ranks that can add tensors up.

use super::communicator::Communicator;
use super::nccl::Nccl;
use super::process_group::ProcessGroup;
use super::shared_memory::SharedMemory;
use tch::Device;
use voxflow_stages::Result;

/// A group whose ranks can add tensors up. It lives as long as the process, since gradients that
/// are computed later go through it.
pub struct Connection {
    /// The ranks.
    pub group: &'static ProcessGroup,
    /// What adds tensors up.
    pub communicator: Box<dyn Communicator>,
}

impl Connection {
    /// Connects all ranks of a group, this one by its device.
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

//! The ranks as a training sees them, also a training in a single process.

use super::connection::Connection;
use super::process_group::ProcessGroup;
use crate::foreach;
use crate::weights::{self, NamedTensors};
use tch::{Device, Tensor, no_grad};
use voxflow_cache::Digest;
use voxflow_stages::{Error, Result};

/// This process among a training's ranks.
#[derive(Clone, Copy, Debug)]
pub struct Ranks(Option<&'static Connection>);

impl Ranks {
    /// A training in a single process.
    pub fn alone() -> Ranks {
        Ranks(None)
    }

    /// Connects a group's ranks, each by its device; without a group the process is alone.
    pub fn connect(group: Option<&'static ProcessGroup>, device: Device) -> Result<Ranks> {
        group.map_or(Ok(Ranks::alone()), |group| Ok(Ranks(Some(Connection::open(group, device)?))))
    }

    /// The connection to the others, if any.
    pub fn connection(&self) -> Option<&'static Connection> {
        self.0
    }

    /// This process's rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.map_or(0, |connection| connection.group.rank())
    }

    /// Number of ranks.
    pub fn count(&self) -> usize {
        self.0.map_or(1, |connection| connection.group.ranks())
    }

    /// True for rank 0, the writer of files.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Name and version of the library for sums; empty in a single process.
    pub fn backend(&self) -> String {
        self.0.map_or(String::new(), |connection| connection.communicator.backend())
    }

    /// The largest word over all ranks.
    pub fn max(&self, word: u64) -> Result<u64> {
        self.0.map_or(Ok(word), |connection| connection.group.max(word))
    }

    /// Every rank's bytes, in rank order.
    pub fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        match self.0 {
            None => Ok(vec![bytes]),
            Some(connection) => connection.group.gather(&bytes),
        }
    }

    /// Replaces tensors, all Float or all Double, by rank 0's.
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<()> {
        let (Some(connection), Some(first)) = (self.0, tensors.first()) else { return Ok(()) };
        let mut all = no_grad(|| {
            let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.reshape([-1])).collect();
            Tensor::cat(&flat, 0)
        });
        assert_eq!(all.kind(), first.kind(), "tensors of one kind");
        connection.communicator.broadcast(&mut all)?;
        let mut place = 0;
        let parts = tensors.iter().map(|tensor| {
            let length = tensor.numel() as i64;
            place += length;
            all.narrow(0, place - length, length).view_as(tensor)
        });
        foreach::copy(tensors, &parts.collect::<Vec<_>>());
        Ok(())
    }

    /// Errors unless all ranks have the same tensors, bit by bit, as they should after `step`
    /// steps.
    pub fn check_equal(&self, step: u64, tensors: &NamedTensors) -> Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let digest = Digest::of(&weights::pack(tensors)?).to_hex();
        let digests = self.gather(digest.into_bytes())?;
        match digests.iter().position(|other| *other != digests[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::failed(format!(
                "training: after step {step} the weights of rank {rank} differ from those of rank \
                 0, so nothing is kept of them; run again to go on from the last checkpoint, and \
                 look at the machine's memory or use fewer ranks if it happens again"
            ))),
        }
    }
}

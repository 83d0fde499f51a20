//! The architectures: a network's name leads to the function that returns its graph. A new one is a
//! file like `unet` and a row here.

use super::graph::Graph;
use super::network::NetworkName;
use super::{Network, unet};

impl Network {
    /// The graph for `inputs` channels and `outputs` classes. The parameters must pass
    /// [`Network::check`].
    pub fn graph(&self, inputs: usize, outputs: usize) -> Graph {
        match self.name {
            NetworkName::Unet => unet::graph(self, inputs, outputs),
        }
    }
}

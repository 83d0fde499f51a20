//! The contract for an architecture; `networks` lists all.

use super::graph::Graph;
use super::{Mistake, Network, Norm};

/// An architecture.
pub trait Architecture: Sync {
    /// The parameters it reads, in stored order.
    fn keys(&self) -> &'static [&'static str];

    /// Mistakes in its parameters: the key of each, and the trouble.
    fn check(&self, network: &Network) -> Vec<Mistake>;

    /// The kind of its norms.
    fn norm(&self, network: &Network) -> Norm;

    /// The graph for `inputs` channels and `outputs` classes, from checked parameters.
    fn graph(&self, network: &Network, inputs: usize, outputs: usize) -> Graph;
}

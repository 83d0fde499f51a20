//! The contract of an architecture; `networks` lists all of them.

use super::graph::Graph;
use super::{Mistake, Network, Norm};

/// An architecture.
pub trait Architecture: Sync {
    /// The parameters that it reads, in the order in which models store them.
    fn keys(&self) -> &'static [&'static str];

    /// Mistakes in its parameters: the key of each, and the trouble.
    fn check(&self, network: &Network) -> Vec<Mistake>;

    /// The kind of its norms.
    fn norm(&self, network: &Network) -> Norm;

    /// The graph for `inputs` channels and `outputs` classes, of parameters that pass the check.
    fn graph(&self, network: &Network, inputs: usize, outputs: usize) -> Graph;
}

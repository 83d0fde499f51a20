//! A network with its own precision of inference: those of an ensemble may differ.

use crate::amp::{compute_kind, in_precision};
use crate::network::{GraphNetwork, Pass};
use tch::Tensor;
use voxflow_stages::model::Precision;

/// A network, and the numbers that it infers in.
#[derive(Clone, Copy, Debug)]
pub struct InferenceNetwork<'a> {
    /// The network.
    pub network: &'a GraphNetwork,
    /// The numbers that its convolutions compute in.
    pub precision: Precision,
}

impl InferenceNetwork<'_> {
    /// Logits of images (N, C, X, Y, Z), in these numbers.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        let pass = Pass::inference(compute_kind(self.precision));
        in_precision(self.precision, || self.network.logits(images, pass))
    }
}

//! The network of a plan.

use super::Preset;
use serde::{Deserialize, Serialize};

/// Features of the first stage; each further has twice as many.
const BASE_FEATURES: usize = 32;
/// The most features.
const MAX_FEATURES: usize = 320;

/// A U-Net's stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// True for residual blocks in the encoder.
    pub is_residual: bool,
    /// Features of each encoder stage.
    pub features_per_stage: Vec<usize>,
    /// Kernels of each encoder stage.
    pub kernel_sizes: Vec<[usize; 3]>,
    /// Strides of each encoder stage.
    pub strides: Vec<[usize; 3]>,
    /// Convolutions (plain) or blocks (residual) of each encoder stage.
    pub encoder: Vec<usize>,
    /// Convolutions of each decoder stage, the coarsest first.
    pub decoder: Vec<usize>,
}

impl Architecture {
    /// A preset's network with these strides and kernels.
    pub fn new(preset: Preset, strides: Vec<[usize; 3]>, kernel_sizes: Vec<[usize; 3]>) -> Self {
        let stages = strides.len();
        let features = (0..stages).map(|stage| MAX_FEATURES.min(BASE_FEATURES << stage.min(8)));
        Architecture {
            is_residual: preset.is_residual(),
            features_per_stage: features.collect(),
            kernel_sizes,
            strides,
            encoder: preset.encoder_blocks(stages),
            decoder: preset.decoder_convolutions(stages),
        }
    }

    /// Convolutions of each decoder stage, the finest first.
    pub fn decoder_in_order(&self) -> Vec<usize> {
        self.decoder.iter().rev().copied().collect()
    }
}

//! Normalisation schemes by channel name.

use serde::{Deserialize, Serialize};

/// Normalisation of a channel, named as nnU-Net's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormalizationScheme {
    /// Clip to the foreground's percentiles 0.5 and 99.5; subtract its mean, divide by its
    /// deviation.
    CTNormalization,
    /// Values as they are.
    NoNormalization,
    /// Mean 0 and deviation 1 in each case.
    ZScoreNormalization,
    /// The smallest value becomes 0, the largest 1.
    RescaleTo01Normalization,
    /// 255 becomes 1.
    RGBTo01Normalization,
}

impl NormalizationScheme {
    /// By a channel's name in any case; a z-score for names that mean nothing.
    pub fn of(channel_name: &str) -> NormalizationScheme {
        match channel_name.to_lowercase().as_str() {
            "ct" => NormalizationScheme::CTNormalization,
            "nonorm" => NormalizationScheme::NoNormalization,
            "rescale_to_0_1" => NormalizationScheme::RescaleTo01Normalization,
            "rgb_to_0_1" => NormalizationScheme::RGBTo01Normalization,
            _ => NormalizationScheme::ZScoreNormalization,
        }
    }

    /// True if voxels outside of a non-zero mask can stay 0.
    pub fn keeps_zero_outside_mask(self) -> bool {
        self == NormalizationScheme::ZScoreNormalization
    }
}

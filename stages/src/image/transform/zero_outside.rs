//! `zero_outside`: the image is 0 again outside its non-zero region, as nnU-Net's
//! `MaskImageTransform` makes it after all other transforms.

use super::canvas::Canvas;
use super::change::{Change, Effect, ParamMistakes, RandomTransform};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Zeroes channels outside the non-zero region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroOutside {
    /// The channels, from 0; null for all.
    #[serde(default)]
    pub channels: Option<Vec<usize>>,
}

impl RandomTransform for ZeroOutside {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        match &self.channels {
            Some(channels) if channels.is_empty() => {
                vec![("channels".into(), "names none; null is for all channels".into())]
            }
            _ => vec![],
        }
    }

    fn draw(&self, _draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        Some(Box::new(ZeroedOutside(self.channels.clone())))
    }
}

/// The channels that are zeroed.
#[derive(Clone, Debug)]
pub struct ZeroedOutside(pub Option<Vec<usize>>);

impl Change for ZeroedOutside {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        for channel in 0..canvas.channels() {
            if self.0.as_ref().is_none_or(|channels| channels.contains(&channel)) {
                canvas.zero_outside(channel);
            }
        }
        canvas.forget_outside();
    }
}

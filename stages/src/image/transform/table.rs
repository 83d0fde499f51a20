//! The table of transforms, a row each; a mapping is applied in the table's order.

use super::affine::Affine;
use super::blur::Blur;
use super::brightness::Brightness;
use super::change::RandomTransform;
use super::contrast::Contrast;
use super::flip::Flip;
use super::gamma::Gamma;
use super::gamma_retain_stats::GammaRetainStats;
use super::intensity_scale::IntensityScale;
use super::intensity_shift::IntensityShift;
use super::low_resolution::LowResolution;
use super::noise::Noise;
use super::rotate90::Rotate90;
use super::spatial::Spatial;
use super::zero_outside::ZeroOutside;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes of rows (doc, name, parameters) the types that workflows are read into.
macro_rules! transforms {
    ($($(#[$doc:meta])* $name:ident: $parameters:ident,)*) => {
        /// One transform of a list, by its name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "name", rename_all = "snake_case")]
        pub enum Transform {
            $($(#[$doc])* $parameters($parameters),)*
        }

        /// Transforms that are applied in this order: spatial, flip, rotate90, affine, noise, blur,
        /// brightness, contrast, low_resolution, gamma, gamma_retain_stats, intensity_scale,
        /// intensity_shift, zero_outside. The absent ones are not done.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct InOrder {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $name: Option<$parameters>,)*
        }

        /// The names in the table's order.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Transform {
            /// Its name in a workflow.
            pub fn name(&self) -> &'static str {
                match self { $(Transform::$parameters(_) => stringify!($name),)* }
            }

            /// Its parameters.
            pub fn parameters(&self) -> &dyn RandomTransform {
                match self { $(Transform::$parameters(parameters) => parameters,)* }
            }
        }

        impl InOrder {
            /// The transforms in order.
            pub fn list(&self) -> Vec<Transform> {
                let mut list = vec![];
                $(list.extend(self.$name.clone().map(Transform::$parameters));)*
                list
            }

            fn set(&mut self, transform: Transform) {
                match transform {
                    $(Transform::$parameters(parameters) => self.$name = Some(parameters),)*
                }
            }
        }
    };
}

transforms! {
    /// Rotate and scale about the centre, reading from a larger patch: nnU-Net's spatial transform.
    spatial: Spatial,
    /// Mirror along axes, each by itself.
    flip: Flip,
    /// Turn by 90, 180 or 270 degrees in a plane.
    rotate90: Rotate90,
    /// Rotate, scale and shift about the patch's centre: trilinear for the image, nearest for the
    /// label; outside the patch the border's values go on.
    affine: Affine,
    /// Add normally distributed noise to every value.
    noise: Noise,
    /// Blur channels by a Gaussian.
    blur: Blur,
    /// Multiply each channel by a number of its own.
    brightness: Brightness,
    /// Stretch each channel about its mean, within its range.
    contrast: Contrast,
    /// Show channels as if seen at a lower resolution.
    low_resolution: LowResolution,
    /// Raise the image, scaled to 0…1 by its range in the patch, to a power.
    gamma: Gamma,
    /// Raise each channel, scaled to 0…1 by its range, to a power; keep its mean and spread.
    gamma_retain_stats: GammaRetainStats,
    /// Multiply all values by one number.
    intensity_scale: IntensityScale,
    /// Add one number to all values.
    intensity_shift: IntensityShift,
    /// Set the image to 0 outside its non-zero region; needs 'mark_outside' of 'preprocess'. The
    /// last of nnU-Net's transforms.
    zero_outside: ZeroOutside,
}

impl InOrder {
    /// The mapping equal to a list; `None` if the list has another order, or a transform twice.
    pub fn of(list: &[Transform]) -> Option<InOrder> {
        let rows: Vec<Option<usize>> = list
            .iter()
            .map(|transform| NAMES.iter().position(|name| *name == transform.name()))
            .collect();
        if rows.windows(2).any(|pair| pair[0] >= pair[1]) {
            return None;
        }
        let mut mapping = InOrder::default();
        list.iter().cloned().for_each(|transform| mapping.set(transform));
        Some(mapping)
    }
}

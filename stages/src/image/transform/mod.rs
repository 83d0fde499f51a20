//! Random transforms of training patches: a file per transform (parameters, draw, change) and a row
//! in `table`.
//!
//! `change` is their contract; `canvas` has the operations they use, offered by a patch in memory
//! and by a patch on a device.

mod affine;
mod blur;
mod brightness;
mod canvas;
mod change;
mod contrast;
mod flip;
mod gamma;
mod gamma_retain_stats;
mod intensity_scale;
mod intensity_shift;
mod low_resolution;
mod noise;
mod rotate90;
mod spatial;
mod table;
mod zero_outside;

pub use affine::Affine;
pub use canvas::{Canvas, MemoryCanvas};
pub use change::{Change, Changes, Effect, ParamMistakes, RandomTransform};
pub use flip::{Flip, Mirrored};
pub use gamma::{Gamma, Raised};
pub use intensity_scale::{IntensityScale, ScaledIntensity};
pub use intensity_shift::{IntensityShift, Shifted};
pub use noise::Noise;
pub use rotate90::{Rotate90, Turned};
pub use table::{InOrder, Transform};
pub use zero_outside::{ZeroOutside, ZeroedOutside};

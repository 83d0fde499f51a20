//! NIfTI-1 files: reading scanners' and people's files with care, writing our own, and mapping
//! those.
//!
//! `header` says what a file holds and where it lies; `load` unpacks it, `read` decodes voxels;
//! `write` makes plain files whose bytes repeat; `mapped` opens our own without copying. Whether a
//! file is compressed is seen from its first bytes, never from its name, since stored blobs have no
//! telling names.

mod header;
mod load;
mod mapped;
mod placement;
mod read;
mod write;

pub use header::{Datatype, Header, read_header};
pub use load::Desk;
pub use mapped::Mapped;
pub use read::{Loaded, Voxels, load_image, load_label, read_image, read_label};
pub use write::{write_label, write_volume_f32};

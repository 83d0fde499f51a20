//! NIfTI files: reading scanners' and people's files with care, writing our own, and mapping
//! those.
//!
//! `suffix` knows the names of image files, `file` which files one image has; `fields` splits a
//! header of version 1 or 2, `header` says what a file holds and `placement` where it lies; `load`
//! unpacks it, `read` decodes voxels, `label` the values of label maps; `write` makes plain files
//! whose bytes repeat; `mapped` opens our own without copying. Whether a file is compressed is seen
//! from its first bytes, never from its name, since stored blobs have no telling names.

mod fields;
mod file;
mod header;
mod label;
mod load;
mod mapped;
mod placement;
mod read;
pub mod suffix;
mod write;

pub use file::ImageFile;
pub use header::{Datatype, Header, read_header};
pub use label::{LabelMap, LabelMapping, LabelValues, counts, load_label, read_label};
pub use load::Scratch;
pub use mapped::Mapped;
pub use placement::{Qform, Space};
pub use read::{Loaded, Voxels, load_image, read_image};
pub(crate) use write::put;
pub use write::{write_label, write_label_in, write_volume_f32, write_volume_f32_in};

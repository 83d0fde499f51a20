//! Voxels of NIfTI files as numbers: images as float32.

use super::ImageFile;
use super::header::{Datatype, Header};
use super::load::{Scratch, load};
use crate::error::{Error, Result};
use crate::image::Volume;
use std::borrow::Cow;
use voxflow_cache::Digest;

/// An image's voxels, channels slowest: as they are stored where they mean themselves and are of
/// the common types, otherwise as float32.
#[derive(Debug)]
pub enum Voxels<'a> {
    /// uint8.
    Bytes(&'a [u8]),
    /// int16.
    Shorts(&'a [i16]),
    /// float32, or numbers converted to float32.
    Floats(Cow<'a, [f32]>),
}

/// An image file on a desk.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// The header.
    pub header: Header,
    /// Its voxels.
    pub voxels: Voxels<'a>,
    bytes: &'a [u8],
}

impl Loaded<'_> {
    /// The image in memory of its own.
    pub fn volume(self) -> Volume<f32> {
        let Header { channels, shape, affine, .. } = self.header;
        let data = match self.voxels {
            Voxels::Bytes(bytes) => bytes.iter().copied().map(f32::from).collect(),
            Voxels::Shorts(shorts) => shorts.iter().copied().map(f32::from).collect(),
            Voxels::Floats(floats) => floats.into_owned(),
        };
        Volume { channels, shape, data, affine }
    }

    /// The digest of the voxels as they are stored, least significant byte first.
    pub fn digest(&self) -> Digest {
        match (self.header.big_endian, self.header.datatype.bytes()) {
            (false, _) | (_, 1) => Digest::of(self.bytes),
            (true, width) => {
                let mut turned = self.bytes.to_vec();
                turned.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                Digest::of(&turned)
            }
        }
    }
}

/// Reads an image, 3D or 4D with channels last: stored · slope + intercept, in float64 and then
/// rounded to float32. Voxels that are not finite are an error. Errors call the file `name`.
pub fn read_image(file: impl Into<ImageFile>, name: &str) -> Result<Volume<f32>> {
    Ok(load_image(&file.into(), name, &mut Scratch::default())?.volume())
}

/// The same without converting what need not be converted, on a desk.
pub fn load_image<'a>(
    file: &ImageFile,
    name: &str,
    scratch: &'a mut Scratch,
) -> Result<Loaded<'a>> {
    let (header, bytes) = load(file, name, scratch)?;
    let voxels = image_voxels(&header, bytes);
    if let Voxels::Floats(floats) = &voxels {
        let bad = floats.iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            return Err(Error::failed(format!(
                "{name}: {bad} of {} voxels are NaN or infinite; repair the file",
                floats.len()
            )));
        }
    }
    Ok(Loaded { header, voxels, bytes })
}

/// All stored numbers, of `$type`, each through `$convert`.
macro_rules! decoded {
    ($type:ty, $header:expr, $bytes:expr, $convert:expr) => {{
        let (chunks, _) = $bytes.as_chunks::<{ size_of::<$type>() }>();
        if $header.big_endian {
            chunks.iter().map(|bytes| <$type>::from_be_bytes(*bytes)).map($convert).collect()
        } else {
            chunks.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).map($convert).collect()
        }
    }};
}

pub(super) use decoded;

/// The same for the type that the header names.
macro_rules! for_each_type {
    ($macro:ident, $header:expr, $bytes:expr) => {
        match $header.datatype {
            Datatype::U8 => $macro!(u8, $header, $bytes),
            Datatype::I8 => $macro!(i8, $header, $bytes),
            Datatype::U16 => $macro!(u16, $header, $bytes),
            Datatype::I16 => $macro!(i16, $header, $bytes),
            Datatype::U32 => $macro!(u32, $header, $bytes),
            Datatype::I32 => $macro!(i32, $header, $bytes),
            Datatype::U64 => $macro!(u64, $header, $bytes),
            Datatype::I64 => $macro!(i64, $header, $bytes),
            Datatype::F32 => $macro!(f32, $header, $bytes),
            Datatype::F64 => $macro!(f64, $header, $bytes),
        }
    };
}

pub(super) use for_each_type;

fn image_voxels<'a>(header: &Header, bytes: &'a [u8]) -> Voxels<'a> {
    if header.is_unscaled() && header.big_endian == cfg!(target_endian = "big") {
        let as_stored = match header.datatype {
            Datatype::U8 => Some(Voxels::Bytes(bytes)),
            Datatype::I16 => bytemuck::try_cast_slice(bytes).map(Voxels::Shorts).ok(),
            Datatype::F32 => bytemuck::try_cast_slice(bytes)
                .map(|floats| Voxels::Floats(Cow::Borrowed(floats)))
                .ok(),
            _ => None,
        };
        if let Some(voxels) = as_stored {
            return voxels;
        }
    }
    Voxels::Floats(Cow::Owned(converted(header, bytes)))
}

fn converted(header: &Header, bytes: &[u8]) -> Vec<f32> {
    let (slope, intercept) = (header.slope, header.intercept);
    macro_rules! image {
        ($type:ty, $header:expr, $bytes:expr) => {
            if header.is_unscaled() {
                decoded!($type, $header, $bytes, |n| n as f32)
            } else {
                decoded!($type, $header, $bytes, |n| (n as f64 * slope + intercept) as f32)
            }
        };
    }
    for_each_type!(image, header, bytes)
}

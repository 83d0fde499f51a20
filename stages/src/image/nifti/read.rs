//! Voxels of NIfTI files as numbers: images as float32, labels as bytes.

use super::header::{Datatype, Header};
use super::load::{Desk, load};
use crate::error::{Error, Result};
use crate::image::Volume;
use std::borrow::Cow;
use std::path::Path;
use voxflow_cache::Digest;

/// How far a label may lie from an integer: a slope may have rounded it.
const LABEL_ROUNDING: f64 = 1e-4;

/// An image's voxels, channels slowest: as they are stored where they mean themselves and are of
/// the common types, otherwise as float32.
#[derive(Debug)]
pub enum Voxels<'a> {
    /// uint8.
    Bytes(&'a [u8]),
    /// int16.
    Shorts(&'a [i16]),
    /// float32, or what was converted to it.
    Floats(Cow<'a, [f32]>),
}

/// An image file on a desk.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// What the file says of itself.
    pub header: Header,
    /// Its voxels.
    pub voxels: Voxels<'a>,
    bytes: &'a [u8],
}

impl Loaded<'_> {
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
pub fn read_image(path: &Path, name: &str) -> Result<Volume<f32>> {
    let mut desk = Desk::default();
    let Loaded { header, voxels, .. } = load_image(path, name, &mut desk)?;
    let data = match voxels {
        Voxels::Bytes(bytes) => bytes.iter().copied().map(f32::from).collect(),
        Voxels::Shorts(shorts) => shorts.iter().copied().map(f32::from).collect(),
        Voxels::Floats(floats) => floats.into_owned(),
    };
    Ok(Volume { channels: header.channels, shape: header.shape, data, affine: header.affine })
}

/// The same without converting what need not be converted, on a desk.
pub fn load_image<'a>(path: &Path, name: &str, desk: &'a mut Desk) -> Result<Loaded<'a>> {
    let (header, bytes) = load(path, name, desk)?;
    let voxels = image_voxels(&header, bytes);
    if let Voxels::Floats(floats) = &voxels {
        let bad = floats.iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            return Err(Error::failed(format!(
                "{name}: {bad} of {} voxels are NaN or infinite; repair it or leave the case out ('exclude' of 'split')",
                floats.len()
            )));
        }
    }
    Ok(Loaded { header, voxels, bytes })
}

/// Reads a label map, 3D. Its values must be integers, and 0 or one of `allowed`. Errors call the
/// file `name`.
pub fn read_label(path: &Path, name: &str, allowed: &[u8]) -> Result<Volume<u8>> {
    let mut desk = Desk::default();
    let (header, data) = load_label(path, name, allowed, &mut desk)?;
    Ok(Volume { channels: 1, shape: header.shape, data: data.into_owned(), affine: header.affine })
}

/// The same without copying what need not be converted, on a desk.
pub fn load_label<'a>(
    path: &Path,
    name: &str,
    allowed: &[u8],
    desk: &'a mut Desk,
) -> Result<(Header, Cow<'a, [u8]>)> {
    let (header, bytes) = load(path, name, desk)?;
    if header.channels != 1 {
        return Err(Error::failed(format!(
            "{name}: has {} channels; a label map has one",
            header.channels
        )));
    }
    let data = label_voxels(&header, bytes)
        .map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    check_labels(&data, allowed).map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    Ok((header, data))
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

fn label_voxels<'a>(header: &Header, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    if header.datatype == Datatype::U8 && header.is_unscaled() {
        return Ok(Cow::Borrowed(bytes));
    }
    let (slope, intercept) = (header.slope, header.intercept);
    let mut bad = (0usize, 0.0);
    let mut label = |value: f64| {
        let whole = value.round_ties_even();
        if (value - whole).abs() <= LABEL_ROUNDING && (0.0..=255.0).contains(&whole) {
            return whole as u8;
        }
        bad = (bad.0 + 1, if bad.0 == 0 { value } else { bad.1 });
        0
    };
    macro_rules! labels {
        ($type:ty, $header:expr, $bytes:expr) => {
            decoded!($type, $header, $bytes, |n| label(n as f64 * slope + intercept))
        };
    }
    let labels: Vec<u8> = for_each_type!(labels, header, bytes);
    match bad {
        (0, _) => Ok(Cow::Owned(labels)),
        (count, first) => Err(format!(
            "{count} voxels are no labels (the first is {first}); labels are whole numbers from 0 to 255"
        )),
    }
}

fn check_labels(labels: &[u8], allowed: &[u8]) -> Result<(), String> {
    let mut counts = [0usize; 256];
    // Most of a label map is background, which is passed over many voxels at a time.
    for some in labels.chunks(64).filter(|some| some.iter().fold(0, |all, label| all | label) != 0)
    {
        some.iter().for_each(|&label| counts[usize::from(label)] += 1);
    }
    let foreign: Vec<String> = (1..=255u8)
        .filter(|label| counts[usize::from(*label)] > 0 && !allowed.contains(label))
        .map(|label| format!("{label} ({} voxels)", counts[usize::from(label)]))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let declared: Vec<String> = allowed.iter().map(u8::to_string).collect();
    Err(format!(
        "holds the labels {}, which the dataset does not declare (it declares {}); correct the file or 'dataset.json'",
        foreign.join(", "),
        declared.join(", ")
    ))
}

//! Voxels of NIfTI files as numbers: images as float32, labels as bytes.

use super::header::{Datatype, Header, Source, open};
use crate::error::{Error, Result, Trouble};
use crate::image::Volume;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How far a label may lie from an integer: a slope may have rounded it.
const LABEL_ROUNDING: f64 = 1e-4;

/// Reads an image, 3D or 4D with channels last: stored · slope + intercept, in float64 and then
/// rounded to float32. Voxels that are not finite are an error. Errors call the file `name`.
pub fn read_image(path: &Path, name: &str) -> Result<Volume<f32>> {
    let (header, bytes) = load(path, name)?;
    let data = image_voxels(&header, &bytes);
    let bad = data.iter().filter(|value| !value.is_finite()).count();
    if bad > 0 {
        return Err(Error::failed(format!(
            "{name}: {bad} of {} voxels are NaN or infinite; repair it or leave the case out ('exclude' of 'split')",
            data.len()
        )));
    }
    Ok(Volume { channels: header.channels, shape: header.shape, data, affine: header.affine })
}

/// Reads a label map, 3D. Its values must be integers, and 0 or one of `allowed`. Errors call the
/// file `name`.
pub fn read_label(path: &Path, name: &str, allowed: &[u8]) -> Result<Volume<u8>> {
    let (header, bytes) = load(path, name)?;
    if header.channels != 1 {
        return Err(Error::failed(format!("{name}: has {} channels; a label map has one", header.channels)));
    }
    let data = label_voxels(&header, bytes).map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    check_labels(&data, allowed).map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    Ok(Volume { channels: 1, shape: header.shape, data, affine: header.affine })
}

/// The header, and the bytes of the voxels alone. No more is ever decompressed than the header promises.
fn load(path: &Path, name: &str) -> Result<(Header, Vec<u8>)> {
    let source = open(path, name)?;
    let bytes = if source.compressed { inflate(path, name, &source)? } else { plain(path, name, &source)? };
    Ok((source.header, bytes))
}

fn plain(path: &Path, name: &str, source: &Source) -> Result<Vec<u8>> {
    let header = &source.header;
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::Start(header.offset as u64)).map_err(Error::io("read", path))?;
    let mut voxels = buffer(header.file_bytes() - header.offset, name)?;
    file.read_exact(&mut voxels).map_err(Error::io("read", path))?;
    Ok(voxels)
}

/// One gzip member of just the promised size goes through libdeflate at once; whatever is else
/// (several members, bytes after the voxels, damage) goes through a stream that tells what is wrong.
fn inflate(path: &Path, name: &str, source: &Source) -> Result<Vec<u8>> {
    let header = &source.header;
    let packed = std::fs::read(path).map_err(Error::io("read", path))?;
    if packed.len() as u64 != source.bytes {
        return Err(Error::failed(format!("{name}: changed while it was read; try again")));
    }
    let mut whole = buffer(header.file_bytes(), name)?;
    let inflated = libdeflater::Decompressor::new().gzip_decompress(&packed, &mut whole);
    if inflated != Ok(whole.len()) {
        let mut stream = MultiGzDecoder::new(BufReader::new(packed.as_slice()));
        stream.read_exact(&mut whole).trouble(format!("{name}: its gzip stream is damaged or cut short"))?;
        // One byte more makes the decoder compare the checksum where the stream ends here.
        stream.read(&mut [0]).trouble(format!("{name}: its gzip stream is damaged"))?;
    }
    whole.drain(..header.offset);
    Ok(whole)
}

fn buffer(bytes: usize, name: &str) -> Result<Vec<u8>> {
    let mut buffer = vec![];
    buffer.try_reserve_exact(bytes).trouble(format!("{name}: no memory for {bytes} bytes"))?;
    buffer.resize(bytes, 0);
    Ok(buffer)
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

fn image_voxels(header: &Header, bytes: &[u8]) -> Vec<f32> {
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

fn label_voxels(header: &Header, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if header.datatype == Datatype::U8 && header.is_unscaled() {
        return Ok(bytes);
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
    let labels = for_each_type!(labels, header, bytes);
    match bad {
        (0, _) => Ok(labels),
        (count, first) => {
            Err(format!("{count} voxels are no labels (the first is {first}); labels are whole numbers from 0 to 255"))
        }
    }
}

fn check_labels(labels: &[u8], allowed: &[u8]) -> Result<(), String> {
    let mut counts = [0usize; 256];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
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

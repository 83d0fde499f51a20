//! Writing NIfTI-1: single files, little-endian, reproducible bytes.
//!
//! Our own volumes have an aligned sform. Results on a person's grid repeat that header's codes,
//! units and qform, so that every reader places both alike.

use super::fields::HEADER_BYTES;
use super::header::FLAG_BYTES;
use super::placement::{Qform, Space};
use crate::error::{Error, Result, Trouble};
use crate::image::affine::{Matrix3, axes, nearest_rotation, spacing_mm};
use crate::image::{Affine, Volume};
use std::borrow::Cow;
use std::path::Path;
use voxflow_cache::disk::FileWriter;

/// Writes an image as float32, compressed if `gz`. More than one channel makes a 4D file.
pub fn write_volume_f32(path: &Path, volume: &Volume<f32>, gz: bool) -> Result<()> {
    write(path, &header(volume, 16, 32, None)?, &little_endian(&volume.data), gz)
}

/// Writes a label map as uint8, compressed if `gz`.
pub fn write_label(path: &Path, volume: &Volume<u8>, gz: bool) -> Result<()> {
    write(path, &header(volume, 2, 8, None)?, &volume.data, gz)
}

/// [`write_volume_f32`] with its image's codes, units and qform.
pub fn write_volume_f32_in(
    path: &Path,
    volume: &Volume<f32>,
    space: Option<&Space>,
    gz: bool,
) -> Result<()> {
    write(path, &header(volume, 16, 32, space)?, &little_endian(&volume.data), gz)
}

/// [`write_label`] with its image's codes, units and qform.
pub fn write_label_in(
    path: &Path,
    volume: &Volume<u8>,
    space: Option<&Space>,
    gz: bool,
) -> Result<()> {
    write(path, &header(volume, 2, 8, space)?, &volume.data, gz)
}

fn little_endian(numbers: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytemuck::cast_slice(numbers));
    }
    Cow::Owned(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

fn write(path: &Path, header: &[u8], voxels: &[u8], gz: bool) -> Result<()> {
    let mut file = FileWriter::create(path)?;
    let packed = gz.then(|| compress(&[header, voxels].concat(), path)).transpose()?;
    let parts = match &packed {
        Some(packed) => [packed.as_slice(), &[]],
        None => [header, voxels],
    };
    Ok(parts.iter().try_for_each(|part| file.write_bytes(part))?)
}

/// A single gzip member without name or time: equal voxels are equal bytes.
fn compress(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut packed).trouble_at(path)?;
    packed.truncate(length);
    Ok(packed)
}

/// Writes a number's bytes into a header.
pub(crate) fn put(header: &mut [u8], at: usize, number: &[u8]) {
    header[at..at + number.len()].copy_from_slice(number);
}

/// Writes numbers one after the other.
fn put_each<const N: usize>(
    header: &mut [u8],
    at: usize,
    numbers: impl IntoIterator<Item = [u8; N]>,
) {
    for (index, number) in numbers.into_iter().enumerate() {
        put(header, at + N * index, &number);
    }
}

/// Bytes before the first voxel.
const FIRST_VOXEL: usize = HEADER_BYTES[0] + FLAG_BYTES;

/// The first 352 bytes. Without `space`, as nibabel writes an affine: sform code 2, an agreeing
/// qform with code 0, and millimetres.
fn header<T>(
    volume: &Volume<T>,
    datatype: i16,
    bits: i16,
    space: Option<&Space>,
) -> Result<[u8; FIRST_VOXEL]> {
    let own = Space { sform_code: 2, qform_code: 0, units: 2, qform: None };
    let space = space.unwrap_or(&own);
    let qform = space.qform.clone().unwrap_or_else(|| qform_of(&volume.affine));
    let mut bytes = [0u8; FIRST_VOXEL];
    put(&mut bytes, 0, &(HEADER_BYTES[0] as i32).to_le_bytes());
    put(&mut bytes, 38, b"r");
    put_each(&mut bytes, 40, dimensions(volume)?.map(i16::to_le_bytes));
    put(&mut bytes, 70, &datatype.to_le_bytes());
    put(&mut bytes, 72, &bits.to_le_bytes());
    let [x, y, z] = spacing_mm(&volume.affine).map(|size| size as f32);
    put_each(&mut bytes, 76, [qform.qfac, x, y, z, 1.0, 1.0, 1.0, 1.0].map(f32::to_le_bytes));
    put(&mut bytes, 108, &(FIRST_VOXEL as f32).to_le_bytes());
    put(&mut bytes, 112, &1f32.to_le_bytes());
    put(&mut bytes, 123, &[space.units]);
    put(&mut bytes, 252, &space.qform_code.to_le_bytes());
    put(&mut bytes, 254, &space.sform_code.to_le_bytes());
    let qform = qform.quaternion.iter().chain(&qform.offset);
    put_each(&mut bytes, 256, qform.map(|number| number.to_le_bytes()));
    let sform = volume.affine[..3].iter().flatten();
    put_each(&mut bytes, 280, sform.map(|number| (*number as f32).to_le_bytes()));
    put(&mut bytes, 344, b"n+1\0");
    Ok(bytes)
}

/// `dim`: how many axes, then their lengths.
fn dimensions<T>(volume: &Volume<T>) -> Result<[i16; 8]> {
    let axes = if volume.channels > 1 { 4 } else { 3 };
    let [x, y, z] = volume.shape;
    let mut dim = [axes, 1, 1, 1, 1, 1, 1, 1];
    for (slot, length) in dim[1..5].iter_mut().zip([x, y, z, volume.channels]) {
        *slot = i16::try_from(length).map_err(|_| {
            Error::failed(format!(
                "a volume of {x}×{y}×{z} voxels is too large for NIfTI-1; use a larger spacing"
            ))
        })?;
    }
    Ok(dim)
}

/// The qform nearest to an affine: the rotation nearest to its axes.
fn qform_of(affine: &Affine) -> Qform {
    let (qfac, quaternion) = quaternion(affine);
    let offset = [0, 1, 2].map(|row| affine[row][3] as f32);
    Qform { qfac, quaternion: quaternion.map(|number| number as f32), offset }
}

/// The sign of the third axis and the quaternion (b, c, d) of the rotation nearest to the axes.
fn quaternion(affine: &Affine) -> (f32, [f64; 3]) {
    let size = spacing_mm(affine);
    let mut unit: Matrix3 = axes(affine);
    unit.iter_mut().for_each(|row| (0..3).for_each(|column| row[column] /= size[column]));
    let Some(mut r) = nearest_rotation(&unit) else { return (1.0, [0.0; 3]) };
    let qfac = if crate::image::affine::determinant(affine) < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= qfac);
    let bigness = [
        1.0 + r[0][0] + r[1][1] + r[2][2],
        1.0 + r[0][0] - r[1][1] - r[2][2],
        1.0 - r[0][0] + r[1][1] - r[2][2],
        1.0 - r[0][0] - r[1][1] + r[2][2],
    ];
    let largest =
        (0..4).fold(0, |best, index| if bigness[index] > bigness[best] { index } else { best });
    let s = 2.0 * bigness[largest].sqrt();
    let (yz, zx, xy) = (r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]);
    let [a, b, c, d] = match largest {
        0 => [s / 4.0, yz / s, zx / s, xy / s],
        1 => [yz / s, s / 4.0, (r[0][1] + r[1][0]) / s, (r[0][2] + r[2][0]) / s],
        2 => [zx / s, (r[0][1] + r[1][0]) / s, s / 4.0, (r[1][2] + r[2][1]) / s],
        _ => [xy / s, (r[0][2] + r[2][0]) / s, (r[1][2] + r[2][1]) / s, s / 4.0],
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    (qfac as f32, [b * sign, c * sign, d * sign])
}

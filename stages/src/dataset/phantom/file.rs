//! NIfTI-1 files for phantoms: gzip bytes independent of time and machine.
//!
//! The writer is separate, since these headers must vary like real ones (codes and axes), unlike
//! those of results.

use super::{Scan, ScanOrientation};
use crate::error::{Error, Result};
use crate::image::nifti::put;
use flate2::{Compression, GzBuilder};
use std::io::{BufWriter, Write};
use std::path::Path;
use voxflow_cache::disk::FileWriter;

const INT16: (i16, i16) = (4, 16);
const UINT8: (i16, i16) = (2, 8);

/// Writes the image as int16: 3D, or 4D with channels last.
pub fn write_image(scan: &Scan, path: &Path) -> Result<()> {
    let channels = scan.image.len() / scan.label.len();
    let bytes: Vec<u8> = scan.image.iter().flat_map(|value| value.to_le_bytes()).collect();
    write(path, &header(scan, channels, INT16), &bytes)
}

/// Writes the label as uint8.
pub fn write_label(scan: &Scan, path: &Path) -> Result<()> {
    write(path, &header(scan, 1, UINT8), &scan.label)
}

fn write(path: &Path, header: &[u8], voxels: &[u8]) -> Result<()> {
    let file = BufWriter::new(FileWriter::create(path)?);
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(file, Compression::new(2));
    let written = gzip.write_all(header).and_then(|()| gzip.write_all(voxels));
    let flushed = written.and_then(|()| gzip.finish()).and_then(|mut file| file.flush());
    flushed.map_err(Error::io("write", path))
}

/// Codes of qform and sform, the quaternion, and `pixdim[0]`. Decathlon CTs (LAS) come without
/// qform and with sform code 2; the others have both.
fn codes(orientation: ScanOrientation) -> (i16, i16, [f32; 3], f32) {
    match orientation {
        ScanOrientation::Ras => (1, 1, [0.0, 0.0, 0.0], 1.0),
        ScanOrientation::Las => (0, 2, [0.0, 1.0, 0.0], -1.0),
        ScanOrientation::Lps => (1, 1, [0.0, 0.0, 1.0], 1.0),
    }
}

/// The 352 bytes before the voxels (nifti1.h).
fn header(scan: &Scan, channels: usize, (datatype, bits): (i16, i16)) -> Vec<u8> {
    let mut header = vec![0u8; 352];
    put(&mut header, 0, &348i32.to_le_bytes());
    let axes = if channels > 1 { 4 } else { 3 };
    let [nx, ny, nz] = scan.shape;
    for (index, size) in [axes, nx, ny, nz, channels, 1, 1, 1].into_iter().enumerate() {
        put(&mut header, 40 + 2 * index, &(size as i16).to_le_bytes());
    }
    put(&mut header, 70, &datatype.to_le_bytes());
    put(&mut header, 72, &bits.to_le_bytes());
    let (qform, sform, quaternion, factor) = codes(scan.orientation);
    put(&mut header, 76, &factor.to_le_bytes());
    scan.spacing_mm
        .iter()
        .enumerate()
        .for_each(|(axis, size)| put(&mut header, 80 + 4 * axis, &size.to_le_bytes()));
    put(&mut header, 92, &1f32.to_le_bytes());
    put(&mut header, 108, &352f32.to_le_bytes());
    put(&mut header, 112, &1f32.to_le_bytes());
    put(&mut header, 123, &[2]);
    put(&mut header, 148, b"voxflow phantom");
    put(&mut header, 252, &qform.to_le_bytes());
    put(&mut header, 254, &sform.to_le_bytes());
    quaternion
        .iter()
        .enumerate()
        .for_each(|(index, value)| put(&mut header, 256 + 4 * index, &value.to_le_bytes()));
    for axis in 0..3 {
        put(&mut header, 268 + 4 * axis, &(scan.affine[axis][3] as f32).to_le_bytes());
        for column in 0..4 {
            put(
                &mut header,
                280 + 16 * axis + 4 * column,
                &(scan.affine[axis][column] as f32).to_le_bytes(),
            );
        }
    }
    put(&mut header, 344, b"n+1\0");
    header
}

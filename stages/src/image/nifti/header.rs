//! A NIfTI-1 header: what a file holds, checked before anything is believed or allocated.
//!
//! The fields are split by the crate `nifti`; where the grid lies is worked out in `placement`.

use super::placement;
use crate::error::{Error, Result, Trouble};
use crate::image::Affine;
use crate::image::affine::is_usable;
use flate2::read::MultiGzDecoder;
use nifti::NiftiHeader;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a NIfTI-1 header.
pub(super) const HEADER_BYTES: usize = 348;
/// Where the voxels of a single file begin at the earliest: header and four bytes for extensions.
pub(super) const FIRST_VOXEL: usize = 352;
/// The most voxels that one file may hold (8 GiB as float32).
pub(super) const MOST_VOXELS: usize = 1 << 31;
/// Deflate cannot expand more than 1032 times.
const MOST_EXPANSION: u64 = 1032;

/// The type of a stored voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Datatype {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Datatype {
    /// Bytes of one voxel.
    pub fn bytes(self) -> usize {
        match self {
            Datatype::U8 | Datatype::I8 => 1,
            Datatype::U16 | Datatype::I16 => 2,
            Datatype::U32 | Datatype::I32 | Datatype::F32 => 4,
            Datatype::U64 | Datatype::I64 | Datatype::F64 => 8,
        }
    }

    fn of_code(code: i16) -> Result<Datatype, String> {
        Ok(match code {
            2 => Datatype::U8,
            4 => Datatype::I16,
            8 => Datatype::I32,
            16 => Datatype::F32,
            64 => Datatype::F64,
            256 => Datatype::I8,
            512 => Datatype::U16,
            768 => Datatype::U32,
            1024 => Datatype::I64,
            1280 => Datatype::U64,
            32 | 1792 | 2048 => {
                return Err("holds complex numbers; store their magnitude instead".into());
            }
            128 | 2304 => return Err("holds colours; store one channel for each instead".into()),
            _ => return Err(format!("has the unknown voxel type {code}; is it damaged?")),
        })
    }
}

/// What a NIfTI file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The fourth axis; 1 where there is none.
    pub channels: usize,
    /// How voxels are stored.
    pub datatype: Datatype,
    /// Whether bytes are stored most significant first.
    pub big_endian: bool,
    /// Bytes before the first voxel (in the decompressed file).
    pub offset: usize,
    /// A voxel means stored · slope + intercept.
    pub slope: f64,
    /// A voxel means stored · slope + intercept.
    pub intercept: f64,
    /// Voxel index to millimetres in RAS+ world space, after the header's corrections.
    pub affine: Affine,
}

impl Header {
    /// Voxels of all channels together.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product::<usize>() * self.channels
    }

    /// Bytes of the (decompressed) file up to its last voxel.
    pub fn file_bytes(&self) -> usize {
        self.offset + self.voxels() * self.datatype.bytes()
    }

    /// Whether stored values mean themselves.
    pub fn is_unscaled(&self) -> bool {
        self.slope == 1.0 && self.intercept == 0.0
    }

    /// Understands the first 348 bytes of a file. The error is a predicate ("has 2 dimensions; …").
    pub fn parse(bytes: &[u8]) -> Result<Header, String> {
        check_kind(bytes)?;
        let raw = NiftiHeader::from_reader(&bytes[..HEADER_BYTES])
            .map_err(|error| format!("has an unreadable NIfTI header ({error})"))?;
        let big_endian = bytes[..4] == 348i32.to_be_bytes();
        if (raw.endianness == nifti::Endianness::Big) != big_endian {
            return Err(
                "has a header whose number of dimensions makes no sense; is it damaged?".into()
            );
        }
        let (shape, channels) = grid(&raw.dim)?;
        let datatype = Datatype::of_code(raw.datatype)?;
        let offset = voxel_offset(raw.vox_offset)?;
        let (slope, intercept) = scaling(raw.scl_slope, raw.scl_inter)?;
        let affine = placement::affine(&raw)?;
        if !is_usable(&affine) {
            return Err("has an affine whose axes do not span space; correct its header".into());
        }
        Ok(Header { shape, channels, datatype, big_endian, offset, slope, intercept, affine })
    }
}

/// Reads the header of the file at `path`, compressed or not. Errors call the file `name`.
pub fn read_header(path: &Path, name: &str) -> Result<Header> {
    open(path, name).map(|source| source.header)
}

/// A file whose header was read, and how the rest is stored.
pub(super) struct Source {
    pub header: Header,
    pub compressed: bool,
    /// Bytes of the file on disk.
    pub bytes: u64,
}

/// Reads the header, and checks that the file can hold the voxels that it promises.
pub(super) fn open(path: &Path, name: &str) -> Result<Source> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut start = vec![];
    (&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(Error::io("read", path))?;
    let compressed = start.starts_with(&[0x1f, 0x8b]);
    if compressed {
        let whole = File::open(path).map_err(Error::io("open", path))?;
        start.clear();
        MultiGzDecoder::new(std::io::BufReader::new(whole))
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut start)
            .trouble(format!("{name}: is damaged, its gzip stream does not open"))?;
    }
    let header =
        Header::parse(&start).map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    check_size(&header, compressed, bytes)
        .map_err(|trouble| Error::failed(format!("{name}: {trouble}")))?;
    Ok(Source { header, compressed, bytes })
}

fn check_size(header: &Header, compressed: bool, bytes: u64) -> Result<(), String> {
    let needed = header.file_bytes() as u64;
    let most = if compressed { bytes.saturating_mul(MOST_EXPANSION) } else { bytes };
    if needed > most {
        let [x, y, z] = header.shape;
        let size = if compressed { "compressed bytes" } else { "bytes" };
        return Err(format!(
            "is cut short or lies: {x}×{y}×{z}×{} voxels need {needed} bytes, and the file has {bytes} {size}; fetch it again",
            header.channels
        ));
    }
    Ok(())
}

fn check_kind(bytes: &[u8]) -> Result<(), String> {
    let [a, b, c, d, ..] = bytes else { return Err("is empty, not a NIfTI file".into()) };
    let first = [*a, *b, *c, *d];
    let sizes = [i32::from_le_bytes(first), i32::from_be_bytes(first)];
    if sizes.contains(&540) {
        return Err("is NIfTI-2; convert it to NIfTI-1".into());
    }
    if !sizes.contains(&348) {
        return Err("is not a NIfTI file".into());
    }
    if bytes.len() < HEADER_BYTES {
        return Err(format!(
            "ends after {} of the 348 bytes of its header; fetch it again",
            bytes.len()
        ));
    }
    match &bytes[344..348] {
        b"n+1\0" => Ok(()),
        b"ni1\0" => {
            Err("is the header of a pair of files (.hdr, .img); convert it to a single .nii".into())
        }
        _ => Err("is not a NIfTI-1 file (its magic is missing); convert it".into()),
    }
}

/// Shape and channels: three axes, or four, or more where the rest have length 1.
fn grid(dim: &[u16; 8]) -> Result<([usize; 3], usize), String> {
    let axes = usize::from(dim[0]);
    if !(1..=7).contains(&axes) {
        return Err(format!("has {axes} dimensions; is it damaged?"));
    }
    let lengths: Vec<usize> = dim[1..=axes].iter().map(|&length| usize::from(length)).collect();
    if let Some(bad) = lengths.iter().find(|&&length| length == 0 || length > i16::MAX as usize) {
        return Err(format!("has an axis of length {}; is it damaged?", *bad as u16 as i16));
    }
    if axes < 3 || lengths[4.min(axes)..].iter().any(|&length| length > 1) {
        let words: Vec<String> = lengths.iter().map(usize::to_string).collect();
        return Err(format!(
            "has the shape {}; it must be 3D, or 4D with channels last",
            words.join("×")
        ));
    }
    let channels = lengths.get(3).copied().unwrap_or(1);
    let voxels = lengths.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    match voxels {
        Some(voxels) if voxels <= MOST_VOXELS => {
            Ok(([lengths[0], lengths[1], lengths[2]], channels))
        }
        _ => Err(format!("claims more than {MOST_VOXELS} voxels; split it, or is it damaged?")),
    }
}

fn voxel_offset(offset: f32) -> Result<usize, String> {
    let sane =
        offset.is_finite() && offset.fract() == 0.0 && (FIRST_VOXEL as f32..=1e8).contains(&offset);
    if sane {
        Ok(offset as usize)
    } else {
        Err(format!("says that its voxels begin at byte {offset}; is it damaged?"))
    }
}

/// Slope and intercept; a slope that is 0 or not finite means none, as in nibabel.
fn scaling(slope: f32, intercept: f32) -> Result<(f64, f64), String> {
    if slope == 0.0 || !slope.is_finite() {
        return Ok((1.0, 0.0));
    }
    if !intercept.is_finite() {
        return Err(format!(
            "has a slope of {slope} but an intercept of {intercept}; correct its header"
        ));
    }
    Ok((f64::from(slope), f64::from(intercept)))
}

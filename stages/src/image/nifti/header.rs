//! A NIfTI header: what a file holds, checked before anything is believed or allocated.
//!
//! The bytes are split in `fields`; where the grid lies is worked out in `placement`.

use super::ImageFile;
use super::fields::{Fields, HEADER_BYTES};
use super::placement::{GridPlacement, Space, place};
use crate::error::{Error, Result, Trouble};
use crate::image::Affine;
use crate::image::spacing::Grid;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes between the header of a single file and its first voxel: a flag for extensions.
pub(super) const FLAG_BYTES: usize = 4;
/// The most voxels in a file (8 GiB as float32).
pub(super) const MOST_VOXELS: usize = 1 << 31;
/// Deflate cannot expand more than 1032 times.
const MOST_EXPANSION: u64 = 1032;

/// A stored voxel's type.
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
            1536 => return Err("holds 128-bit numbers; store them as float64 instead".into()),
            1 => return Err("holds single bits; store them as uint8 instead".into()),
            _ => return Err(format!("has the unknown voxel type {code}; is it damaged?")),
        })
    }
}

/// Header of a NIfTI file.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// Length of the fourth axis, or of the fifth if the fourth has length 1; else 1.
    pub channels: usize,
    /// Datatype of the stored voxels.
    pub datatype: Datatype,
    /// True if bytes are stored most significant first.
    pub big_endian: bool,
    /// Bytes before the first voxel (in the decompressed file).
    pub offset: usize,
    /// A voxel means stored · slope + intercept.
    pub slope: f64,
    /// A voxel means stored · slope + intercept.
    pub intercept: f64,
    /// Voxel index to millimetres in RAS+ world space.
    pub affine: Affine,
    /// Encoding of the affine in the file, for results on its grid.
    pub space: Space,
    /// Contradictions in the header and the value used: predicates, as errors are.
    pub warnings: Vec<String>,
}

impl Header {
    /// Voxels of all channels together.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product::<usize>() * self.channels
    }

    /// Bytes of the (decompressed) file up to its last voxel.
    pub fn file_bytes(&self) -> usize {
        self.offset + self.voxel_bytes()
    }

    /// Bytes of the voxels alone.
    pub fn voxel_bytes(&self) -> usize {
        self.voxels() * self.datatype.bytes()
    }

    /// True if stored values mean themselves.
    pub fn is_unscaled(&self) -> bool {
        self.slope == 1.0 && self.intercept == 0.0
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        Grid { shape: self.shape, affine: self.affine }
    }

    /// Understands a header's fields; `whole` is the decompressed file's length with the voxels, if
    /// known. The error is a predicate ("has 2 dimensions; …").
    fn of(fields: &Fields, whole: Option<u64>) -> Result<Header, String> {
        let (shape, channels) = grid(fields)?;
        let datatype = Datatype::of_code(fields.datatype)?;
        let (slope, intercept) = scaling(fields.slope, fields.intercept)?;
        let GridPlacement { affine, space, warnings } = place(fields, shape)?;
        let mut header = Header {
            shape,
            channels,
            datatype,
            big_endian: fields.big_endian,
            offset: 0,
            slope,
            intercept,
            affine,
            space,
            warnings,
        };
        header.offset = voxel_offset(fields, header.voxel_bytes(), whole)?;
        Ok(header)
    }
}

/// Reads the header of an image, compressed or not. Errors call the file `name`.
pub fn read_header(file: impl Into<ImageFile>, name: &str) -> Result<Header> {
    open(&file.into(), name).map(|source| source.header)
}

/// An image whose header was read, and how the rest is stored.
pub(super) struct HeaderSource {
    pub header: Header,
    /// The file with the voxels.
    pub path: PathBuf,
    /// True if that is compressed.
    pub compressed: bool,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// Reads the header, and checks that the file can hold the promised voxels.
pub(super) fn open(file: &ImageFile, name: &str) -> Result<HeaderSource> {
    let wrong = |trouble: String| Error::failed(format!("{name}: {trouble}"));
    let mut first = start(&file.header, HEADER_BYTES[0], name)?;
    if Fields::version(&first.start) == Some(2) {
        first = start(&file.header, HEADER_BYTES[1], name)?;
    }
    let fields = Fields::split(&first.start).map_err(wrong)?;
    let voxels = match (fields.is_pair, &file.voxels) {
        (false, _) => first,
        (true, Some(path)) => start(path, 0, name)?,
        (true, None) => {
            return Err(wrong(
                "is the header of a pair of files, and its .img is not beside it; bring both to \
                 one folder under one name"
                    .into(),
            ));
        }
    };
    let header = Header::of(&fields, voxels.whole()?).map_err(wrong)?;
    check_size(&header, voxels.compressed, voxels.bytes).map_err(wrong)?;
    let FileStart { path, compressed, bytes, .. } = voxels;
    Ok(HeaderSource { header, path, compressed, bytes })
}

/// The beginning of a file.
struct FileStart {
    path: PathBuf,
    /// Decompressed.
    start: Vec<u8>,
    compressed: bool,
    /// Of the file on disk.
    bytes: u64,
}

/// Reads up to `length` bytes of a file, decompressed.
fn start(path: &Path, length: usize, name: &str) -> Result<FileStart> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut start = vec![];
    (&mut file)
        .take(length.max(2) as u64)
        .read_to_end(&mut start)
        .map_err(Error::io("read", path))?;
    let compressed = start.starts_with(&[0x1f, 0x8b]);
    if compressed && length > 0 {
        let whole = File::open(path).map_err(Error::io("open", path))?;
        start.clear();
        MultiGzDecoder::new(std::io::BufReader::new(whole))
            .take(length as u64)
            .read_to_end(&mut start)
            .trouble(format!("{name}: is damaged, its gzip stream does not open"))?;
    }
    Ok(FileStart { path: path.to_path_buf(), start, compressed, bytes })
}

impl FileStart {
    /// The file's decompressed length; for gzip modulo 2³², as stored at its end.
    fn whole(&self) -> Result<Option<u64>> {
        if !self.compressed {
            return Ok(Some(self.bytes));
        }
        Ok(gzip_length(&self.path).ok().map(u64::from))
    }
}

/// A gzip file's last four bytes: its content's length modulo 2³².
fn gzip_length(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-4))?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length))
}

fn check_size(header: &Header, compressed: bool, bytes: u64) -> Result<(), String> {
    let needed = header.file_bytes() as u64;
    let most = if compressed { bytes.saturating_mul(MOST_EXPANSION) } else { bytes };
    if needed > most {
        let [x, y, z] = header.shape;
        let size = if compressed { "compressed bytes" } else { "bytes" };
        return Err(format!(
            "is cut short or lies: {x}×{y}×{z}×{} voxels need {needed} bytes, and the file has \
             {bytes} {size}; fetch it again",
            header.channels
        ));
    }
    Ok(())
}

/// Shape and channels: three axes, or four, or five where the fourth has length 1 (vectors); more
/// where the rest have length 1.
fn grid(fields: &Fields) -> Result<([usize; 3], usize), String> {
    let dim = &fields.dim;
    let axes = usize::try_from(dim[0]).unwrap_or(0);
    if !(1..=7).contains(&axes) {
        return Err(format!("has {} dimensions; is it damaged?", dim[0]));
    }
    let lengths = &dim[1..=axes];
    if let Some(bad) = lengths.iter().find(|&&length| length < 1) {
        return Err(format!("has an axis of length {bad}; is it damaged?"));
    }
    let [x, y, z, fourth, fifth, sixth, seventh] =
        std::array::from_fn(|axis| lengths.get(axis).copied().unwrap_or(1));
    let channels = fourth.max(fifth);
    if axes < 3 || (fourth > 1 && fifth > 1) || sixth > 1 || seventh > 1 {
        let words: Vec<String> = lengths.iter().map(i64::to_string).collect();
        return Err(format!(
            "has the shape {}; it must be 3D, or 4D with channels last",
            words.join("×")
        ));
    }
    match lengths.iter().try_fold(1i64, |product, &length| product.checked_mul(length)) {
        Some(voxels) if voxels <= MOST_VOXELS as i64 => {
            Ok(([x, y, z].map(|length| length as usize), channels as usize))
        }
        _ => Err(format!("claims more than {MOST_VOXELS} voxels; split it, or is it damaged?")),
    }
}

/// Offset of the first voxel. An offset inside a single file's header is ignored: some programs
/// write 0, and some leave out the extension flag, told by the file's length.
fn voxel_offset(fields: &Fields, voxels: usize, whole: Option<u64>) -> Result<usize, String> {
    let offset = fields.vox_offset;
    if !offset.is_finite() || offset.fract() != 0.0 || !(0.0..=1e8).contains(&offset) {
        return Err(format!("says that its voxels begin at byte {offset}; is it damaged?"));
    }
    let (offset, header) = (offset as usize, HEADER_BYTES[fields.version - 1]);
    if fields.is_pair || offset >= header + FLAG_BYTES {
        return Ok(offset);
    }
    let is_bare = whole == Some(((header + voxels) as u64) & 0xffff_ffff);
    Ok(if is_bare { header } else { header + FLAG_BYTES })
}

/// Slope and intercept; a slope 0 or not finite means no scaling, as in nibabel.
fn scaling(slope: f64, intercept: f64) -> Result<(f64, f64), String> {
    if slope == 0.0 || !slope.is_finite() {
        return Ok((1.0, 0.0));
    }
    if !intercept.is_finite() {
        return Err(format!(
            "has a slope of {slope} but an intercept of {intercept}; correct its header"
        ));
    }
    Ok((slope, intercept))
}

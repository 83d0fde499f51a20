//! A NIfTI header's fields as stored, alike for versions 1 and 2. Version 1 is split by the crate
//! `nifti`, which does not know version 2.

use nifti::{Endianness, NiftiHeader};

/// Header bytes in each version.
pub(super) const HEADER_BYTES: [usize; 2] = [348, 540];

/// Header fields that are used.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub version: usize,
    /// True if the voxels are in a file of their own.
    pub is_pair: bool,
    pub big_endian: bool,
    pub dim: [i64; 8],
    pub datatype: i16,
    pub pixdim: [f64; 8],
    pub vox_offset: f64,
    pub slope: f64,
    pub intercept: f64,
    pub units: u8,
    pub qform_code: i64,
    pub sform_code: i64,
    pub quaternion: [f64; 3],
    pub qform_offset: [f64; 3],
    pub sform: [[f64; 4]; 3],
}

impl Fields {
    /// The NIfTI version by a file's first bytes.
    pub fn version(bytes: &[u8]) -> Option<usize> {
        kind(bytes).map(|(version, _)| version)
    }

    /// Splits the first bytes of a file. The error is a predicate ("is empty, not a NIfTI file").
    pub fn split(bytes: &[u8]) -> Result<Fields, String> {
        if bytes.len() < 4 {
            return Err("is empty, not a NIfTI file".into());
        }
        let Some((version, big_endian)) = kind(bytes) else {
            return Err("is not a NIfTI file".into());
        };
        let size = HEADER_BYTES[version - 1];
        let Some(bytes) = bytes.get(..size) else {
            let found = bytes.len();
            return Err(format!(
                "ends after {found} of the {size} bytes of its header; fetch it again"
            ));
        };
        let is_pair = is_pair(version, bytes)?;
        if version == 1 {
            return Fields::version_1(bytes, is_pair, big_endian);
        }
        Ok(Numbers { bytes, big_endian }.version_2(is_pair))
    }

    fn version_1(bytes: &[u8], is_pair: bool, big_endian: bool) -> Result<Fields, String> {
        let raw = NiftiHeader::from_reader(bytes)
            .map_err(|error| format!("has an unreadable NIfTI header ({error})"))?;
        if (raw.endianness == Endianness::Big) != big_endian {
            return Err(
                "has a header whose number of dimensions makes no sense; is it damaged?".into()
            );
        }
        Ok(Fields {
            version: 1,
            is_pair,
            big_endian,
            // The standard's lengths are signed.
            dim: raw.dim.map(|length| i64::from(length as i16)),
            datatype: raw.datatype,
            pixdim: raw.pixdim.map(f64::from),
            vox_offset: f64::from(raw.vox_offset),
            slope: f64::from(raw.scl_slope),
            intercept: f64::from(raw.scl_inter),
            units: raw.xyzt_units,
            qform_code: i64::from(raw.qform_code),
            sform_code: i64::from(raw.sform_code),
            quaternion: [raw.quatern_b, raw.quatern_c, raw.quatern_d].map(f64::from),
            qform_offset: [raw.quatern_x, raw.quatern_y, raw.quatern_z].map(f64::from),
            sform: [raw.srow_x, raw.srow_y, raw.srow_z].map(|row| row.map(f64::from)),
        })
    }
}

/// True if a header's magic says its voxels are in a separate file.
fn is_pair(version: usize, header: &[u8]) -> Result<bool, String> {
    match (version, &header[344..348], &header[4..8]) {
        (1, b"n+1\0", _) | (2, _, b"n+2\0") => Ok(false),
        (1, b"ni1\0", _) | (2, _, b"ni2\0") => Ok(true),
        (1, ..) => Err(
            "is no NIfTI file (its magic is missing); an Analyze file does not say where left is, \
             so convert it to NIfTI"
                .into(),
        ),
        _ => Err("is not a NIfTI-2 file (its magic is missing); convert it".into()),
    }
}

/// Version and whether most significant bytes come first, by the size of the header.
fn kind(bytes: &[u8]) -> Option<(usize, bool)> {
    let first = *bytes.first_chunk::<4>()?;
    let sizes = [i32::from_le_bytes(first), i32::from_be_bytes(first)];
    match HEADER_BYTES.map(|size| sizes.iter().position(|&found| found == size as i32)) {
        [Some(order), _] => Some((1, order == 1)),
        [_, Some(order)] => Some((2, order == 1)),
        _ => None,
    }
}

/// Numbers at places in a header.
struct Numbers<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    fn at<const N: usize>(&self, place: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[place..place + N]);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn i16(&self, place: usize) -> i16 {
        i16::from_le_bytes(self.at(place))
    }

    fn i32(&self, place: usize) -> i64 {
        i64::from(i32::from_le_bytes(self.at(place)))
    }

    fn i64(&self, place: usize) -> i64 {
        i64::from_le_bytes(self.at(place))
    }

    fn f64(&self, place: usize) -> f64 {
        f64::from_le_bytes(self.at(place))
    }

    fn version_2(&self, is_pair: bool) -> Fields {
        Fields {
            version: 2,
            is_pair,
            big_endian: self.big_endian,
            dim: std::array::from_fn(|axis| self.i64(16 + 8 * axis)),
            datatype: self.i16(12),
            pixdim: std::array::from_fn(|axis| self.f64(104 + 8 * axis)),
            vox_offset: self.i64(168) as f64,
            slope: self.f64(176),
            intercept: self.f64(184),
            units: (self.i32(500) & 0xff) as u8,
            qform_code: self.i32(344),
            sform_code: self.i32(348),
            quaternion: std::array::from_fn(|index| self.f64(352 + 8 * index)),
            qform_offset: std::array::from_fn(|index| self.f64(376 + 8 * index)),
            sform: std::array::from_fn(|row| {
                std::array::from_fn(|column| self.f64(400 + 32 * row + 8 * column))
            }),
        }
    }
}

//! Label maps: voxels as whole numbers from 0 to 255.
//!
//! Slope and intercept are applied first. Nearly whole values are rounded, with a warning; others,
//! and undeclared values, are an error listing them.

use super::ImageFile;
use super::header::{Datatype, Header};
use super::load::{Scratch, load};
use super::read::{decoded, for_each_type};
use crate::error::{Error, Result};
use crate::image::Volume;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Largest distance of a value from a whole number.
const TOLERANCE: f64 = 0.01;
/// The largest rounding for scaled values: half a slope, so that values rounded while scaling still
/// count, up to a quarter.
const SCALED_TOLERANCE: f64 = 0.25;
/// Relative distances up to this are those of float32 and not worth a word.
const SILENT: f64 = 1e-6;
/// So many different values are told.
const SHOWN: usize = 8;
/// So many are counted.
const COUNTED: usize = 4096;

/// A label map in scratch memory.
#[derive(Debug)]
pub struct LabelMap<'a> {
    /// The header.
    pub header: Header,
    /// The values, x fastest.
    pub voxels: Cow<'a, [u8]>,
    /// Voxels of each value; 0 is not counted.
    pub counts: [u64; 256],
    /// A warning if values were rounded.
    pub rounded: Option<String>,
}

/// Label values by the voxel values in the files.
pub type LabelMapping = BTreeMap<u16, u8>;

static UNMAPPED: LabelMapping = LabelMapping::new();

/// The meaning of a file's voxel values.
#[derive(Clone, Copy, Debug)]
pub struct LabelValues<'a> {
    /// The labels besides 0. Any other value is an error.
    pub declared: &'a [u8],
    /// If not empty, voxels get the label of their value here, or 0.
    pub mapping: &'a LabelMapping,
}

impl<'a> From<&'a [u8]> for LabelValues<'a> {
    fn from(declared: &'a [u8]) -> Self {
        LabelValues { declared, mapping: &UNMAPPED }
    }
}

impl<'a> From<&'a Vec<u8>> for LabelValues<'a> {
    fn from(declared: &'a Vec<u8>) -> Self {
        LabelValues::from(&declared[..])
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for LabelValues<'a> {
    fn from(declared: &'a [u8; N]) -> Self {
        LabelValues::from(&declared[..])
    }
}

/// Reads a label map, 3D. Its values must be 0 or declared. Errors call the file `name`.
pub fn read_label<'a>(
    file: impl Into<ImageFile>,
    name: &str,
    values: impl Into<LabelValues<'a>>,
) -> Result<Volume<u8>> {
    let mut scratch = Scratch::default();
    let LabelMap { header, voxels, .. } = load_label(&file.into(), name, values, &mut scratch)?;
    Ok(Volume {
        channels: 1,
        shape: header.shape,
        data: voxels.into_owned(),
        affine: header.affine,
    })
}

/// The same without copying unless values are converted, in scratch memory.
pub fn load_label<'a, 'b>(
    file: &ImageFile,
    name: &str,
    values: impl Into<LabelValues<'b>>,
    scratch: &'a mut Scratch,
) -> Result<LabelMap<'a>> {
    let LabelValues { declared, mapping } = values.into();
    let wrong = |trouble: String| Error::failed(format!("{name}: {trouble}"));
    let (header, bytes) = load(file, name, scratch)?;
    if header.channels != 1 {
        return Err(wrong(format!(
            "has {} channels; a label map has one, in which each label is a number",
            header.channels
        )));
    }
    let (voxels, rounded) = labels(&header, bytes, mapping).map_err(wrong)?;
    let counts = counts(&voxels);
    check(&counts, declared).map_err(wrong)?;
    Ok(LabelMap { header, voxels, counts, rounded })
}

/// How many voxels have each value from 1 to 255. Most of a label map is background, which is
/// passed over many voxels at a time.
pub fn counts(voxels: &[u8]) -> [u64; 256] {
    let mut counts = [0; 256];
    for some in voxels.chunks(64).filter(|some| some.iter().fold(0, |all, label| all | label) != 0)
    {
        some.iter().for_each(|&label| counts[usize::from(label)] += 1);
    }
    counts[0] = 0;
    counts
}

/// Numbers on their way to whole ones.
struct Rounding<'a> {
    tolerance: f64,
    mapping: &'a LabelMapping,
    /// Rounded voxels, the largest distance, and its value.
    moved: (u64, f64, f64),
    /// Values that are no labels, by their bits, with their voxels.
    foreign: BTreeMap<u64, u64>,
    foreign_voxels: u64,
}

impl Rounding<'_> {
    fn largest(&self) -> f64 {
        if self.mapping.is_empty() { f64::from(u8::MAX) } else { f64::from(u16::MAX) }
    }

    fn label(&mut self, value: f64) -> u8 {
        let whole = value.round_ties_even();
        let off = (value - whole).abs();
        if !(off <= self.tolerance && (0.0..=self.largest()).contains(&whole)) {
            self.foreign_voxels += 1;
            if self.foreign.len() < COUNTED || self.foreign.contains_key(&value.to_bits()) {
                *self.foreign.entry(value.to_bits()).or_default() += 1;
            }
            return 0;
        }
        if off > SILENT * whole.max(1.0) {
            let (count, largest, _) = self.moved;
            self.moved.0 = count + 1;
            if off > largest {
                (self.moved.1, self.moved.2) = (off, value);
            }
        }
        if self.mapping.is_empty() {
            return whole as u8;
        }
        self.mapping.get(&(whole as u16)).copied().unwrap_or(0)
    }

    fn finish(self, voxels: usize) -> Result<Option<String>, String> {
        if self.foreign_voxels > 0 {
            return Err(self.refusal(voxels));
        }
        let (count, largest, value) = self.moved;
        Ok((count > 0).then(|| {
            let largest = largest as f32;
            format!(
                "{count} of {voxels} voxels are not whole numbers (at most {largest:.1e} away: \
                 {}) and were rounded",
                value as f32
            )
        }))
    }

    fn refusal(&self, voxels: usize) -> String {
        let mut values: Vec<(f64, u64)> =
            self.foreign.iter().map(|(bits, count)| (f64::from_bits(*bits), *count)).collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.total_cmp(&b.0)));
        let more = values.len().saturating_sub(SHOWN);
        values.truncate(SHOWN);
        let words: Vec<String> = values
            .iter()
            .map(|(value, count)| counted(&(*value as f32).to_string(), *count))
            .collect();
        let more = if more > 0 { format!(" and {more} other values") } else { String::new() };
        format!(
            "{} of {voxels} voxels are no labels: {}{more}; labels are whole numbers from 0 to {} \
             (up to {} away is rounded): {}write the file anew with such values",
            self.foreign_voxels,
            words.join(", "),
            self.largest(),
            self.tolerance,
            self.mapping_advice(),
        )
    }

    /// The way out for values that are too large, and nothing else.
    fn mapping_advice(&self) -> &'static str {
        match self.mapping.is_empty()
            && self.foreign.keys().all(|bits| {
                let value = f64::from_bits(*bits);
                value.fract() == 0.0 && (256.0..=65535.0).contains(&value)
            }) {
            true => {
                "say the labels that values stand for, as {17: 1, 1035: 2}, in 'map_labels' of \
                 the dataset's stage, or "
            }
            false => "",
        }
    }
}

fn counted(value: &str, voxels: u64) -> String {
    format!("{value} ({voxels} {})", if voxels == 1 { "voxel" } else { "voxels" })
}

/// The voxels as labels, and a warning where some were rounded.
fn labels<'a>(
    header: &Header,
    bytes: &'a [u8],
    mapping: &LabelMapping,
) -> Result<(Cow<'a, [u8]>, Option<String>), String> {
    if header.datatype == Datatype::U8 && header.is_unscaled() && mapping.is_empty() {
        return Ok((Cow::Borrowed(bytes), None));
    }
    let (slope, intercept) = (header.slope, header.intercept);
    let half = if header.is_unscaled() { 0.0 } else { slope.abs() / 2.0 };
    let tolerance = TOLERANCE.max(half.min(SCALED_TOLERANCE));
    let mut rounding = Rounding {
        tolerance,
        mapping,
        moved: (0, 0.0, 0.0),
        foreign: BTreeMap::new(),
        foreign_voxels: 0,
    };
    macro_rules! labels {
        ($type:ty, $header:expr, $bytes:expr) => {
            decoded!($type, $header, $bytes, |n| rounding.label(n as f64 * slope + intercept))
        };
    }
    let labels: Vec<u8> = for_each_type!(labels, header, bytes);
    Ok((Cow::Owned(labels), rounding.finish(header.voxels())?))
}

fn check(counts: &[u64; 256], declared: &[u8]) -> Result<(), String> {
    let values = (1..=255u8).zip(&counts[1..]);
    let foreign = values.filter(|(value, count)| **count > 0 && !declared.contains(value));
    let foreign: Vec<String> =
        foreign.map(|(value, count)| counted(&value.to_string(), *count)).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let foreign = foreign.join(", ");
    let declared: Vec<String> = declared.iter().map(u8::to_string).collect();
    let declared = if declared.is_empty() { "none".into() } else { declared.join(", ") };
    Err(format!(
        "holds the values {foreign}, which are not declared (declared: {declared}); declare each \
         with its name, as {{255: tumor}}, in 'label_names' of the dataset's stage, or correct the \
         file; 'map_labels' there takes a few values and leaves the others"
    ))
}

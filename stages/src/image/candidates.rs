//! Candidates: the voxels of one case that a patch may be centred on. `candidates.bin`.
//!
//! Foreground is an index list for each label, background one bit for each voxel. Which of them is
//! drawn, and how often, belongs to `patch`.
//!
//! The file, all numbers little-endian: the magic `vxcand01`; as u64 the shape X, Y, Z, the number
//! of labels, the number of background voxels, and for each label its value and its number of
//! voxels; then the background bits in words of 64 (voxel i is bit i mod 64 of word i / 64); then
//! the voxel indices of each label, rising, as u32. Indices follow NIfTI order (x fastest).

use crate::error::{Error, Result};
use crate::random::Draw;
use memmap2::Mmap;
use std::ops::Deref;
use std::path::Path;
use voxflow_cache::disk;

const MAGIC: &[u8; 8] = b"vxcand01";
const FIXED: usize = 8 + 5 * 8;
/// Guesses of a background voxel before an exact search.
const GUESSES: usize = 64;

/// A case's voxels eligible as patch centres, never empty.
#[derive(Debug)]
pub struct Candidates {
    bytes: Bytes,
    head: Head,
    /// Indices of the labels of each class that a patch may be forced to show.
    classes: Vec<Vec<usize>>,
    is_sparse: bool,
}

/// The labels whose voxels are counted, and which voxels count as background.
#[derive(Clone, Copy, Debug)]
pub struct CandidateSelection<'a> {
    /// The labels' values, without 0.
    pub labels: &'a [u8],
    /// The image (channels slowest) and the value a background voxel must exceed in at least one
    /// channel, as MONAI's `map_binary_to_indices`; `None` takes every voxel labelled 0.
    pub background: Option<(&'a [f32], f32)>,
}

#[derive(Debug)]
enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}

/// The numbers before the data, and where the data lie.
#[derive(Debug)]
struct Head {
    shape: [usize; 3],
    background: u64,
    labels: Vec<LabelList>,
    mask: usize,
    words: usize,
}

#[derive(Debug)]
struct LabelList {
    value: u8,
    count: u64,
    offset: usize,
}

impl Candidates {
    /// Looks at every voxel of `label` (X·Y·Z values, x fastest).
    ///
    /// Fails if sizes disagree, a value is not among the labels, or there is no candidate at all.
    pub fn compute(
        shape: [usize; 3],
        label: &[u8],
        selection: CandidateSelection,
    ) -> Result<Candidates> {
        Candidates::of_annotated(shape, label, selection, None)
    }

    /// The same without voxels of the value `ignore`, which are neither labelled nor background.
    pub fn of_annotated(
        shape: [usize; 3],
        label: &[u8],
        selection: CandidateSelection,
        ignore: Option<u8>,
    ) -> Result<Candidates> {
        let voxels = voxels(shape)?;
        if label.len() != voxels {
            return Err(Error::failed(format!(
                "label: {} voxels where the image's grid has {voxels}",
                label.len()
            )));
        }
        let lists = foreground(label, selection.labels, ignore)?;
        let mask = background(label, selection.background)?;
        Candidates::parse(Bytes::Owned(encode(shape, selection.labels, &lists, &mask)))
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(disk::write(path, &self.bytes)?)
    }

    /// Opens a file written by [`Candidates::write`], memory-mapped and checked whole.
    ///
    /// Fails if the file has another format, is shorter or longer than declared, or contradicts
    /// itself.
    pub fn open(path: &Path) -> Result<Candidates> {
        let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
        // SAFETY: the file is a published blob or a finished draft; nobody writes to either.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Candidates::parse(Bytes::Mapped(map)).map_err(|error| {
            Error::failed(format!("{}: {error}; remove it, and it is made again", path.display()))
        })
    }

    /// The case's grid: X, Y, Z.
    pub fn shape(&self) -> [usize; 3] {
        self.head.shape
    }

    /// The labels' values, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = u8> {
        self.head.labels.iter().map(|list| list.value)
    }

    /// Voxel count for the label at `index`.
    pub fn count(&self, index: usize) -> u64 {
        self.head.labels[index].count
    }

    /// Voxel count for all labels.
    pub fn foreground(&self) -> u64 {
        self.head.labels.iter().map(|list| list.count).sum()
    }

    /// The number of background candidates.
    pub fn background(&self) -> u64 {
        self.head.background
    }

    /// The classes that patches are forced to show are these unions of label values instead of the
    /// labels, if there are some; with `is_sparse`, all other patches lie around annotated voxels.
    pub fn for_classes(mut self, regions: &[Vec<u8>], is_sparse: bool) -> Candidates {
        let values: Vec<u8> = self.labels().collect();
        if !regions.is_empty() {
            self.classes = regions
                .iter()
                .map(|region| {
                    (0..values.len()).filter(|index| region.contains(&values[*index])).collect()
                })
                .collect();
        }
        self.is_sparse = is_sparse;
        self
    }

    /// The classes with voxels, each as the indices of its labels.
    pub fn classes_present(&self) -> Vec<&[usize]> {
        self.classes
            .iter()
            .map(Vec::as_slice)
            .filter(|class| class.iter().any(|index| self.count(*index) > 0))
            .collect()
    }

    /// True if some voxels of the dataset are not annotated.
    pub fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// A random labelled or background voxel, all equally likely.
    pub fn draw_annotated(&self, draw: &mut Draw) -> usize {
        match draw.below(self.foreground() + self.background()) < self.foreground() {
            true => self.draw_foreground(draw),
            false => self.draw_background(draw),
        }
    }

    /// A random labelled voxel, all equally likely. There must be one.
    pub fn draw_foreground(&self, draw: &mut Draw) -> usize {
        self.draw_among(&mut self.head.labels.iter(), draw)
    }

    /// A random voxel of the labels at these indices. There must be one.
    pub fn draw_class(&self, class: &[usize], draw: &mut Draw) -> usize {
        self.draw_among(&mut class.iter().map(|index| &self.head.labels[*index]), draw)
    }

    fn draw_among<'a>(
        &'a self,
        lists: &mut (impl Iterator<Item = &'a LabelList> + Clone),
        draw: &mut Draw,
    ) -> usize {
        let mut rank = draw.below(lists.clone().map(|list| list.count).sum());
        for list in lists {
            if rank < list.count {
                return self.index(list, rank);
            }
            rank -= list.count;
        }
        unreachable!("the rank is below the sum of the counts")
    }

    /// A random voxel with the label at `index`. Call only if any exists.
    pub fn draw_label(&self, index: usize, draw: &mut Draw) -> usize {
        let list = &self.head.labels[index];
        self.index(list, draw.below(list.count))
    }

    /// A background voxel, all equally likely. Call only if any exists.
    pub fn draw_background(&self, draw: &mut Draw) -> usize {
        let voxels = self.head.shape.iter().product::<usize>() as u64;
        for _ in 0..GUESSES {
            let voxel = draw.below(voxels) as usize;
            if self.word(voxel / 64) >> (voxel % 64) & 1 == 1 {
                return voxel;
            }
        }
        self.background_at(draw.below(self.head.background))
    }

    /// The background voxel after the first `rank`.
    fn background_at(&self, mut rank: u64) -> usize {
        for index in 0..self.head.words {
            let mut word = self.word(index);
            let count = u64::from(word.count_ones());
            if rank < count {
                (0..rank).for_each(|_| word &= word - 1);
                return index * 64 + word.trailing_zeros() as usize;
            }
            rank -= count;
        }
        unreachable!("the rank is below the number of set bits, which was checked")
    }

    fn word(&self, index: usize) -> u64 {
        read_u64(&self.bytes, self.head.mask + index * 8)
    }

    fn index(&self, list: &LabelList, rank: u64) -> usize {
        read_u32(&self.bytes, list.offset + rank as usize * 4) as usize
    }

    fn parse(bytes: Bytes) -> Result<Candidates> {
        let head = Head::parse(&bytes)?;
        let classes = (0..head.labels.len()).map(|index| vec![index]).collect();
        let candidates = Candidates { bytes, head, classes, is_sparse: false };
        candidates.check()?;
        Ok(candidates)
    }

    /// Checks the data against the head.
    fn check(&self) -> Result<()> {
        let voxels = self.head.shape.iter().product::<usize>();
        for list in &self.head.labels {
            let data = &self.bytes[list.offset..list.offset + list.count as usize * 4];
            let indices = data.chunks_exact(4).map(|four| read_u32(four, 0) as usize);
            if !indices.clone().all(|index| index < voxels) || !indices.is_sorted_by(|a, b| a < b) {
                return Err(damaged(format!(
                    "the voxels of label {} do not rise inside the grid",
                    list.value
                )));
            }
        }
        let set: u64 =
            (0..self.head.words).map(|index| u64::from(self.word(index).count_ones())).sum();
        let beyond =
            if voxels % 64 == 0 { 0 } else { self.word(self.head.words - 1) >> (voxels % 64) };
        if set != self.head.background || beyond != 0 {
            return Err(damaged(format!(
                "{set} background bits where the head says {}",
                self.head.background
            )));
        }
        if self.foreground() + self.head.background == 0 {
            return Err(Error::failed(
                "no voxel to centre a patch on: no label, and no image value above \
                 'background_above'; \
                 exclude the case, or set 'background_above' lower or to null",
            ));
        }
        Ok(())
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head> {
        if bytes.len() < FIXED || &bytes[..8] != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let number = |index: usize| read_u64(bytes, 8 + index * 8);
        let shape = [number(0), number(1), number(2)]
            .map(|side| usize::try_from(side).unwrap_or(usize::MAX));
        let voxels = voxels(shape)?;
        let (labels, background) = (number(3), number(4));
        let mask = FIXED + labels.min(256) as usize * 16;
        if labels > 255 || bytes.len() < mask {
            return Err(damaged(format!("it promises {labels} labels")));
        }
        let words = voxels.div_ceil(64);
        let mut end = mask as u64 + words as u64 * 8;
        let mut lists = Vec::with_capacity(labels as usize);
        for label in 0..labels as usize {
            let (value, count) = (number(5 + 2 * label), number(6 + 2 * label));
            let value = u8::try_from(value).map_err(|_| damaged(format!("{value} is no label")))?;
            if count > voxels as u64 {
                return Err(damaged(format!("label {value} has {count} of {voxels} voxels")));
            }
            lists.push(LabelList { value, count, offset: end as usize });
            end += count * 4;
        }
        if end != bytes.len() as u64 {
            return Err(damaged(format!("it has {} bytes where its head says {end}", bytes.len())));
        }
        Ok(Head { shape, background, labels: lists, mask, words })
    }
}

fn damaged(trouble: impl std::fmt::Display) -> Error {
    Error::failed(format!("not a sound list of candidates: {trouble}"))
}

/// X·Y·Z, if not 0 and every voxel has an index in 32 bits.
fn voxels(shape: [usize; 3]) -> Result<usize> {
    let product = shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side));
    product.filter(|voxels| (1..=u32::MAX as usize).contains(voxels)).ok_or_else(|| {
        Error::failed(format!(
            "a grid of {shape:?} voxels has no candidates: 1 to {} voxels are possible",
            u32::MAX
        ))
    })
}

/// The indices of each label's voxels.
fn foreground(label: &[u8], labels: &[u8], ignore: Option<u8>) -> Result<Vec<Vec<u32>>> {
    let mut slot = [None; 256];
    labels.iter().enumerate().for_each(|(index, value)| slot[usize::from(*value)] = Some(index));
    let mut lists = vec![Vec::new(); labels.len()];
    let labelled =
        label.iter().enumerate().filter(|(_, value)| **value != 0 && Some(**value) != ignore);
    for (index, value) in labelled {
        let list = slot[usize::from(*value)].ok_or_else(|| {
            Error::failed(format!(
                "label: value {value} is not among the dataset's labels {labels:?}"
            ))
        })?;
        lists[list].push(index as u32);
    }
    Ok(lists)
}

/// One bit for each voxel: labelled 0, and above the threshold in any channel.
fn background(label: &[u8], image: Option<(&[f32], f32)>) -> Result<Vec<u64>> {
    let mut mask: Vec<u64> =
        label.chunks(64).map(|chunk| pack(chunk.iter().map(|value| *value == 0))).collect();
    if let Some((image, threshold)) = image {
        if image.is_empty() || image.len() % label.len() != 0 {
            return Err(Error::failed(format!(
                "image: {} values for {} voxels",
                image.len(),
                label.len()
            )));
        }
        let mut above = vec![0u64; mask.len()];
        for channel in image.chunks_exact(label.len()) {
            for (word, chunk) in above.iter_mut().zip(channel.chunks(64)) {
                *word |= pack(chunk.iter().map(|value| *value > threshold));
            }
        }
        mask.iter_mut().zip(above).for_each(|(word, above)| *word &= above);
    }
    Ok(mask)
}

fn pack(bits: impl Iterator<Item = bool>) -> u64 {
    bits.enumerate().fold(0, |word, (place, bit)| word | u64::from(bit) << place)
}

fn encode(shape: [usize; 3], labels: &[u8], lists: &[Vec<u32>], mask: &[u64]) -> Vec<u8> {
    let background: u64 = mask.iter().map(|word| u64::from(word.count_ones())).sum();
    let mut numbers = shape.map(|side| side as u64).to_vec();
    numbers.extend([labels.len() as u64, background]);
    labels
        .iter()
        .zip(lists)
        .for_each(|(value, list)| numbers.extend([u64::from(*value), list.len() as u64]));
    let mut bytes = MAGIC.to_vec();
    numbers.iter().chain(mask).for_each(|number| bytes.extend(number.to_le_bytes()));
    lists.iter().flatten().for_each(|index| bytes.extend(index.to_le_bytes()));
    bytes
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;

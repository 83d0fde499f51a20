//! Mutation: an input of the corpus with a few changes of chance. What would stop a reader at its
//! door is undone or redone: what is packed is changed inside, and a tar's checksums are made right
//! again.

use crate::checksums;
use crate::lab::chance::Chance;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

/// The most bytes of a mutant.
const LONGEST: usize = 1 << 18;

/// Numbers that are at the edge of something.
const EDGES: [i64; 12] =
    [0, 1, -1, 127, 128, 255, 32767, 32768, 65535, 2_147_483_647, -2_147_483_648, i64::MAX];

/// Parts that mean something to one reader or another.
const WORDS: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    ": ",
    "- ",
    "\n",
    "\t",
    "\"",
    "\\u0000",
    "null",
    "1e999",
    "-1",
    "NaN",
    "../",
    "${X}",
    "!!t ",
    "\"training\":",
    "\"labels\":",
    "stages:",
    "(",
    ".",
];

/// A mutant of one of the corpus.
pub fn of(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let parent = &corpus[chance.below(corpus.len())];
    let packed = parent.starts_with(&[0x1f, 0x8b]) && chance.below(4) > 0;
    let mut bytes = if packed { unpacked(parent) } else { parent.clone() };
    for _ in 0..1 + chance.below(6) {
        change(&mut bytes, corpus, chance);
        bytes.truncate(LONGEST);
    }
    if chance.below(4) > 0 {
        checksums::set(&mut bytes);
    }
    if packed { pack(&bytes) } else { bytes }
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let end = (at + 1 + chance.below(64)).min(bytes.len());
    match chance.below(9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        2 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
        3 => overwrite(bytes, at, chance),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part.repeat(1 + chance.below(40)));
        }
        6 => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].bytes())),
        7 => {
            let other = &corpus[chance.below(corpus.len())];
            bytes.truncate(at);
            bytes.extend(&other[chance.below(other.len() + 1)..]);
        }
        _ => bytes.truncate(at),
    }
}

/// Writes a number at the edge of something over what is there, in 1, 2, 4 or 8 bytes or as text.
fn overwrite(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    let number = EDGES[chance.below(EDGES.len())];
    let (wide, float) = (number.to_le_bytes(), (number as f32).to_le_bytes());
    let text = number.to_string();
    let field: &[u8] = match chance.below(6) {
        0 => &wide[..1],
        1 => &wide[..2],
        2 => &wide[..4],
        3 => &wide,
        4 => &float,
        _ => text.as_bytes(),
    };
    bytes.iter_mut().skip(at).zip(field).for_each(|(byte, new)| *byte = *new);
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut inside = vec![];
    // Of a damaged one, what can be read.
    let _ = MultiGzDecoder::new(bytes).take(LONGEST as u64).read_to_end(&mut inside);
    inside
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("a gzip in memory")
}

//! Damage to files: one bit flipped at a place of chance, or an end cut off.

use super::chance::Chance;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where a file is damaged.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// A bit of its first 16 bytes.
    Head,
    /// A bit anywhere between.
    Middle,
    /// A bit of its last 16 bytes.
    Tail,
    /// It ends at half of its length.
    Cut,
    /// It has nothing in it any more.
    Emptied,
}

pub const EVERY: [Damage; 5] =
    [Damage::Head, Damage::Middle, Damage::Tail, Damage::Cut, Damage::Emptied];

impl Damage {
    /// Damages the file in place, whatever its mode. Returns what was done, in words.
    pub fn to(self, path: &Path, chance: &mut Chance) -> String {
        let mut bytes = fs::read(path).expect("a file to damage");
        let length = bytes.len();
        let edge = length.min(16);
        let done = match self {
            Damage::Head => flip(&mut bytes, chance, 0, edge),
            Damage::Middle => flip(&mut bytes, chance, 0, length),
            Damage::Tail => flip(&mut bytes, chance, length - edge, edge),
            Damage::Cut | Damage::Emptied => {
                bytes.truncate(if matches!(self, Damage::Cut) { length / 2 } else { 0 });
                format!("cut from {length} to {} bytes", bytes.len())
            }
        };
        let mode = fs::metadata(path).expect("a file").permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a mode");
        fs::write(path, bytes).expect("a damaged file");
        fs::set_permissions(path, mode).expect("a mode");
        format!("{}: {done}", path.display())
    }
}

fn flip(bytes: &mut [u8], chance: &mut Chance, start: usize, length: usize) -> String {
    if length == 0 {
        return "is empty".to_string();
    }
    let (at, bit) = (start + chance.below(length), chance.below(8));
    bytes[at] ^= 1 << bit;
    format!("bit {bit} of byte {at} of {} flipped", bytes.len())
}

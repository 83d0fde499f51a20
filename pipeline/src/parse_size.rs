//! Parses sizes (`20GB`, `512MiB`) and ages (`14d`, `36h`).

use std::time::Duration;

const SIZES: [(&str, u64); 13] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    // A letter alone is a power of 1024, as for Slurm.
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

const AGES: [(&str, u64); 6] =
    [("s", 1), ("m", 60), ("min", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Parses a size into bytes, as `1.5GB`; plain numbers are bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = parts(text).ok_or("write a size as 20GB or 512MiB")?;
    let unit = if unit.is_empty() { "b" } else { &unit };
    let factor = SIZES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let factor = factor.ok_or(
        "sizes are in B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, or K, M, G, T as KiB and so on",
    )?;
    Ok((number * factor as f64) as u64)
}

/// Parses a duration, as `14d`.
pub fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = parts(text).ok_or("write a time as 14d, 36h or 30m")?;
    let seconds = AGES.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
    let seconds = seconds.ok_or("times are in s, m, h, d or w, for example 14d")?;
    Duration::try_from_secs_f64(number * seconds as f64)
        .map_err(|_| "this time is too long".to_string())
}

/// Splits into number and lowercase unit.
fn parts(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        let sizes = ["20GB", "1.5 gb", "512MiB", "32G", "7", "0"].map(|text| size(text).unwrap());
        assert_eq!(sizes, [20_000_000_000, 1_500_000_000, 536_870_912, 32 << 30, 7, 0]);
        let ages = ["14d", "36h", "1.5w", "90 min"].map(|text| age(text).unwrap().as_secs());
        assert_eq!(ages, [1_209_600, 129_600, 907_200, 5_400]);
    }

    #[test]
    fn what_is_no_amount_says_how_to_write_one() {
        for text in ["", "GB", "20XB", "-3GB", "1e400GB", "1..5GB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(age("14").unwrap_err(), "times are in s, m, h, d or w, for example 14d");
        assert!(age(&format!("{}w", "9".repeat(40))).is_err());
    }
}

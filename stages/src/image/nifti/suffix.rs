//! Image file suffixes, known in this module alone. Letters are compared without case.

/// Suffixes for readable image files, longest first.
pub const SUFFIXES: [&str; 6] = [".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img"];

/// A name without its image suffix, and the suffix as it is written; `None` for other files.
pub fn split(name: &str) -> Option<(&str, &str)> {
    SUFFIXES.iter().find_map(|suffix| {
        let at = name.len().checked_sub(suffix.len()).filter(|at| name.is_char_boundary(*at))?;
        name[at..].eq_ignore_ascii_case(suffix).then(|| name.split_at(at))
    })
}

/// A pair's other file: "a.img" for "a.hdr" and the other way round; `None` for single files.
pub fn second(name: &str) -> Option<String> {
    let (stem, suffix) = split(name)?;
    let (kind, rest) = suffix.split_at(4);
    let other = match kind.to_ascii_lowercase().as_str() {
        ".hdr" => ".img",
        ".img" => ".hdr",
        _ => return None,
    };
    let shouts = kind.bytes().any(|byte| byte.is_ascii_uppercase());
    let other = if shouts { other.to_ascii_uppercase() } else { other.to_string() };
    Some(format!("{stem}{other}{rest}"))
}

/// True for the voxel file of a pair.
pub fn is_voxels(name: &str) -> bool {
    split(name).is_some_and(|(_, suffix)| suffix[..4].eq_ignore_ascii_case(".img"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_known_in_small_and_capital_letters() {
        assert_eq!(split("a/SCAN.NII.GZ"), Some(("a/SCAN", ".NII.GZ")));
        assert_eq!(split("x.1.nii"), Some(("x.1", ".nii")));
        assert_eq!(split("x.Hdr"), Some(("x", ".Hdr")));
        for other in ["nii", "x.gz", "x.dcm", "é", "x.nii.zip", ""] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn a_pair_is_two_files_of_one_name() {
        for (one, other) in [("a.hdr", "a.img"), ("a.img.gz", "a.hdr.gz"), ("A.HDR", "A.IMG")] {
            assert_eq!(second(one).as_deref(), Some(other));
            assert_eq!(second(other).as_deref(), Some(one));
        }
        assert_eq!(second("a.nii.gz"), None);
        assert!(is_voxels("a.IMG.gz") && !is_voxels("a.hdr") && !is_voxels("img"));
    }
}

//! File names in a dataset: slash-separated, relative, and never leading out.

use crate::dataset::foreign::foreign;
use crate::error::{Error, Result};
use crate::image::nifti::suffix;

/// The suffixes that name an image, longest first: of a pair, its header's. They are compared
/// without case.
pub const SUFFIXES: [&str; 4] = [".nii.gz", ".hdr.gz", ".nii", ".hdr"];

/// The suffixes in words.
pub const SUFFIX_WORDS: &str = ".nii.gz or .nii, or .hdr with its .img";

/// A file's name without its suffix, and the suffix: "a.NII.GZ" is "a" and ".NII.GZ". `None` for
/// what names no image.
pub fn split_suffix(path: &str) -> Option<(&str, &str)> {
    suffix::split(path).filter(|_| !suffix::is_voxels(path))
}

/// The header of a pair, for either file: "a.hdr" for "a.img". Any other name is its own.
pub fn header_of(name: &str) -> String {
    suffix::second(name).filter(|_| suffix::is_voxels(name)).unwrap_or_else(|| name.to_string())
}

/// The voxel file beside a pair's header: "a.img" for "a.hdr".
pub fn data_of(name: &str) -> Option<String> {
    suffix::second(name).filter(|_| !suffix::is_voxels(name))
}

/// `path` as a name: without "./" and doubled slashes. Refuses what is absolute, has "..", a
/// backslash or a control character, or names nothing.
pub fn relative(path: &str) -> Result<String> {
    if path.starts_with('/') {
        return refused(path, "is absolute, but must lie inside the dataset");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return refused(path, "has a backslash or control character");
    }
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return refused(path, "leaves the dataset by '..'");
    }
    if parts.is_empty() { refused(path, "names no file") } else { Ok(parts.join("/")) }
}

fn refused(path: &str, why: &str) -> Result<String> {
    Err(Error::failed(format!("path '{}': {why}", path.escape_debug())))
}

/// The case that an image file belongs to: its name without folders and suffix.
pub fn case_name(path: &str) -> Result<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    match suffix::split(file).filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, _)) => Ok(stem.to_string()),
        None if foreign(path).is_some() => {
            Err(Error::failed(format!("'{path}': {}", foreign(path).unwrap_or_default())))
        }
        None => Err(Error::failed(format!(
            "'{path}': is no image file; those that can be read end in {SUFFIX_WORDS}"
        ))),
    }
}

/// True if a part of the name starts with a dot, or is what macOS adds to archives.
pub fn is_hidden(name: &str) -> bool {
    name.split('/')
        .any(|part| part == "__MACOSX" || (part.starts_with('.') && part != "." && part != ".."))
}

/// True if a case is left out: by its name, or by one with `*` for anything ("*_4d").
pub fn is_excluded(case: &str, exclude: &[String]) -> bool {
    exclude.iter().any(|text| is_like(case, text))
}

/// Whether `name` is `text`, in which `*` stands for anything.
pub fn is_like(name: &str, text: &str) -> bool {
    let mut parts = text.split('*');
    let (Some(first), Some(last)) = (parts.next(), parts.next_back()) else { return name == text };
    let Some(rest) = name.strip_prefix(first) else { return false };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    parts.all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// The option most like `word`, if one is near.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = options.into_iter().map(|option| (strsim::jaro_winkler(word, option), option));
    scored
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.75)
        .map(|(_, option)| option)
}

/// The names for people: the first twenty, and how many more there are.
pub fn shown<T: AsRef<str>>(names: &[T]) -> String {
    few(names, 20)
}

/// The first `most` names, and how many more there are.
pub fn few<T: AsRef<str>>(names: &[T], most: usize) -> String {
    let text = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_path_without_its_noise() {
        assert_eq!(relative("./imagesTr//a.nii.gz").unwrap(), "imagesTr/a.nii.gz");
    }

    #[test]
    fn an_exclusion_may_stand_for_several() {
        for (name, text, like) in [
            ("p1_4d", "*_4d", true),
            ("p1_4d_x", "*_4d", false),
            ("p1", "p1", true),
            ("p12", "p1", false),
            ("mask_p1_x", "mask_*_x", true),
            ("a", "a*a", false),
            ("abcabc", "a*b*c", true),
        ] {
            assert_eq!(is_like(name, text), like, "{name} {text}");
        }
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for path in ["../a", "a/../../b", "/etc/passwd", "a\\b", "a\nb", "./", ""] {
            assert!(relative(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_case_is_named_after_its_image() {
        assert_eq!(case_name("imagesTr/spleen_8.nii.gz").unwrap(), "spleen_8");
        assert_eq!(case_name("a.b.nii").unwrap(), "a.b");
        assert_eq!(case_name("CT/SCAN.NII.Gz").unwrap(), "SCAN");
        assert_eq!(
            (header_of("p/a.img"), data_of("p/a.hdr")),
            ("p/a.hdr".into(), Some("p/a.img".into()))
        );
        assert_eq!(
            (header_of("ä"), data_of("a.nii"), split_suffix("é.gz")),
            ("ä".into(), None, None)
        );
        assert!(
            case_name("imagesTr/spleen_8.dat").unwrap_err().to_string().contains(".nii.gz or .nii")
        );
    }
}

//! Recognises label files by words in their names.

use super::ImageFile;

/// Words for labels; prefixes count ("segmentations").
const LABEL: [&str; 14] = [
    "label",
    "mask",
    "seg",
    "dseg",
    "annot",
    "truth",
    "groundtruth",
    "gt",
    "roi",
    "delineation",
    "contour",
    "lbl",
    "msk",
    "aseg",
];
/// Words for images: the word nearest to the file name decides.
const IMAGE: [&str; 9] = ["image", "imaging", "img", "scan", "volume", "vol", "raw", "t1w", "t2w"];

/// Splits a name into letters, digits and separators: "a_seg-1" → a, _, seg, -, 1; "img01" → img,
/// 01.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut parts = vec![];
    let mut start = 0;
    let mut last = None;
    for (at, letter) in text.char_indices() {
        let class = LetterClass::of(letter);
        if last.is_some_and(|last| last != class || class == LetterClass::Other) {
            parts.push(&text[start..at]);
            start = at;
        }
        last = Some(class);
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

#[derive(PartialEq, Clone, Copy)]
enum LetterClass {
    Letter,
    Digit,
    Other,
}

impl LetterClass {
    fn of(letter: char) -> LetterClass {
        match letter {
            letter if letter.is_ascii_digit() => LetterClass::Digit,
            letter if letter.is_alphanumeric() => LetterClass::Letter,
            _ => LetterClass::Other,
        }
    }
}

/// True if the file's name suggests labels. Folders below the first `shared` ones count too; the
/// word nearest to the file decides.
pub fn says_label(file: &ImageFile, shared: usize) -> bool {
    let parts = [&file.stem].into_iter().chain(file.folders.iter().skip(shared).rev());
    let says: Vec<Option<bool>> = parts.map(|part| word(part)).collect();
    match says.first().copied().flatten() {
        Some(true) => true,
        // "labels/img_01.nii": the folder decides, the case has its image's name.
        _ => says.into_iter().skip(1).flatten().next().unwrap_or(false),
    }
}

/// Last word meaning label (true) or image (false).
fn word(text: &str) -> Option<bool> {
    let lower = split_camel(text).to_lowercase();
    let parts = tokens(&lower);
    parts.into_iter().rev().find_map(|part| {
        let label = LABEL.iter().any(|word| match word.len() {
            0..=3 => part == *word || part == format!("{word}s") || long(word, part),
            _ => part.starts_with(word),
        });
        let image = IMAGE.iter().any(|word| part.starts_with(word));
        label.then_some(true).or(image.then_some(false))
    })
}

/// Accepts "segmentation" and "segment" for "seg", but not "segway".
fn long(word: &str, part: &str) -> bool {
    word == "seg" && (part.starts_with("segm") || part.starts_with("segs"))
}

/// "aLabel" → "a Label".
fn split_camel(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut last = ' ';
    for letter in text.chars() {
        if last.is_lowercase() && letter.is_uppercase() {
            out.push(' ');
        }
        out.push(letter);
        last = letter;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_label() {
        let says = |path: &str| says_label(&ImageFile::of(path).expect("an image"), 0);
        for path in [
            "a1_seg.nii",
            "a1-seg.nii",
            "seg_a1.nii",
            "a_mask.nii",
            "a_label.nii",
            "a_labels.nii",
            "a_gt.nii",
            "a_dseg.nii",
            "a_roi.nii",
            "a_ROI.nii",
            "labels/img_01.nii",
            "labelsTr/a.nii",
            "SEG/a.nii",
            "p1/segmentation.nii.gz",
            "segmentation-0.nii",
            "Masks/p1.nii",
            "p1/groundTruth.nii",
            "p1/tumorSeg.nii",
            "p1/seg.nii",
            "gt/a.nii",
            "ground_truth/a.nii",
            "label01.nii",
            "p/a_desc-lesion_mask.nii.gz",
            "seg1.nii",
        ] {
            assert!(says(path), "{path}");
        }
        for path in [
            "a1.nii",
            "images/a.nii",
            "imagesTr/gta.nii",
            "p1/imaging.nii.gz",
            "segway.nii",
            "legs.nii",
            "volume-0.nii",
            "p1/t1.nii",
            "seg_dataset/images/a.nii",
            "CT/a.nii",
        ] {
            assert!(!says(path), "{path}");
        }
    }

    #[test]
    fn a_name_is_split_where_its_kind_of_letter_changes() {
        assert_eq!(tokens("img01_t1-x"), ["img", "01", "_", "t", "1", "-", "x"]);
    }
}

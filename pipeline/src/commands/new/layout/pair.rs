//! Pairs of forms: the images of a case and its label.

use super::forms::{CaseNumbers, Form, constant, forms};
use crate::commands::folder_scan::{ImageFile, tokens};
use std::collections::BTreeSet;

/// So many forms of labels are tried, those with most files first.
const TRIED: usize = 300;
/// Words of images that were made from another image of the same case.
const DERIVED: [&str; 10] =
    ["brain", "bet", "stripped", "preproc", "bias", "n4", "4d", "norm", "warped", "resampled"];
/// Words of label files to be passed over for a plainer one.
const SECONDARY: [&str; 14] = [
    "brain",
    "bet",
    "body",
    "valid",
    "fov",
    "prob",
    "rater",
    "reader",
    "observer",
    "expert",
    "auto",
    "pred",
    "prediction",
    "baseline",
];

/// The forms of a dataset.
#[derive(Clone, Debug)]
pub(super) struct Pairing {
    /// A form for each image channel.
    pub images: Vec<Form>,
    /// The labels'.
    pub label: Form,
    /// Other label files of the same cases, as good as the chosen one.
    pub rivals: Vec<Form>,
    /// Image forms that are not of all labelled cases, or made from another.
    pub left: Vec<(Form, &'static str)>,
}

impl Pairing {
    /// The same with its files numbered as in `all`.
    pub fn over(mut self, files: &[ImageFile], all: &[ImageFile]) -> Pairing {
        let forms = self.images.iter_mut().chain([&mut self.label]).chain(&mut self.rivals);
        for form in forms.chain(self.left.iter_mut().map(|(form, _)| form)) {
            for pair in &mut form.pairs {
                let own = &files[pair.1 as usize];
                pair.1 = all.iter().position(|file| file == own).unwrap_or_default() as u32;
            }
        }
        self
    }
}

/// The best pair of an image form and a label form, and the image's other channels.
pub(super) fn pairing(files: &[ImageFile], is_label: &[bool]) -> Option<Pairing> {
    let constant = constant(files);
    let mut cases = CaseNumbers::default();
    let (labels, images): (Vec<usize>, Vec<usize>) =
        (0..files.len()).partition(|index| is_label[*index]);
    let labels = forms(files, &labels, &constant, &mut cases);
    let images = forms(files, &images, &constant, &mut cases);
    let (label, image) = best(&labels, &images)?;
    let matched = label.shared(image);
    let (label, rivals) = roles_of_labels(&labels, image, matched);
    let roles = channels(&images, image, &label);
    let (mut channels, mut left) = (vec![], vec![]);
    let plain = roles.iter().filter(|form| !is_derived(form)).count();
    for form in roles {
        match is_derived(&form) && plain > 0 {
            true => left.push((form, "made from another image of the case")),
            false => channels.push(form),
        }
    }
    channels.sort_by(|a, b| a.text.cmp(&b.text));
    Some(Pairing { images: channels, label, rivals, left })
}

/// The pair with most cases, then the simplest.
fn best<'a>(labels: &'a [Form], images: &'a [Form]) -> Option<(&'a Form, &'a Form)> {
    let mut best: Option<(&Form, &Form)> = None;
    let (mut most, mut least) = (1, (usize::MAX, 0, 0));
    for label in labels.iter().take(TRIED) {
        for image in images {
            if label.pairs.len().min(image.pairs.len()) < most {
                break;
            }
            let matched = label.shared(image);
            let (a, b) = (label.complexity(), image.complexity());
            let complexity = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
            if matched > 1 && (matched > most || (matched == most && complexity < least)) {
                (most, least) = (matched, complexity);
                best = Some((label, image));
            }
        }
    }
    best
}

/// The simplest form of each role: forms that share no file.
fn roles<'a>(forms: impl Iterator<Item = &'a Form>) -> Vec<&'a Form> {
    let mut sorted: Vec<&Form> = forms.collect();
    sorted.sort_by_key(|form| (form.complexity(), form.text.clone()));
    let mut roles: Vec<&Form> = vec![];
    for form in sorted {
        if !roles.iter().any(|role| role.overlaps(form)) {
            roles.push(form);
        }
    }
    roles
}

/// The labels to learn from, and others that are no worse.
fn roles_of_labels(labels: &[Form], image: &Form, matched: usize) -> (Form, Vec<Form>) {
    let fitting = labels
        .iter()
        .filter(|form| form.shared(image) * 5 >= matched * 4 && form.shared(image) > 1);
    let mut roles = roles(fitting);
    roles.sort_by_key(|form| rank(form));
    let first = rank(roles[0]);
    let rivals = roles.iter().skip(1).filter(|form| rank(form) == first);
    (roles[0].clone(), rivals.map(|form| (*form).clone()).collect())
}

/// Lower is likelier to be what a network should learn.
fn rank(form: &Form) -> usize {
    let stem = form.text.rsplit('/').next().unwrap_or(&form.text).to_lowercase();
    let stem = stem.replace("{case}", " ");
    let words: Vec<&str> =
        tokens(&stem).into_iter().filter(|part| part.contains(char::is_alphanumeric)).collect();
    let secondary = words.iter().filter(|word| SECONDARY.contains(word)).count();
    let wild = usize::from(stem.contains('*'));
    secondary * 10 + wild * 5 + words.len().saturating_sub(1)
}

/// All roles that have an image of most cases that `image` and `label` share, `image`'s among them.
fn channels(images: &[Form], image: &Form, label: &Form) -> Vec<Form> {
    let matched: Vec<u32> =
        image.pairs.iter().map(|pair| pair.0).filter(|case| label.file(*case).is_some()).collect();
    let whole = images.iter().filter(|form| {
        let own = matched.iter().filter(|case| form.file(**case).is_some()).count();
        own * 4 >= matched.len() * 3
    });
    let mut all = roles(whole);
    if !all.iter().any(|form| form.text == image.text) {
        all.retain(|form| !form.overlaps(image));
        all.push(image);
    }
    all.into_iter().cloned().collect()
}

fn is_derived(form: &Form) -> bool {
    let text = form.text.to_lowercase();
    tokens(&text).windows(2).any(|pair| DERIVED.contains(&pair.concat().as_str()))
        || tokens(&text).iter().any(|part| DERIVED.contains(part))
}

/// The simplest forms that share no file, those with most files first.
pub(super) fn roles_of(files: &[ImageFile]) -> Vec<Form> {
    let all: Vec<usize> = (0..files.len()).collect();
    let forms = forms(files, &all, &constant(files), &mut CaseNumbers::default());
    let most = forms.iter().map(|form| form.pairs.len()).max().unwrap_or(0);
    // Forms that few files share are accidents of their names.
    let common = forms.iter().filter(|form| form.pairs.len() * 2 >= most);
    let mut roles: Vec<Form> = roles(common).into_iter().cloned().collect();
    roles.sort_by_key(|form| std::cmp::Reverse(form.pairs.len()));
    roles
}

/// The files of one set of roles: forms with the same cases, no common file, and together most of
/// the files. For names without meaning.
pub(super) fn twins(files: &[ImageFile]) -> Vec<Form> {
    let all: Vec<usize> = (0..files.len()).collect();
    let forms = forms(files, &all, &constant(files), &mut CaseNumbers::default());
    let keys: BTreeSet<Vec<u32>> =
        forms.iter().map(|form| form.pairs.iter().map(|pair| pair.0).collect()).collect();
    let groups = keys.into_iter().map(|key| {
        let same = forms.iter().filter(|form| {
            form.pairs.len() == key.len()
                && form.pairs.iter().map(|pair| pair.0).eq(key.iter().copied())
        });
        roles(same)
    });
    let best = groups.filter(|group| group.len() > 1).max_by_key(|group| {
        let covered: usize = group.iter().map(|form| form.pairs.len()).sum();
        let complexity: usize = group.iter().map(|form| form.complexity().0).sum();
        (covered, std::cmp::Reverse((complexity, group.len())))
    });
    best.unwrap_or_default().into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::folder_scan::says_label;

    /// (images, label) of files whose names say what they are.
    fn found(paths: &[String]) -> Option<(Vec<String>, String)> {
        let mut files: Vec<ImageFile> =
            paths.iter().map(|path| ImageFile::of(path).expect("an image")).collect();
        files.sort_by(|a, b| (&a.folders, &a.path).cmp(&(&b.folders, &b.path)));
        let labels: Vec<bool> = files.iter().map(|file| says_label(file, 0)).collect();
        let found = pairing(&files, &labels)?;
        Some((found.images.into_iter().map(|form| form.text).collect(), found.label.text))
    }

    /// Three cases of each name.
    fn three(names: &[&str]) -> Vec<String> {
        let each = |name: &&str| {
            ["07", "12", "30"].map(|case| format!("{}.nii.gz", name.replace('#', case)))
        };
        names.iter().flat_map(each).collect()
    }

    #[test]
    fn layouts_that_people_have() {
        for (names, images, label) in [
            (&["images/c#", "labels/c#"][..], &["images/{case}"][..], "labels/{case}"),
            (&["c_#/imaging", "c_#/segmentation"], &["{case}/imaging"], "{case}/segmentation"),
            (&["case#/img", "case#/seg"], &["{case}/img"], "{case}/seg"),
            (
                &["B_#/B_#_t1", "B_#/B_#_t1ce", "B_#/B_#_t2", "B_#/B_#_flair", "B_#/B_#_seg"],
                &[
                    "{case}/{case}_flair",
                    "{case}/{case}_t1",
                    "{case}/{case}_t1ce",
                    "{case}/{case}_t2",
                ],
                "{case}/{case}_seg",
            ),
            (&["a#", "a#_seg"], &["{case}"], "{case}_seg"),
            (&["a#", "mask_a#"], &["{case}"], "mask_{case}"),
            (&["img#", "label#"], &["img{case}"], "label{case}"),
            (&["volume-#", "segmentation-#"], &["volume-{case}"], "segmentation-{case}"),
            (&["p#_0000", "p#_0001", "p#_seg"], &["{case}_0000", "{case}_0001"], "{case}_seg"),
            (&["imagesTr/p#_0000", "labelsTr/p#"], &["imagesTr/{case}_0000"], "labelsTr/{case}"),
            (&["CT/p#", "Masks/p#_mask"], &["CT/{case}"], "Masks/{case}_mask"),
            (&["p#/CT/scan", "p#/SEG/scan"], &["{case}/CT/scan"], "{case}/SEG/scan"),
            (&["CT/p#/scan", "SEG/p#/scan"], &["CT/{case}/scan"], "SEG/{case}/scan"),
            (
                &[
                    "sub-#/ses-1/anat/sub-#_ses-1_T1w",
                    "derivatives/m/sub-#/ses-1/anat/sub-#_ses-1_dseg",
                ],
                &["{case}/ses-1/anat/{case}_ses-1_T1w"],
                "derivatives/m/{case}/ses-1/anat/{case}_ses-1_dseg",
            ),
            (&["a#", "a#_brain", "a#_seg"], &["{case}"], "{case}_seg"),
            (&["p#/t1", "p#/t1_brain", "p#/seg", "p#/seg_auto"], &["{case}/t1"], "{case}/seg"),
        ] {
            let found = found(&three(names)).unwrap_or_else(|| panic!("nothing for {names:?}"));
            assert_eq!(found.0, images, "{names:?}");
            assert_eq!(found.1, label, "{names:?}");
        }
    }

    #[test]
    fn parts_of_a_dataset_in_folders_of_their_own() {
        let mut paths = three(&["train/images/c#", "train/labels/c#"]);
        paths.extend(
            ["val/images/d1.nii", "val/labels/d1.nii", "val/images/d2.nii", "val/labels/d2.nii"]
                .map(String::from),
        );
        let found = found(&paths).expect("a pairing");
        assert_eq!(found, (vec!["*/images/{case}".to_string()], "*/labels/{case}".to_string()));
    }

    #[test]
    fn frames_of_patients_are_cases() {
        let paths: Vec<String> = [("001", "12"), ("002", "14"), ("003", "09")]
            .iter()
            .flat_map(|(patient, end)| {
                let name = |rest: &str| format!("patient{patient}/patient{patient}_{rest}.nii.gz");
                [
                    name("4d"),
                    name("frame01"),
                    name("frame01_gt"),
                    name(&format!("frame{end}")),
                    name(&format!("frame{end}_gt")),
                ]
            })
            .collect();
        let found = found(&paths).expect("a pairing");
        assert_eq!(found, (vec!["*/{case}".to_string()], "*/{case}_gt".to_string()));
    }
}

//! Forms: every way in which the name of a file may be read as "the case, and the rest", as in
//! "{case}/{case}_t1". A form that many files share is a pattern of the kind `folder`, without
//! the ending.

use crate::commands::folder_scan::{ImageFile, tokens};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The placeholder of a form.
pub(super) const CASE: &str = "{case}";
/// A further placeholder of a case's name.
pub(super) const PART: &str = "{part}";
/// So many words of a stem may be a second part of the case's name.
const LONG: usize = 8;
/// So many folders of a path are varied; those above stay as they are.
const VARIED: usize = 5;

/// A form with the files that have it, one for each case.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// "{case}/{case}_t1"
    pub text: String,
    /// (case, file) as numbers, sorted.
    pub pairs: Vec<(u32, u32)>,
}

impl Form {
    /// The less of it, the better: wildcards, then letters that stand fast.
    pub fn complexity(&self) -> (usize, usize, usize) {
        let stem = self.text.rsplit('/').next().unwrap_or(&self.text);
        let stars = self.text.matches('*').count() + self.text.matches(PART).count();
        let loose = usize::from(stem.contains('*'));
        (stars + loose, stem.replace(CASE, "").replace(PART, "").len(), self.text.len())
    }

    /// The file of a case.
    pub fn file(&self, case: u32) -> Option<u32> {
        let at = self.pairs.binary_search_by_key(&case, |pair| pair.0).ok()?;
        Some(self.pairs[at].1)
    }

    /// Number of cases in common.
    pub fn shared(&self, other: &Form) -> usize {
        let (mut one, mut two) = (self.pairs.iter().peekable(), other.pairs.iter().peekable());
        let mut count = 0;
        while let (Some(a), Some(b)) = (one.peek(), two.peek()) {
            match a.0.cmp(&b.0) {
                std::cmp::Ordering::Less => drop(one.next()),
                std::cmp::Ordering::Greater => drop(two.next()),
                std::cmp::Ordering::Equal => {
                    count += 1;
                    one.next();
                    two.next();
                }
            }
        }
        count
    }

    /// True if they have a file in common.
    pub fn overlaps(&self, other: &Form) -> bool {
        let mine: BTreeSet<u32> = self.pairs.iter().map(|pair| pair.1).collect();
        other.pairs.iter().any(|pair| mine.contains(&pair.1))
    }
}

/// Numbers of the names of cases.
#[derive(Default)]
pub(super) struct CaseNumbers(HashMap<String, u32>);

impl CaseNumbers {
    fn number(&mut self, name: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name.to_string()).or_insert(next)
    }
}

/// The folders that are the same in all files of their depth: (depth, place).
pub(super) fn constant(files: &[ImageFile]) -> BTreeSet<(usize, usize)> {
    let mut seen: BTreeMap<(usize, usize), BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        for (at, folder) in file.folders.iter().enumerate() {
            seen.entry((file.folders.len(), at)).or_default().insert(folder);
        }
    }
    seen.into_iter().filter(|(_, names)| names.len() == 1).map(|(place, _)| place).collect()
}

/// The forms that at least two of the files `of` share, each case at most once.
pub(super) fn forms(
    files: &[ImageFile],
    of: &[usize],
    constant: &BTreeSet<(usize, usize)>,
    cases: &mut CaseNumbers,
) -> Vec<Form> {
    let mut found: HashMap<String, Option<Vec<(u32, u32)>>> = HashMap::new();
    for &index in of {
        let mut own = BTreeSet::new();
        readings(&files[index], constant, &mut |form, case| {
            own.insert((form, case.to_string()));
        });
        for (form, case) in own {
            let case = cases.number(&case);
            let pairs = found.entry(form).or_insert_with(|| Some(vec![]));
            if let Some(list) = pairs {
                match list.iter().rev().any(|pair| pair.0 == case) {
                    true => *pairs = None,
                    false => list.push((case, index as u32)),
                }
            }
        }
    }
    let shared = found.into_iter().filter_map(|(text, pairs)| {
        let mut pairs = pairs.filter(|pairs| pairs.len() > 1)?;
        pairs.sort_unstable();
        Some(Form { text, pairs })
    });
    let mut forms: Vec<Form> = shared.collect();
    forms.sort_by(|a, b| {
        let order = b.pairs.len().cmp(&a.pairs.len());
        order.then(a.complexity().cmp(&b.complexity())).then(a.text.cmp(&b.text))
    });
    forms
}

/// Tells every reading of a file's name: the form, and the case.
fn readings(
    file: &ImageFile,
    constant: &BTreeSet<(usize, usize)>,
    tell: &mut dyn FnMut(String, &str),
) {
    let depth = file.folders.len();
    let fixed = |at: usize| constant.contains(&(depth, at));
    for (at, folder) in file.folders.iter().enumerate().filter(|(at, _)| !fixed(*at)) {
        for stem in stems(&file.stem, folder) {
            above(file, Some((at, folder)), &fixed, &mut |folders| {
                tell(format!("{folders}{stem}"), folder);
            });
        }
        in_two_parts(file, at, &fixed, tell);
    }
    let parts = tokens(&file.stem);
    for from in 0..parts.len() {
        for to in from + 1..=parts.len() {
            if is_separator(parts[from]) || is_separator(parts[to - 1]) {
                continue;
            }
            let (before, after) = (parts[..from].concat(), parts[to..].concat());
            let case = parts[from..to].concat();
            above(file, None, &fixed, &mut |folders| {
                tell(format!("{folders}{before}{CASE}{after}"), &case);
            });
        }
    }
}

fn is_separator(part: &str) -> bool {
    !part.contains(char::is_alphanumeric)
}

/// Tells the readings in which a folder and a folder below it, or a part of the stem, name the
/// case: "{case}/{part}/ct", "{case}/ct_{part}".
fn in_two_parts(
    file: &ImageFile,
    at: usize,
    fixed: &dyn Fn(usize) -> bool,
    tell: &mut dyn FnMut(String, &str),
) {
    let folder = &file.folders[at];
    for below in (at + 1..file.folders.len()).filter(|below| !fixed(*below)) {
        let case = format!("{folder}_{}", file.folders[below]);
        above(file, Some((at, folder)), &|place| place == below || fixed(place), &mut |folders| {
            let mut all: Vec<&str> = folders.split('/').collect();
            all[below] = PART;
            tell(format!("{}{}", all.join("/"), file.stem), &case);
        });
    }
    let parts = tokens(&file.stem);
    for part in 0..parts.len().min(LONG) {
        if is_separator(parts[part]) {
            continue;
        }
        let (before, after) = (parts[..part].concat(), parts[part + 1..].concat());
        let case = format!("{folder}_{}", parts[part]);
        above(file, Some((at, folder)), fixed, &mut |folders| {
            tell(format!("{folders}{before}{PART}{after}"), &case);
        });
    }
}

/// A stem beside a folder that names the case: as it is, with the case in it, or loose.
fn stems(stem: &str, case: &str) -> BTreeSet<String> {
    let parts = tokens(stem);
    let mut all = BTreeSet::from([stem.to_string(), "*".to_string()]);
    all.extend(with_case(stem, case));
    if let [first, .., last] = parts[..] {
        all.insert(format!("{first}*"));
        all.insert(format!("*{last}"));
    }
    all
}

/// The text with the placeholder for the case, where it stands there as a word.
fn with_case(text: &str, case: &str) -> Option<String> {
    let (first, last) = (letter_class(case.chars().next()), letter_class(case.chars().last()));
    let mut out = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(case) {
        let (before, after) = (&rest[..at], &rest[at + case.len()..]);
        let whole = letter_class(out.chars().chain(before.chars()).last()) != first
            && letter_class(after.chars().next()) != last;
        found |= whole;
        out += before;
        out += if whole { CASE } else { case };
        rest = after;
    }
    found.then(|| out + rest)
}

/// Digit, letter or neither: a word ends between two classes.
fn letter_class(letter: Option<char>) -> Option<(bool, bool)> {
    letter.map(|letter| (letter.is_ascii_digit(), letter.is_alphabetic()))
}

/// Tells the folders of a path in every variant: by name or as a wildcard; the case's own as the
/// placeholder.
fn above(
    file: &ImageFile,
    case: Option<(usize, &str)>,
    fixed: &dyn Fn(usize) -> bool,
    tell: &mut dyn FnMut(String),
) {
    let depth = file.folders.len();
    let free: Vec<usize> =
        (0..depth).filter(|at| !fixed(*at) && case.is_none_or(|(own, _)| own != *at)).collect();
    let free = &free[free.len().saturating_sub(VARIED)..];
    for choice in 0..1usize << free.len() {
        let folders = file.folders.iter().enumerate().map(|(at, name)| match case {
            Some((own, _)) if own == at => format!("{CASE}/"),
            _ => match free.iter().position(|place| *place == at) {
                Some(bit) if choice >> bit & 1 == 1 => "*/".into(),
                _ => match case.and_then(|(_, case)| with_case(name, case)) {
                    Some(name) => format!("{name}/"),
                    None => format!("{name}/"),
                },
            },
        });
        tell(folders.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(paths: &[&str]) -> Vec<(String, usize)> {
        let files: Vec<ImageFile> =
            paths.iter().map(|path| ImageFile::of(path).expect("an image")).collect();
        let all: Vec<usize> = (0..files.len()).collect();
        let forms = forms(&files, &all, &constant(&files), &mut CaseNumbers::default());
        forms.into_iter().map(|form| (form.text, form.pairs.len())).collect()
    }

    #[test]
    fn the_case_is_a_folder_or_a_part_of_the_name() {
        let found = texts(&["p1/p1_t1.nii", "p2/p2_t1.nii", "p3/p3_t1.nii"]);
        for form in ["{case}/{case}_t1", "*/{case}_t1", "{case}/*"] {
            assert!(found.contains(&(form.into(), 3)), "{form}: {found:?}");
        }
        let found = texts(&["img01.nii", "img02.nii", "seg01.nii", "seg02.nii"]);
        assert!(found.contains(&("img{case}".into(), 2)), "{found:?}");
        assert!(found.contains(&("{case}".into(), 4)), "{found:?}");
    }

    #[test]
    fn a_case_inside_another_word_is_no_case() {
        assert_eq!(with_case("t1_1", "1").as_deref(), Some("t{case}_{case}"));
        assert_eq!(with_case("p12_ct", "p1"), None);
        assert_eq!(with_case("sub-01_T1w", "sub-01").as_deref(), Some("{case}_T1w"));
    }
}

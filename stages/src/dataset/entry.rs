//! An entry in a list of cases, as in a Decathlon `dataset.json` or a datalist: one or several
//! images, a label, and the case they make.

use crate::dataset::name;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// The files of a case as an entry names them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListEntry {
    /// The image files: a single file, or a file per channel.
    pub images: Vec<String>,
    /// The label file.
    pub label: Option<String>,
    /// Its fold in cross-validation.
    pub fold: Option<u64>,
    /// Its other fields.
    pub others: BTreeSet<String>,
}

/// The entries of the list under `key`, each passed through `with`; empty if it is missing or null.
/// An error names the key and the index.
pub fn list(
    json: &Map<String, Value>,
    key: &str,
    with: impl Fn(ListEntry) -> Result<ListEntry>,
) -> Result<Vec<ListEntry>> {
    let items = match json.get(key) {
        None | Some(Value::Null) => return Ok(vec![]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Error::failed(format!("'{key}' must be a list"))),
    };
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let entry = ListEntry::read(item).and_then(&with);
            entry.map_err(|error| Error::failed(format!("{key}[{index}]: {error}")))
        })
        .collect()
}

impl ListEntry {
    /// From an image's path, or an object with `image` (a path, or a list with one a channel) and
    /// perhaps `label`. Paths are as written.
    pub fn read(value: &Value) -> Result<ListEntry> {
        let fields = match value {
            Value::String(path) => {
                return Ok(ListEntry { images: vec![path.clone()], ..ListEntry::default() });
            }
            Value::Object(fields) => fields,
            _ => return Err(Error::failed("must be an image's path, or an object with 'image'")),
        };
        let mut images = vec![];
        let image = fields.get("image").filter(|image| flatten(image, &mut images));
        if image.is_none() || images.is_empty() {
            return Err(no_image(fields));
        }
        let mut labels = vec![];
        if let Some(label) = fields.get("label").filter(|label| !flatten(label, &mut labels)) {
            return Err(Error::failed(format!("its 'label' must be a path, but is {label}")));
        }
        labels.retain(|path: &String| !path.trim().is_empty());
        if labels.len() > 1 {
            let all = name::shown(&labels);
            return Err(Error::failed(format!("has several labels ({all}); a case has one")));
        }
        let fold = fields.get("fold").and_then(Value::as_u64);
        let known = ["image", "label"];
        let others = fields.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
        Ok(ListEntry { images, label: labels.pop(), fold, others })
    }

    /// The same with its paths as names in `folder`.
    pub fn inside(mut self, folder: &Path) -> Result<ListEntry> {
        for path in self.images.iter_mut().chain(&mut self.label) {
            *path = file_name(path, folder)?;
        }
        self.images.iter().try_for_each(|image| name::case_name(image).map(drop))?;
        Ok(self)
    }

    /// The case's name by its files: the image's without suffix, or what the names of its channels
    /// begin with.
    pub fn name(&self) -> String {
        let stems: Vec<&str> = self.images.iter().map(|image| stem(image)).collect();
        let first = stems.first().copied().unwrap_or_default();
        if stems.len() == 1 {
            return first.to_string();
        }
        let mut ends = first.char_indices().map(|(at, _)| at).chain([first.len()]);
        let shared = ends
            .rfind(|at| {
                let start = &first[..*at];
                stems.iter().all(|stem| stem.starts_with(start) && is_word_end(stem, *at))
            })
            .map_or("", |at| &first[..at]);
        let shared = shared.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        if shared.is_empty() { first.to_string() } else { shared.to_string() }
    }

    /// Its image's folder names, joined; the last alone first.
    fn folders(&self) -> Option<(String, String)> {
        let (folders, _) = self.images.first()?.rsplit_once('/')?;
        let last = folders.rsplit('/').next()?;
        Some((last.to_string(), folders.replace('/', "_")))
    }
}

/// True if a word ends at this byte, or the whole text.
fn is_word_end(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// True if several entries share one name.
fn is_of_one_name(list: &[ListEntry]) -> bool {
    list.len() > 1 && list.iter().all(|entry| entry.name() == list[0].name())
}

/// Names the cases in a dataset's lists. If all images in a list share a name
/// ("case_1/imaging.nii.gz"), the folders tell them apart.
pub fn names(lists: &[&[ListEntry]]) -> Vec<String> {
    let all: Vec<&ListEntry> = lists.iter().copied().flatten().collect();
    let plain: Vec<String> = all.iter().map(|entry| entry.name()).collect();
    if !lists.iter().any(|list| is_of_one_name(list)) {
        return plain;
    }
    let folders: Option<Vec<(String, String)>> = all.iter().map(|entry| entry.folders()).collect();
    let Some((last, whole)) = folders.map(|both| both.into_iter().unzip()) else { return plain };
    let choices: [Vec<String>; 2] = [last, whole];
    choices
        .into_iter()
        .find(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
        .unwrap_or(plain)
}

/// The file's name without folders and image suffix.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    name::split_suffix(file).map_or(file, |(stem, _)| stem)
}

/// The name in `folder` for the file at `path`, possibly absolute. Files outside the dataset are
/// refused.
pub fn file_name(path: &str, folder: &Path) -> Result<String> {
    let roots = [Some(folder.to_path_buf()), folder.canonicalize().ok()];
    let relative = match path.starts_with('/') {
        true => roots.iter().flatten().find_map(|root| {
            let root = std::path::absolute(root).ok()?;
            Path::new(path).strip_prefix(root).ok()?.to_str().map(str::to_string)
        }),
        false => None,
    };
    let name = name::relative(relative.as_deref().unwrap_or(path))?;
    if name.ends_with(char::is_whitespace) {
        return Err(Error::failed(format!("path '{path}': has a space at its end")));
    }
    if name.rsplit('/').next().is_some_and(|file| file.starts_with("._")) {
        return Err(Error::failed(format!(
            "path '{path}': is what macOS keeps beside a file; take it out of the list"
        )));
    }
    Ok(name::header_of(&name))
}

/// Gathers the texts from a text or nested lists; `false` if anything else is found.
fn flatten(value: &Value, into: &mut Vec<String>) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => {
            into.push(text.clone());
            true
        }
        Value::Array(items) => items.iter().all(|item| flatten(item, into)),
        _ => false,
    }
}

fn no_image(fields: &Map<String, Value>) -> Error {
    let others: Vec<&String> = fields.keys().filter(|key| key.as_str() != "label").collect();
    let found = match fields.get("image") {
        Some(image) => format!("but 'image' is {image}"),
        None if others.is_empty() => "but has none".into(),
        None => format!("but has {}", name::shown(&others)),
    };
    Error::failed(format!(
        "must be an object with 'image', a path or a list with one path for each channel, {found}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name_of(images: Value) -> String {
        ListEntry::read(&json!({"image": images})).unwrap().name()
    }

    #[test]
    fn a_case_of_several_files_is_named_by_what_their_names_share() {
        assert_eq!(name_of(json!("a/p_1.nii.gz")), "p_1");
        assert_eq!(name_of(json!(["B_1/B_1_flair.nii.gz", "B_1/B_1_t1.nii.gz"])), "B_1");
        assert_eq!(name_of(json!(["x_0000.nii.gz", "x_0001.nii.gz"])), "x");
        assert_eq!(name_of(json!(["images/c0.nii", "images/c3.nii"])), "c0");
        assert_eq!(name_of(json!([["p1.nii"], ["p1_t2.nii"]])), "p1");
    }

    #[test]
    fn folders_name_cases_whose_files_have_one_name() {
        let entries = |paths: &[&str]| -> Vec<ListEntry> {
            paths.iter().map(|path| ListEntry::read(&json!(path)).unwrap()).collect()
        };
        let kits = entries(&["case_1/imaging.nii.gz", "case_2/imaging.nii.gz"]);
        assert_eq!(names(&[&kits]), ["case_1", "case_2"]);
        let sites = entries(&["a/p1/t1.nii", "b/p1/t1.nii"]);
        assert_eq!(names(&[&sites]), ["a_p1", "b_p1"]);
        let (train, test) = (entries(&["imagesTr/a.nii"]), entries(&["imagesTs/a.nii"]));
        assert_eq!(names(&[&train, &test]), ["a", "a"], "two of one name stay a mistake");
    }

    #[test]
    fn absolute_paths_may_lead_into_the_folder_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let inside = format!("{}/im/a.img", folder.path().display());
        assert_eq!(file_name(&inside, folder.path()).unwrap(), "im/a.hdr");
        assert_eq!(file_name("./im//a.nii", folder.path()).unwrap(), "im/a.nii");
        for (path, words) in [
            ("/elsewhere/a.nii", "absolute"),
            ("../a.nii", "'..'"),
            ("a.nii ", "a space at its end"),
            ("im/._a.nii", "macOS"),
        ] {
            let trouble = file_name(path, folder.path()).unwrap_err().to_string();
            assert!(trouble.contains(words), "{trouble}");
        }
    }

    #[test]
    fn an_entry_that_names_no_image_says_what_it_has() {
        let words = |value: Value| ListEntry::read(&value).unwrap_err().to_string();
        assert!(words(json!({"t1": "a.nii", "label": "b.nii"})).contains("but has t1"));
        assert!(words(json!({"image": 7})).contains("but 'image' is 7"));
        assert!(words(json!(7)).contains("must be an image's path"));
        assert!(words(json!({"image": "a.nii", "label": ["b.nii", "c.nii"]})).contains("several"));
    }
}

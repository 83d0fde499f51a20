//! A pattern for names: `*` stands for anything, and one placeholder in braces for what is asked
//! ("patient{group}_*" finds the patient, "images/{case}.nii.gz" the case). Neither crosses a
//! slash.

use crate::error::{Error, Result};
use crate::image::nifti::suffix;

/// A pattern with one kind of placeholder.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    placeholder: String,
    regex: regex::Regex,
}

impl Pattern {
    /// Understands `text`, in which `{name}` must stand at least once.
    pub fn new(text: &str, name: &str) -> Result<Pattern> {
        let placeholder = format!("{{{name}}}");
        if !text.contains(&placeholder) {
            return Err(Error::failed(format!("pattern '{text}' has no '{placeholder}'")));
        }
        let (before, after) = text.split_once(&placeholder).unwrap_or((text, ""));
        let after = after.replace(&placeholder, "*");
        let source = format!("^{}([^/]+?){}$", loose(before), ending(&after));
        let regex = regex::Regex::new(&source)
            .map_err(|error| Error::failed(format!("pattern '{text}': {error}")))?;
        Ok(Pattern { text: text.to_string(), placeholder, regex })
    }

    /// What the placeholder stands for in `name`: as little as fits.
    pub fn find<'a>(&self, name: &'a str) -> Option<&'a str> {
        let found = self.regex.captures(name)?.get(1)?.as_str();
        let once = self.text.matches(&self.placeholder).count() == 1;
        (once || self.with(found).ok()?.is_match(name)).then_some(found)
    }

    /// Matches the names in which the placeholder stands for `value`.
    pub fn with(&self, value: &str) -> Result<regex::Regex> {
        let mut parts: Vec<String> = self.text.split(&self.placeholder).map(loose).collect();
        let last = self.text.rsplit(&self.placeholder).next().map(ending);
        last.into_iter().for_each(|last| {
            parts.pop();
            parts.push(last);
        });
        let source = format!("^{}$", parts.join(&regex::escape(value)));
        regex::Regex::new(&source)
            .map_err(|error| Error::failed(format!("pattern '{}': {error}", self.text)))
    }
}

/// The same of a pattern's end, where an image's suffix may be in small or capital letters.
fn ending(text: &str) -> String {
    match suffix::split(text) {
        Some((before, suffix)) => format!("{}(?i:{})", loose(before), regex::escape(suffix)),
        None => loose(text),
    }
}

/// A regular expression in which only `*` is special.
fn loose(text: &str) -> String {
    text.split('*').map(regex::escape).collect::<Vec<_>>().join("[^/]*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_stands_for_as_little_as_fits() {
        let pattern = Pattern::new("patient{group}_*", "group").unwrap();
        assert_eq!(pattern.find("patient12_scan_1"), Some("12"));
        assert_eq!(pattern.find("person12_scan_1"), None);
        assert!(Pattern::new("patient*", "group").is_err());
    }

    #[test]
    fn a_placeholder_that_stands_twice_means_the_same() {
        let pattern = Pattern::new("{case}/{case}_ct.nii.gz", "case").unwrap();
        assert_eq!(pattern.find("p1/p1_ct.nii.gz"), Some("p1"));
        assert_eq!(pattern.find("p1/p2_ct.nii.gz"), None);
        assert_eq!(pattern.find("x/p1/p1_ct.nii.gz"), None);
    }
}

//! A pattern for names: `*` stands for anything, and one placeholder in braces for what is asked
//! ("patient{group}_*" finds the patient, "images/{case}.nii.gz" the case). Neither crosses a
//! slash.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A pattern with one kind of placeholder.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    placeholder: String,
    /// By the least length of what the placeholder stands for, as they are needed.
    regexes: Mutex<BTreeMap<usize, regex::Regex>>,
}

impl Clone for Pattern {
    fn clone(&self) -> Pattern {
        let regexes = self.regexes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Pattern {
            text: self.text.clone(),
            placeholder: self.placeholder.clone(),
            regexes: Mutex::new(regexes),
        }
    }
}

impl Pattern {
    /// Understands `text`, in which `{name}` must stand at least once.
    pub fn new(text: &str, name: &str) -> Result<Pattern> {
        let placeholder = format!("{{{name}}}");
        if !text.contains(&placeholder) {
            return Err(Error::failed(format!("pattern '{text}' has no '{placeholder}'")));
        }
        let pattern = Pattern { text: text.to_string(), placeholder, regexes: Mutex::default() };
        pattern.regex(1)?;
        Ok(pattern)
    }

    /// What the placeholder stands for in `name`: as little as fits.
    pub fn find<'a>(&self, name: &'a str) -> Option<&'a str> {
        let once = self.text.matches(&self.placeholder).count() == 1;
        let mut least = 1;
        loop {
            let found = self.regex(least).ok()?.captures(name)?.get(1)?.as_str();
            if once || self.with(found).ok()?.is_match(name) {
                return Some(found);
            }
            least = found.chars().count() + 1;
        }
    }

    /// How much of a name the pattern says itself: of two that fit, the one that says more is
    /// meant.
    pub fn detail(&self) -> usize {
        let parts: Vec<&str> = self.text.split(&self.placeholder).collect();
        let said: usize =
            parts.iter().map(|part| part.chars().filter(|letter| *letter != '*').count()).sum();
        said + parts.len()
    }

    fn regex(&self, least: usize) -> Result<regex::Regex> {
        let mut regexes = self.regexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = regexes.get(&least) {
            return Ok(regex.clone());
        }
        let (before, after) = self.text.split_once(&self.placeholder).unwrap_or((&self.text, ""));
        let after = after.replace(&self.placeholder, "*");
        let source = format!("^{}([^/]{{{least},}}?){}$", loose(before), loose(&after));
        let regex = regex::Regex::new(&source)
            .map_err(|error| Error::failed(format!("pattern '{}': {error}", self.text)))?;
        regexes.insert(least, regex.clone());
        Ok(regex)
    }

    /// Matches the names in which the placeholder stands for `value`.
    pub fn with(&self, value: &str) -> Result<regex::Regex> {
        let parts: Vec<String> = self.text.split(&self.placeholder).map(loose).collect();
        let source = format!("^{}$", parts.join(&regex::escape(value)));
        regex::Regex::new(&source)
            .map_err(|error| Error::failed(format!("pattern '{}': {error}", self.text)))
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
        let pattern = Pattern::new("{case}_{case}.nii", "case").unwrap();
        assert_eq!(pattern.find("a_b_a_b.nii"), Some("a_b"));
        assert_eq!(pattern.find("a_b_a_c.nii"), None);
    }
}

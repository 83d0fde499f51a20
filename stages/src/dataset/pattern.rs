//! A pattern for names: `*` stands for anything, and one placeholder in braces for what is asked
//! ("patient{group}_*" finds the patient, "images/{case}.nii.gz" the case). Neither crosses a
//! slash. Further placeholders make the name longer: "{case}/{visit}/ct.nii.gz" finds "p1_v2".

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A pattern with a single kind of placeholder.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    placeholder: String,
    /// By the placeholder's least length; made on demand.
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

    /// The shortest text that the placeholder matches in `name`.
    pub fn find<'a>(&self, name: &'a str) -> Option<&'a str> {
        self.values(name)?.into_iter().find(|(text, _)| *text == self.placeholder).map(|(_, v)| v)
    }

    /// Texts matched by all placeholders, joined by `_` in the order of the pattern.
    pub fn name_in(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.values(name)?.into_iter().map(|(_, value)| value).collect();
        Some(values.join("_"))
    }

    /// Each placeholder's text.
    fn values<'a>(&self, name: &'a str) -> Option<Vec<(&str, &'a str)>> {
        let placeholders = self.placeholders();
        let mut least = 1;
        loop {
            let captures = self.regex(least).ok()?.captures(name)?;
            let values: Vec<(&str, &str)> = placeholders
                .iter()
                .zip(captures.iter().skip(1).flatten())
                .map(|(text, found)| (*text, found.as_str()))
                .collect();
            let once = placeholders.iter().all(|text| self.text.matches(text).count() == 1);
            if once || self.filled(&values).ok()?.is_match(name) {
                return Some(values);
            }
            let own = values.iter().find(|(text, _)| *text == self.placeholder)?;
            least = own.1.chars().count() + 1;
        }
    }

    /// The placeholders, each once, in the order of the text.
    fn placeholders(&self) -> Vec<&str> {
        let mut all: Vec<&str> = vec![];
        for (piece, _) in
            pieces(&self.text).into_iter().filter(|(_, is_placeholder)| *is_placeholder)
        {
            if !all.contains(&piece) {
                all.push(piece);
            }
        }
        all
    }

    /// Letters in a name fixed by the pattern: between two matching patterns, the more specific is
    /// meant.
    pub fn detail(&self) -> usize {
        let sizes =
            pieces(&self.text).into_iter().map(|(piece, is_placeholder)| match is_placeholder {
                true => 1,
                false => piece.chars().filter(|letter| *letter != '*').count(),
            });
        sizes.sum::<usize>() + 1
    }

    fn regex(&self, least: usize) -> Result<regex::Regex> {
        let mut regexes = self.regexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = regexes.get(&least) {
            return Ok(regex.clone());
        }
        let mut seen: Vec<&str> = vec![];
        let source = pieces(&self.text).into_iter().map(|(piece, is_placeholder)| {
            let is_first = is_placeholder && !seen.contains(&piece);
            seen.push(piece);
            match (is_placeholder, is_first) {
                (false, _) => loose(piece),
                (true, false) => "[^/]*".to_string(),
                (true, true) if piece == self.placeholder => format!("([^/]{{{least},}}?)"),
                (true, true) => "([^/]+?)".to_string(),
            }
        });
        let regex = self.compiled(&source.collect::<String>())?;
        regexes.insert(least, regex.clone());
        Ok(regex)
    }

    /// Matches the names in which the placeholders stand for these values.
    fn filled(&self, values: &[(&str, &str)]) -> Result<regex::Regex> {
        let value =
            |text: &str| values.iter().find(|(own, _)| *own == text).map(|(_, value)| *value);
        let source = pieces(&self.text).into_iter().map(|(piece, is_placeholder)| {
            match value(piece).filter(|_| is_placeholder) {
                Some(value) => regex::escape(value),
                None => loose(piece),
            }
        });
        self.compiled(&source.collect::<String>())
    }

    fn compiled(&self, source: &str) -> Result<regex::Regex> {
        regex::Regex::new(&format!("^{source}$"))
            .map_err(|error| Error::failed(format!("pattern '{}': {error}", self.text)))
    }
}

/// The text in pieces, each with whether it is a placeholder: a word in braces.
fn pieces(text: &str) -> Vec<(&str, bool)> {
    let mut pieces = vec![];
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let inside = rest[open + 1..].find('}').map(|close| &rest[open + 1..open + 1 + close]);
        let end = match inside.filter(|word| {
            !word.is_empty() && word.chars().all(|l| l.is_ascii_alphanumeric() || l == '_')
        }) {
            Some(word) => {
                pieces.push((&rest[..open], false));
                pieces.push((&rest[open..open + word.len() + 2], true));
                open + word.len() + 2
            }
            None => {
                pieces.push((&rest[..=open], false));
                open + 1
            }
        };
        rest = &rest[end..];
    }
    pieces.push((rest, false));
    pieces.retain(|(piece, _)| !piece.is_empty());
    pieces
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
    #[test]
    fn further_placeholders_make_the_name_longer() {
        let pattern = Pattern::new("{case}/{visit}/{case}_ct.nii.gz", "case").unwrap();
        assert_eq!(pattern.name_in("p1/v2/p1_ct.nii.gz").as_deref(), Some("p1_v2"));
        assert_eq!(pattern.find("p1/v2/p1_ct.nii.gz"), Some("p1"));
        assert_eq!(pattern.name_in("p1/v2/p2_ct.nii.gz"), None);
        let pattern = Pattern::new("{site}/{case}.nii", "case").unwrap();
        assert_eq!(pattern.name_in("a/p1.nii").as_deref(), Some("a_p1"));
        let pattern = Pattern::new("{case}{}{x y}.nii", "case").unwrap();
        assert_eq!(pattern.name_in("p1{}{x y}.nii").as_deref(), Some("p1"), "no words in braces");
    }
}

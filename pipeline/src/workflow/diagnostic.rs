//! Mistakes in a workflow: location, message, suggestion.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceSpan {
    /// Line and column, from 1.
    File { line: usize, column: usize },
    /// In a file that is extended.
    Base { file: String, line: usize, column: usize },
    /// The `--set` argument.
    Set(String),
    /// Unknown.
    Nowhere,
}

impl SourceSpan {
    /// The place as one in a file that is extended.
    pub fn of_base(self, file: &str) -> SourceSpan {
        match self {
            SourceSpan::File { line, column } => {
                SourceSpan::Base { file: file.to_string(), line, column }
            }
            other => other,
        }
    }
}

/// A mistake found before any work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// File as named on the command line.
    pub file: String,
    pub place: SourceSpan,
    pub stage: Option<String>,
    /// Dotted key.
    pub key: Option<String>,
    /// Trouble and remedy.
    pub trouble: String,
    /// Suggested word.
    pub nearest: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SourceSpan::File { line, column } => write!(f, "{}:{line}:{column}: ", self.file)?,
            SourceSpan::Base { file, line, column } => write!(f, "{file}:{line}:{column}: ")?,
            SourceSpan::Set(words) => write!(f, "{words}: ")?,
            SourceSpan::Nowhere => write!(f, "{}: ", self.file)?,
        }
        if let Some(stage) = &self.stage {
            write!(f, "stage '{stage}': ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "key '{key}': ")?;
        }
        f.write_str(&self.trouble)?;
        self.nearest.as_ref().map_or(Ok(()), |word| write!(f, "; did you mean '{word}'?"))
    }
}

/// Most similar word among `known`, if any is close.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= 1 + wanted.chars().count().min(candidate.chars().count()) / 3
        })
        .min()
        .map(|(_, candidate)| candidate.to_string())
}

/// "'a', 'b' or 'c'".
pub fn either<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.as_ref())).collect();
    match quoted.split_last() {
        None => "nothing".to_string(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_if_it_is_near() {
        let known = ["learning_rate", "epochs", "patch"];
        assert_eq!(nearest("lerning_rate", known).as_deref(), Some("learning_rate"));
        assert_eq!(nearest("epoch", known).as_deref(), Some("epochs"));
        assert_eq!(nearest("Patch", known).as_deref(), Some("patch"));
        assert_eq!(nearest("batch_size", known), None);
    }

    #[test]
    fn a_mistake_reads_from_the_place_to_the_way_out() {
        let mistake = Diagnostic {
            file: "a.yaml".into(),
            place: SourceSpan::File { line: 7, column: 5 },
            stage: Some("model".into()),
            key: Some("epoch".into()),
            trouble: "there is no such key".into(),
            nearest: Some("epochs".into()),
        };
        assert_eq!(
            mistake.to_string(),
            "a.yaml:7:5: stage 'model': key 'epoch': there is no such key; did you mean 'epochs'?"
        );
    }
}

//! `voxflow tag` and `voxflow note`: words on a run for people, shown in lists. Tagged runs are
//! kept by `rm --failed`, `rm --older-than` and `cache gc --keep-runs`.

use super::{answer, tell};
use crate::annotation::Annotation;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::runs;
use clap::Args;

#[derive(Debug, Args)]
pub struct TagArgs {
    /// Run: latest, an id, an id prefix, a workflow's name, or a folder
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Tags to add, of letters, digits, '.', '_' and '-'; without any, the run's tags are listed
    #[arg(value_name = "TAG")]
    pub tags: Vec<String>,
    /// Remove these tags instead
    #[arg(long, requires = "tags")]
    pub remove: bool,
}

impl TagArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let run = runs::find(&globals.home(), &self.run)?;
        let mut annotation = Annotation::read(&run.folder)?;
        if self.tags.is_empty() {
            answer(&annotation.tags.iter().map(|tag| format!("{tag}\n")).collect::<String>())?;
            return Ok(Exit::Done);
        }
        for tag in &self.tags {
            let is_known = annotation.tags.contains(tag);
            match self.remove {
                true if !is_known => return Err(no_tag(&run.record.run, tag, &annotation)),
                true => drop(annotation.tags.remove(tag)),
                false => drop(annotation.tags.insert(checked(tag)?)),
            }
        }
        annotation.write(&run.folder)?;
        if !globals.quiet {
            let words = match annotation.tags.is_empty() {
                true => "no tags".into(),
                false => annotation.tag_words(),
            };
            tell(&format!("{}: {words}", run.record.run));
        }
        Ok(Exit::Done)
    }
}

fn no_tag(run: &str, tag: &str, annotation: &Annotation) -> Error {
    let there = match annotation.tags.is_empty() {
        true => "it has none".into(),
        false => format!("it has {}", annotation.tag_words()),
    };
    Error::usage(format!("run '{run}' has no tag '{tag}': {there}"))
}

fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || ['.', '_', '-'].contains(&letter)
}

fn checked(tag: &str) -> Result<String> {
    match !tag.is_empty() && tag.chars().all(is_plain) {
        true => Ok(tag.to_string()),
        false => Err(Error::usage(format!(
            "tag '{tag}': has letters, digits, '.', '_' and '-' only; a sentence is a note: \
             'voxflow note RUN TEXT'"
        ))),
    }
}

#[derive(Debug, Args)]
pub struct NoteArgs {
    /// Run: latest, an id, an id prefix, a workflow's name, or a folder
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The note, in place of an earlier one; "" removes it. Without it, the note is printed
    #[arg(value_name = "TEXT")]
    pub text: Option<String>,
}

impl NoteArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let run = runs::find(&globals.home(), &self.run)?;
        let mut annotation = Annotation::read(&run.folder)?;
        let Some(text) = &self.text else {
            answer(&annotation.note.map(|note| format!("{note}\n")).unwrap_or_default())?;
            return Ok(Exit::Done);
        };
        annotation.note = Some(text.trim().to_string()).filter(|text| !text.is_empty());
        annotation.write(&run.folder)?;
        if !globals.quiet {
            let done = if annotation.note.is_some() { "noted" } else { "note removed" };
            tell(&format!("{}: {done}", run.record.run));
        }
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_word() {
        assert_eq!(checked("paper-2.1_ä").expect("a tag"), "paper-2.1_ä");
        for wrong in ["", "two words", "a,b", "a/b"] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }
}

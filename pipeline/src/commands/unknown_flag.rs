//! Hints for flags that other programs have: `--epochs 3` is `--set model.epochs=3`, and
//! `predict --recursive` is the rule.

use crate::reference::Parameter;
use crate::workflow::{Workflow, environment};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::path::Path;
use voxflow_stages::{KINDS, Kind};

/// Commands with `--set`.
const COMMANDS: [&str; 5] = ["run", "sweep", "plan", "check", "params"];

const RECURSIVE: [&str; 3] = ["--recursive", "-r", "-R"];

/// The error with the hint in place of clap's own tips, if a stage has such a parameter.
pub fn explained(mut error: Error, arguments: &[String]) -> Error {
    if let Some(hint) = hint(&error, arguments) {
        error.remove(ContextKind::SuggestedArg);
        let tips = vec![StyledStr::from(hint)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

fn hint(error: &Error, arguments: &[String]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    if is_among("predict", arguments) && RECURSIVE.contains(&flag.as_str()) {
        return Some(format!("folders are searched with all those below: leave '{flag}' out"));
    }
    if !COMMANDS.into_iter().any(|command| is_among(command, arguments)) {
        return None;
    }
    let (flag, value) = given(flag, arguments);
    let path = path(&flag.strip_prefix("--")?.replace('-', "_"), arguments)?;
    Some(format!("parameters are set by '--set {path}={value}'; 'voxflow params FILE' lists them"))
}

fn is_among(word: &str, arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == word)
}

/// The flag without its value, and the value.
fn given<'a>(flag: &'a str, arguments: &'a [String]) -> (&'a str, &'a str) {
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    let at = arguments.iter().position(|word| word.split('=').next() == Some(name));
    let own = at.and_then(|at| arguments[at].split_once('=').map(|(_, value)| value));
    let next = at.and_then(|at| arguments.get(at + 1)).map(String::as_str);
    (name, own.or(next.filter(|word| !word.starts_with('-'))).unwrap_or("VALUE"))
}

/// The parameter's path in the workflow that is named, else in any of its kind.
fn path(key: &str, arguments: &[String]) -> Option<String> {
    if key == "seed" {
        return Some(key.into());
    }
    let files = arguments.iter().map(Path::new).filter(|file| file.is_file());
    let workflow = files.filter_map(workflow).next();
    let stages = workflow.iter().flat_map(Workflow::written_stages);
    let written = stages.map(|stage| (stage.written_id(), stage.kind));
    // Of a kind that has the key itself, then of one that has it deeper.
    let all: Vec<(&str, &Kind)> = written.chain(KINDS.iter().map(|kind| ("STAGE", kind))).collect();
    let found = |fits: fn(&str, &str) -> bool| {
        all.iter().find_map(|(id, kind)| {
            let parameters = Parameter::all(kind);
            let own = parameters.iter().find(|parameter| fits(&parameter.path, key))?;
            Some(format!("{id}.{}", own.path))
        })
    };
    found(is_key).or_else(|| found(ends_in_key))
}

fn is_key(path: &str, key: &str) -> bool {
    path == key
}

fn ends_in_key(path: &str, key: &str) -> bool {
    path.strip_suffix(key).is_some_and(|above| above.ends_with('.'))
}

fn workflow(file: &Path) -> Option<Workflow> {
    let text = std::fs::read(file).ok()?;
    let name = file.display().to_string();
    Workflow::parse(&name, &text, &[], KINDS, &environment::process).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_is_a_parameter_is_told_with_its_path() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(given("--epochs", &words("run x --epochs 3")), ("--epochs", "3"));
        assert_eq!(given("--epochs", &words("run x --epochs=3")), ("--epochs", "3"));
        assert_eq!(given("--epochs", &words("run --epochs -q")), ("--epochs", "VALUE"));
        assert_eq!(path("epochs", &[]).as_deref(), Some("STAGE.epochs"));
        assert_eq!(path("roi", &[]).as_deref(), Some("STAGE.inference.roi"));
        assert_eq!((path("seed", &[]).as_deref(), path("nothing", &[])), (Some("seed"), None));
    }
}

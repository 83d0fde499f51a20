//! `voxflow _complete`: candidates for the word under the cursor, for the completion scripts: what
//! depends on a workflow or on the runs. Everything else is in the scripts themselves.

use super::answer_data;
use crate::error::{Exit, Result};
use crate::home::Home;
use crate::reference::Parameter;
use crate::run::RunRecord;
use crate::runs;
use crate::workflow::{Workflow, environment, stage_resources};
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use voxflow_stages::KINDS;

#[derive(Debug, Args)]
pub struct CompleteArgs {
    /// Number of the word under the cursor; 0 is the program
    pub at: usize,
    /// Words of the command line
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Commands on a workflow file.
const OF_WORKFLOWS: [&str; 5] = ["run", "sweep", "plan", "check", "params"];
/// Commands whose first words are runs.
const OF_RUNS: [&str; 8] = ["show", "compare", "report", "rm", "tag", "note", "stop", "path"];
/// The newest run, in every place where a run is named.
const LATEST: &str = "latest";

impl CompleteArgs {
    /// Prints one candidate per line; none where the script knows better.
    pub fn run(&self) -> Result<Exit> {
        let line = CommandLine::of(&self.words, self.at);
        let text: String = line.candidates().iter().map(|word| format!("{word}\n")).collect();
        answer_data(&text)?;
        Ok(Exit::Done)
    }
}

/// A command line up to the word under the cursor.
struct CommandLine<'a> {
    command: &'a str,
    /// Words before the cursor.
    before: &'a [String],
    current: String,
}

impl<'a> CommandLine<'a> {
    /// Shells that split words at '=' give `--set`, `model.epochs`, `=`, `3`: these are one word.
    fn of(words: &'a [String], at: usize) -> CommandLine<'a> {
        let at = at.min(words.len());
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        let (start, current) = match (word(at), at.checked_sub(1).map(word)) {
            ("=", _) if at > 1 => (at - 1, format!("{}=", word(at - 1))),
            (value, Some("=")) if at > 2 => (at - 2, format!("{}={value}", word(at - 2))),
            (value, _) => (at, value.to_string()),
        };
        let before = &words[..start];
        let mut words = before.iter().skip(1).map(String::as_str);
        let command = words.find(|word| is_command(word)).unwrap_or("");
        CommandLine { command, before, current }
    }

    fn candidates(&self) -> Vec<String> {
        let previous = self.before.last().map_or("", String::as_str);
        let found = match (self.command, previous) {
            (command, "--set" | "--over") if OF_WORKFLOWS.contains(&command) => self.settings(),
            (command, "--only" | "--force" | "--until") if OF_WORKFLOWS.contains(&command) => {
                self.stages_of_workflow()
            }
            ("show", "--stage") => self.stages_of_run(),
            ("predict" | "export", "--model" | "-m") => self.runs(),
            _ if self.current.starts_with('-') || previous.starts_with('-') => vec![],
            ("view" | "export" | "path", _) => self.runs(),
            (command, _) if OF_RUNS.contains(&command) => self.runs(),
            (command, _) if OF_WORKFLOWS.contains(&command) && self.has_workflow() => {
                self.stages_of_workflow()
            }
            _ => vec![],
        };
        found.into_iter().filter(|word| word.starts_with(&self.current)).collect()
    }

    fn file(&self) -> Option<&Path> {
        let mut files = self.before.iter().skip(1).map(Path::new);
        files.rfind(|file| file.is_file())
    }

    /// Only `params FILE STAGE` takes stages as words.
    fn has_workflow(&self) -> bool {
        self.command == "params" && self.file().is_some()
    }

    fn workflow(&self) -> Option<Workflow> {
        let file = self.file()?;
        let text = std::fs::read(file).ok()?;
        let name = file.display().to_string();
        Workflow::parse(&name, &text, &[], KINDS, &environment::process).ok()
    }

    /// `STAGE.KEY=` for every parameter; with a key, the values that it may have.
    fn settings(&self) -> Vec<String> {
        let Some(workflow) = self.workflow() else { return vec![] };
        let mut paths = vec![("seed".to_string(), vec![])];
        for stage in workflow.written_stages() {
            let id = stage.written_id();
            let of_kind = Parameter::all(stage.kind).into_iter();
            paths.extend(of_kind.map(|one| (format!("{id}.{}", one.path), values(&one))));
            let resources = Parameter::of(stage_resources::schema()).into_iter();
            paths.extend(resources.map(|one| (format!("{id}.resources.{}", one.path), vec![])));
            paths.push((format!("{id}.needs"), vec![]));
        }
        match self.current.split_once('=') {
            None => paths.into_iter().map(|(path, _)| format!("{path}=")).collect(),
            Some((path, _)) => {
                let known = paths.into_iter().find(|(known, _)| known == path);
                let values = known.map(|(_, values)| values).unwrap_or_default();
                values.into_iter().map(|value| format!("{path}={value}")).collect()
            }
        }
    }

    fn stages_of_workflow(&self) -> Vec<String> {
        let workflow = self.workflow();
        workflow.into_iter().flat_map(|workflow| workflow.stages).map(|stage| stage.id).collect()
    }

    fn home(&self) -> Home {
        let home = self.folder("--home", "VOXFLOW_HOME").unwrap_or_else(|| ".voxflow".into());
        Home::new(&home, self.folder("--store", "VOXFLOW_STORE").as_deref())
    }

    /// The folder that a flag names, else that of the variable.
    fn folder(&self, flag: &str, variable: &str) -> Option<PathBuf> {
        let at = self.before.iter().position(|word| word == flag);
        let given = at.and_then(|at| self.before.get(at + 1)).map(PathBuf::from);
        given.or_else(|| std::env::var_os(variable).map(PathBuf::from))
    }

    fn records(&self) -> Vec<RunRecord> {
        let all = runs::all(&self.home()).map(|(all, _)| all).unwrap_or_default();
        all.into_iter().map(|run| run.record).collect()
    }

    /// Runs by short id and by workflow; after `RUN/`, the run's stages.
    fn runs(&self) -> Vec<String> {
        if let Some((run, _)) = self.current.split_once('/') {
            let home = self.home();
            let found = runs::find(&home, run).map(|run| run.record.stages).unwrap_or_default();
            return found.into_iter().map(|stage| format!("{run}/{}", stage.stage)).collect();
        }
        let records = self.records();
        let mut names: BTreeSet<String> =
            records.iter().map(|record| record.workflow.clone()).collect();
        if records.iter().any(|record| record.sweep.is_some()) {
            names.insert("sweep".into());
        }
        let latest = (!records.is_empty()).then(|| LATEST.to_string());
        let ids = records.iter().map(|record| runs::short(&record.run).to_string());
        latest.into_iter().chain(names).chain(ids).collect()
    }

    /// Stages of the run that `show RUN --stage` names, else of the latest.
    fn stages_of_run(&self) -> Vec<String> {
        let home = self.home();
        let named = self.before.iter().skip(2).find(|word| !word.starts_with('-'));
        let run = runs::find(&home, named.map_or(LATEST, String::as_str));
        let stages = run.map(|run| run.record.stages).unwrap_or_default();
        stages.into_iter().map(|stage| stage.stage).collect()
    }
}

/// True for a command whose words are completed.
fn is_command(word: &str) -> bool {
    let others = ["view", "predict", "export"];
    OF_WORKFLOWS.contains(&word) || OF_RUNS.contains(&word) || others.contains(&word)
}

/// Values that a parameter may have, if they are few.
fn values(parameter: &Parameter) -> Vec<String> {
    if !parameter.choices.is_empty() {
        return parameter.choices.iter().map(|choice| choice.value.clone()).collect();
    }
    match parameter.type_words.as_str() {
        "true | false" => vec!["true".into(), "false".into()],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    const TEXT: &str = "name: x
stages:
  dataset: { uses: synthesize, with: { cases: 4 } }
  split: { uses: split, needs: [dataset], with: { training: 2, validation: 1, testing: 1 } }
  volumes: { uses: preprocess, needs: [dataset], with: { intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model: { uses: train, needs: [cache], with: { epochs: 5, patch: [16, 16, 16], learning_rate: 0.1 } }
  images: { uses: predict, needs: [dataset, model] }
";

    fn found(line: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.yaml");
        std::fs::write(&file, TEXT).expect("writes");
        let words = words(&line.replace("FILE", &file.display().to_string()));
        CommandLine::of(&words, words.len() - 1).candidates()
    }

    #[test]
    fn settings_of_the_named_file_are_candidates_with_their_values() {
        assert_eq!(found("voxflow run FILE --set model.epo")[0], "model.epochs=");
        let keys = found("voxflow sweep FILE --over split.");
        assert!(keys.iter().any(|key| key == "split.validation="), "{keys:?}");
        assert!(found("voxflow run FILE --set volumes.resources.").len() > 1);
        assert_eq!(found("voxflow plan FILE --set images.nee"), ["images.needs="]);
        assert_eq!(found("voxflow plan FILE --set se"), ["seed="]);
        let all = ["images.weights=best", "images.weights=last"];
        assert_eq!(found("voxflow run FILE --set images.weights="), all);
        // bash parts words at '='.
        assert_eq!(found("voxflow run FILE --set images.weights ="), all);
        assert_eq!(found("voxflow run FILE --set images.weights = b"), all[..1]);
        let flags = ["images.flips=true", "images.flips=false"];
        assert_eq!(found("voxflow run FILE --set images.flips="), flags);
    }

    #[test]
    fn stages_are_candidates_where_a_stage_is_named_and_nothing_is_elsewhere() {
        assert_eq!(found("voxflow run FILE --only mo"), ["model"]);
        assert_eq!(found("voxflow params FILE ca"), ["cache"]);
        assert_eq!(found("voxflow run FILE --set"), Vec::<String>::new());
        assert_eq!(found("voxflow run none.yaml --set mo"), Vec::<String>::new());
        assert_eq!(found("voxflow"), Vec::<String>::new());
    }

    #[test]
    fn runs_and_their_stages_are_candidates() {
        let folder = tempfile::tempdir().expect("a folder");
        let _home = crate::runs::tests::home(folder.path());
        let found = |line: &str| {
            let words = words(&line.replace("HOME", &folder.path().display().to_string()));
            CommandLine::of(&words, words.len() - 1).candidates()
        };
        let runs = found("voxflow --home HOME show ");
        for name in ["latest", "spleen", "77ffee"] {
            assert!(runs.iter().any(|run| run == name), "{name} in {runs:?}");
        }
        assert_eq!(found("voxflow --home HOME show 77f"), ["77ffee"]);
        let stages = found("voxflow --home HOME view latest/");
        assert!(stages.iter().any(|stage| stage == "latest/model"), "{stages:?}");
        assert_eq!(found("voxflow --home HOME predict --model late"), ["latest"]);
    }
}

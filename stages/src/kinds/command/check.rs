//! Mistakes in the parameters of a command, found before anything runs.

use super::parameters::{Command, DATASET, Makes};
use super::template::names;
use super::variables::{PLAIN, is_own};
use crate::container::Image;
use crate::dataset::name;
use crate::model::{Mistake, mistake};

/// Names that have a value for each case only.
const OF_CASES: [&str; 3] = ["case", "image", "label"];

/// Mistakes that the parameters alone show.
pub(super) fn parameters(stage: &Command) -> Vec<Mistake> {
    let mut mistakes = program(stage);
    mistakes.extend(names_given(stage));
    for (key, template) in templates(stage) {
        let wrong =
            own_names(&key, template).filter_map(|name| Some((key.clone(), unknown(stage, name)?)));
        mistakes.extend(wrong);
    }
    mistakes.extend(limits(stage));
    mistakes.extend(container(stage));
    mistakes
}

/// Mistakes that the roles show.
pub(super) fn roles(stage: &Command, roles: &[&str]) -> Vec<Mistake> {
    let mut mistakes = vec![];
    for (key, template) in templates(stage) {
        let inputs = own_names(&key, template).filter_map(|name| name.strip_prefix("inputs."));
        let wrong = inputs.filter(|role| !roles.contains(role));
        mistakes.extend(wrong.map(|role| (key.clone(), no_role(role, roles))));
    }
    let parts = stage.parts.keys().filter(|role| !roles.contains(&role.as_str()));
    mistakes.extend(parts.map(|role| (format!("parts.{role}"), no_role(role, roles))));
    let has_cases = stage.each.is_none() || roles.contains(&DATASET);
    let words = "'each: case' reads the cases of the role 'dataset': name a stage that makes a \
                 dataset among 'needs', as in needs: { dataset: STAGE }";
    mistakes.extend(mistake(!has_cases, "each", words));
    mistakes
}

fn no_role(role: &str, roles: &[&str]) -> String {
    let near = name::nearest(role, roles.iter().copied());
    match (near, roles.is_empty()) {
        (Some(near), _) => format!("no input has the role '{role}'; did you mean '{near}'"),
        (None, true) => format!("no input has the role '{role}'; name its stage among 'needs'"),
        (None, false) => {
            format!("no input has the role '{role}'; the roles are {}", roles.join(", "))
        }
    }
}

/// The dotted key of each template, and its text.
fn templates(stage: &Command) -> impl Iterator<Item = (String, &str)> {
    let words = stage.run.iter().enumerate();
    let words = words.map(|(index, word)| (format!("run.{index}"), word.as_str()));
    words.chain(stage.shell.iter().map(|line| ("shell".to_string(), line.as_str())))
}

/// The names that are to be filled in; others in a shell line are the shell's.
fn own_names<'t>(key: &str, template: &'t str) -> impl Iterator<Item = &'t str> {
    let is_line = key == "shell";
    names(template).filter(move |name| !is_line || is_own(name))
}

fn program(stage: &Command) -> Vec<Mistake> {
    let has_words = stage.run.first().is_some_and(|word| !word.is_empty());
    let has_line = stage.shell.as_ref().is_some_and(|line| !line.trim().is_empty());
    let neither = "is missing: give the program and its arguments, as [python3, \
                   \"${scripts.main}\"], or a line of 'shell'";
    let several = stage.each.is_some()
        && !matches!(stage.makes, Makes::Files | Makes::Dataset | Makes::Predictions);
    let found = [
        mistake(!has_words && !has_line, "run", neither),
        mistake(has_words && has_line, "shell", "stands beside 'run'; remove one"),
        mistake(
            several,
            "makes",
            "with 'each: case' a program makes a dataset, predictions or files",
        ),
    ];
    found.into_iter().flatten().collect()
}

/// Mistakes in names that the person gives.
fn names_given(stage: &Command) -> Vec<Mistake> {
    let words = "has letters, digits, '_' and '-' only";
    let scripts = stage.scripts.keys().map(|name| ("scripts", name));
    let params = stage.params.keys().map(|name| ("params", name));
    let wrong = scripts.chain(params).filter(|(_, name)| is_no_name(name));
    let mut mistakes: Vec<Mistake> =
        wrong.map(|(key, name)| (key.into(), format!("the name '{name}' {words}"))).collect();
    let set = stage.environment.keys().map(|name| ("environment", name));
    let passed = stage.pass_environment.iter().map(|name| ("pass_environment", name));
    let wrong =
        set.chain(passed).filter(|(_, name)| is_no_name(name) || name.starts_with("VOXFLOW_"));
    mistakes.extend(wrong.map(|(key, name)| {
        (key.into(), format!("'{name}' is no name for a variable, or begins with VOXFLOW_"))
    }));
    for (role, parts) in &stage.parts {
        let empty = mistake(parts.is_empty(), format!("parts.{role}"), "must name some files");
        let wrong = parts.iter().filter_map(|part| name::relative(part).err());
        mistakes.extend(empty);
        mistakes.extend(wrong.map(|error| (format!("parts.{role}"), error.to_string())));
    }
    mistakes
}

fn is_no_name(name: &str) -> bool {
    name.is_empty() || !name.chars().all(is_of_name)
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

/// The trouble with a name in a template, if it will have no value.
fn unknown(stage: &Command, name: &str) -> Option<String> {
    let (first, rest) =
        name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let is_for_cases = OF_CASES.contains(&first) || name.starts_with("output.");
    if is_for_cases && stage.each.is_none() {
        return Some(format!("'${{{name}}}' has a value with 'each: case' only"));
    }
    let known = match (first, rest) {
        ("inputs", Some(_)) => true,
        ("params", Some(rest)) => stage.params.contains_key(rest),
        ("scripts", Some(rest)) => stage.scripts.contains_key(rest),
        ("image", Some(number)) => number.parse::<usize>().is_ok(),
        ("output", Some(rest)) => return unknown_output(stage, name, rest),
        ("unfinished", None) => {
            let words = "has no value with 'each: case': finished cases are kept anyway";
            return stage.each.map(|_| format!("'${{{name}}}' {words}"));
        }
        (_, None) => PLAIN.contains(&first),
        _ => false,
    };
    (!known).then(|| no_such_name(stage, name))
}

fn unknown_output(stage: &Command, name: &str, rest: &str) -> Option<String> {
    let (what, number) =
        rest.split_once('.').map_or((rest, None), |(what, rest)| (what, Some(rest)));
    let is_number = number.is_none_or(|number| number.parse::<usize>().is_ok());
    let known = match (what, stage.makes) {
        ("image", Makes::Dataset) => is_number,
        ("label", Makes::Dataset | Makes::Predictions) => number.is_none(),
        _ => false,
    };
    let words = "has a value where a dataset is made, '${output.label}' also for predictions";
    (!known).then(|| format!("'${{{name}}}': ${{output.image}} {words}; write below ${{output}}"))
}

fn no_such_name(stage: &Command, name: &str) -> String {
    let params = stage.params.keys().map(|key| format!("params.{key}"));
    let scripts = stage.scripts.keys().map(|key| format!("scripts.{key}"));
    let known: Vec<String> = params.chain(scripts).chain(PLAIN.map(String::from)).collect();
    let near = name::nearest(name, known.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean '{near}'")).unwrap_or_default();
    let plain = "write $${ for a plain ${";
    format!("'${{{name}}}' is no name that is filled in{near}; {plain}")
}

/// An image by its tag is no mistake of the parameters: a run tells its digest.
fn container(stage: &Command) -> Vec<Mistake> {
    let trouble = stage.container.as_deref().and_then(|text| Image::parse(text).err());
    let is_bare = stage.container.is_none();
    let words = "has a meaning beside 'container' only; remove it";
    let found = [
        trouble.map(|trouble| ("container".into(), trouble)),
        mistake(is_bare && stage.network, "network", words),
        mistake(is_bare && stage.gpu, "gpu", words),
    ];
    found.into_iter().flatten().collect()
}

fn is_no_limit(limit: Option<f64>) -> bool {
    limit.is_some_and(|limit| !limit.is_finite() || limit <= 0.0)
}

fn limits(stage: &Command) -> Vec<Mistake> {
    let words = "must be above 0";
    let found = [
        mistake(is_no_limit(stage.max_hours), "max_hours", words),
        mistake(is_no_limit(stage.max_gib), "max_gib", words),
        mistake(stage.max_processes == 0, "max_processes", words),
        mistake(is_no_limit(Some(stage.max_output_mib)), "max_output_mib", words),
    ];
    found.into_iter().flatten().collect()
}

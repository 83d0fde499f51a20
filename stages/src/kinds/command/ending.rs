//! A program's end in words: a line with the trouble and the way out.

use super::parameters::Command;
use crate::error::{Error, Result};
use crate::program::{Ending, ProgramEnd};

/// An error unless the program ended well.
pub(super) fn check(end: &ProgramEnd, stage: &Command) -> Result<()> {
    let said = end.last_lines.last().map(|line| format!(" (last words: {})", line.trim()));
    let said = said.unwrap_or_default();
    let log = format!("its output is in {}", end.log.display());
    let words = match &in_container(&end.ending, stage) {
        Ending::Exited(0) => return Ok(()),
        Ending::Stopped => return Err(Error::Stopped),
        Ending::NotStarted(reason) => {
            format!("the program cannot be started: {reason}; install it or correct 'run'")
        }
        Ending::Exited(127) if stage.shell.is_some() => {
            format!("the shell does not find a program{said}; install it or correct 'shell'; {log}")
        }
        Ending::Exited(code) => {
            let hint = if stage.container.is_some() { of_engine(*code) } else { "" };
            format!("the program ended with exit code {code}{said}{hint}; {log}")
        }
        Ending::Signalled(9) => format!(
            "the program was killed (SIGKILL){said}; most likely memory ran out: lower its need, \
             or ask for more by 'resources: {{ memory: 32G }}'; {log}"
        ),
        Ending::Signalled(signal) => format!("the program died of signal {signal}{said}; {log}"),
        Ending::LeftBehind(names) => format!(
            "the program ended and left processes behind ({}), which were ended; have it wait for \
             them; {log}",
            counted(names)
        ),
        Ending::TimeLimit => format!(
            "the program was ended after {} h, its 'max_hours'{said}; raise it, or see in its \
             output where it hangs; {log}",
            stage.max_hours.unwrap_or_default()
        ),
        Ending::MemoryLimit => format!(
            "the program took more than {} GiB of memory, its 'max_gib', and was ended; raise it, \
             or lower the need; {log}",
            stage.max_gib.unwrap_or_default()
        ),
        Ending::ProcessLimit => format!(
            "the program ran more than {} processes, its 'max_processes', and was ended; raise it, \
             or see why it forks; {log}",
            stage.max_processes
        ),
        Ending::OutputLimit => format!(
            "the program wrote more than {} MiB of output, its 'max_output_mib', and was ended; \
             have it print less, or raise it; {log}",
            stage.max_output_mib
        ),
    };
    Err(Error::failed(words))
}

/// The ending of a program inside: an engine tells a signal as an exit code, as a shell does.
fn in_container(ending: &Ending, stage: &Command) -> Ending {
    match ending {
        Ending::Exited(code @ 129..=192) if stage.container.is_some() => {
            Ending::Signalled(code - 128)
        }
        ending => ending.clone(),
    }
}

/// Meaning of an exit code that engines have for themselves.
fn of_engine(code: i32) -> &'static str {
    match code {
        125 | 255 => {
            ", the code for a container that cannot be started; 'voxflow doctor' looks at the \
             engines"
        }
        126 => ", the code for a program that the image cannot run; correct 'run'",
        127 => ", the code for a program that is not in the image; correct 'run'",
        _ => "",
    }
}

/// "sleep, 3 python3".
fn counted(names: &[String]) -> String {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let groups = sorted.chunk_by(|a, b| a == b).map(|group| match group {
        [name] => name.clone(),
        _ => format!("{} {}", group.len(), group[0]),
    });
    groups.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::program::Usage;
    use serde_json::{Value, json};

    fn words(ending: Ending) -> String {
        words_with(ending, &json!({ "run": ["x"], "max_hours": 2 }))
    }

    fn words_with(ending: Ending, params: &Value) -> String {
        let kind = Kind::named("command").unwrap();
        let params = kind.understand(params).unwrap();
        let stage: Command = serde_json::from_value(params).unwrap();
        let last_lines = vec!["first".to_string(), "no such case ".to_string()];
        let usage = Usage::default();
        let end = ProgramEnd { ending, usage, last_lines, log: "log.txt".into() };
        check(&end, &stage).map_or_else(|error| error.to_string(), |()| "good".into())
    }

    #[test]
    fn each_end_has_one_line_with_its_way_out() {
        assert_eq!(words(Ending::Exited(0)), "good");
        assert_eq!(
            words(Ending::Exited(3)),
            "the program ended with exit code 3 (last words: no such case); its output is in \
             log.txt"
        );
        let left = ["sleep", "python3", "sleep"].map(String::from).to_vec();
        for (ending, part) in [
            (Ending::Signalled(9), "'resources: { memory: 32G }'"),
            (Ending::Signalled(11), "died of signal 11"),
            (Ending::LeftBehind(left), "(python3, 2 sleep)"),
            (Ending::TimeLimit, "after 2 h, its 'max_hours' (last words: no such case); raise it"),
            (Ending::ProcessLimit, "more than 1000 processes"),
            (Ending::OutputLimit, "more than 64 MiB"),
            (Ending::NotStarted("'x' is not there".into()), "started: 'x' is not there; install"),
        ] {
            let words = words(ending);
            assert!(words.contains(part) && words.lines().count() == 1, "{words}");
        }
    }

    #[test]
    fn codes_of_engines_are_explained_and_signals_inside_are_signals() {
        let inside = json!({ "run": ["x"], "container": "a.sif" });
        for (code, part) in [
            (137, "the program was killed (SIGKILL)"),
            (139, "the program died of signal 11"),
            (125, "exit code 125 (last words: no such case), the code for a container"),
            (127, "a program that is not in the image; correct 'run'; its output"),
            (3, "exit code 3 (last words: no such case); its output"),
        ] {
            let words = words_with(Ending::Exited(code), &inside);
            assert!(words.contains(part), "{words}");
        }
        assert!(words(Ending::Exited(137)).contains("exit code 137 (last words"));
    }
}

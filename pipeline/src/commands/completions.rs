//! `voxflow completions`: shell completion scripts.

use super::answer_data;
use crate::error::{Exit, Result};
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to write for; bash, zsh and fish also complete settings, runs and stages
    pub shell: Shell,
}

/// Asks `voxflow _complete` first; it answers nothing where the script before it knows better.
const BASH: &str = r#"
_voxflow_asked() {
    local found
    mapfile -t found < <(voxflow _complete "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
    if [ ${#found[@]} -gt 0 ]; then
        # A word that is parted at '=' is completed behind it.
        local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
        if [ "$word" = "=" ] || [ "$before" = "=" ]; then
            found=("${found[@]#*=}")
        fi
        COMPREPLY=("${found[@]}")
        case "${COMPREPLY[0]}" in *=|*/*) compopt -o nospace 2>/dev/null ;; esac
    else
        _voxflow "$@"
    fi
}
complete -F _voxflow_asked -o nosort -o bashdefault -o default voxflow
"#;

const ZSH: &str = r#"
_voxflow_asked() {
    local -a found
    found=("${(@f)$(voxflow _complete $((CURRENT - 1)) "${words[@]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -S '' -- "${found[@]}"
    else
        _voxflow "$@"
    fi
}
compdef _voxflow_asked voxflow
"#;

const FISH: &str = r#"
function __voxflow_asked
    set -l before (commandline -opc)
    voxflow _complete (count $before) $before (commandline -ct) 2>/dev/null
end
complete -c voxflow -f -n 'test -n "$(__voxflow_asked)"' -a '(__voxflow_asked)'
"#;

impl CompletionsArgs {
    /// Writes the completion script to stdout.
    pub fn run(&self, mut command: Command) -> Result<Exit> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut command, "voxflow", &mut script);
        let script = String::from_utf8_lossy(&script);
        let asked = match self.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
            _ => "",
        };
        answer_data(&format!("{script}{asked}"))?;
        Ok(Exit::Done)
    }
}

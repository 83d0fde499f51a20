//! The flags that `run`, `plan` and `check` share: which workflow, with what changed, which stages.

use crate::exit::{Error, Result};
use crate::plan::Wishes;
use crate::secret;
use crate::workflow::{MOST_BYTES, Mistake, Override, Workflow, environment, nearest};
use clap::Args;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use voxflow_stages::KINDS;

/// A workflow and what the command line changes in it.
#[derive(Clone, Debug, Args)]
pub struct Source {
    /// The workflow's file
    #[arg(value_name = "WORKFLOW")]
    pub file: PathBuf,
    /// Change a parameter, as model.epochs=10, or the workflow's seed; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// Which stages.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Only these stages; what they need must be in the store
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these stages and all that they need
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub until: Vec<String>,
    /// Make these stages anew, whatever the store has
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub force: Vec<String>,
    /// Reuse what an older version of a kind made, as train=3
    #[arg(long, value_name = "KIND=VERSION", value_delimiter = ',')]
    pub accept_version: Vec<String>,
    /// Read every stored file before it is reused, to find silent damage
    #[arg(long)]
    pub verify: bool,
}

impl Source {
    /// The workflows to run: one, or one for each variant of the sweep, with its overrides.
    pub fn workflows(&self) -> Result<Vec<(Workflow, Vec<Override>)>> {
        let text = self.read()?;
        let overrides = self.overrides()?;
        let base = self.parse(&text, &overrides)?;
        let variants = base.variants();
        if variants.is_empty() {
            return Ok(vec![(base, vec![])]);
        }
        let each = |variant: Vec<Override>| {
            let overrides: Vec<Override> = overrides.iter().chain(&variant).cloned().collect();
            Ok((self.parse(&text, &overrides)?, variant))
        };
        variants.into_iter().map(each).collect()
    }

    fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        let trouble = |error| Error::usage(format!("{}: cannot be read: {error}", self.file.display()));
        let file = File::open(&self.file).map_err(trouble)?;
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(trouble)?;
        Ok(bytes)
    }

    fn overrides(&self) -> Result<Vec<Override>> {
        self.set.iter().map(|words| Override::parse(words).map_err(Error::Usage)).collect()
    }

    fn parse(&self, text: &[u8], overrides: &[Override]) -> Result<Workflow> {
        let file = self.file.display().to_string();
        Workflow::parse(&file, text, overrides, KINDS, &environment::process).map_err(|mistakes| refusal(&mistakes))
    }
}

/// All mistakes as one error.
pub(super) fn refusal(mistakes: &[Mistake]) -> Error {
    let lines: Vec<String> = mistakes.iter().map(|mistake| secret::strip(&mistake.to_string())).collect();
    let head =
        if lines.len() == 1 { String::new() } else { format!("{} mistakes, and nothing was done\n", lines.len()) };
    Error::Usage(format!("{head}{}", lines.join("\n")))
}

impl Selection {
    /// The wishes these flags say.
    pub fn wishes(&self) -> Result<Wishes> {
        let accept = self.accept_version.iter().map(|words| accepted(words)).collect::<Result<BTreeMap<_, _>>>()?;
        Ok(Wishes {
            only: self.only.clone(),
            until: self.until.clone(),
            force: self.force.clone(),
            accept,
            verify: self.verify,
        })
    }
}

fn accepted(words: &str) -> Result<(String, u32)> {
    let form = || Error::usage(format!("--accept-version {words}: write a kind and a version, as train=3"));
    let (kind, version) = words.split_once('=').ok_or_else(form)?;
    let version = version.parse().map_err(|_| form())?;
    if !KINDS.iter().any(|known| known.name == kind) {
        let near = nearest(kind, KINDS.iter().map(|kind| kind.name));
        let near = near.map(|word| format!("; did you mean '{word}'?")).unwrap_or_default();
        return Err(Error::usage(format!("--accept-version {words}: there is no kind '{kind}'{near}")));
    }
    Ok((kind.to_string(), version))
}

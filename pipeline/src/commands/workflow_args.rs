//! Flags shared by commands on workflows: file, overrides, sweep axes, stage selection.

use crate::earlier_runs::HomeRuns;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::secret;
use crate::selection::StageSelection;
use crate::workflow::earlier::EarlierRuns;
use crate::workflow::{
    Diagnostic, MOST_BYTES, Override, ParseContext, Variant, Workflow, environment, nearest,
};
use clap::Args;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use voxflow_stages::KINDS;
use voxflow_stages::dataset::foreign::tilde;

#[derive(Clone, Debug, Args)]
pub struct WorkflowArgs {
    /// Workflow file
    #[arg(value_name = "WORKFLOW")]
    pub file: PathBuf,
    /// Change a parameter, for example model.epochs=10, or the workflow's seed; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct AxesArgs {
    /// Try each value, for example model.learning_rate=0.001,0.002; if repeated, all combinations.
    /// Paths that change together: model.epochs,model.ema=[20,0.9],[40,0.99]
    #[arg(long, value_name = "PATH=VALUES")]
    pub over: Vec<String>,
    /// Cross-validation: split the cases outside testing into K folds and validate each variant on
    /// every fold
    #[arg(long, value_name = "K")]
    pub folds: Option<u64>,
    /// Train each variant with every seed, for example 0,1,2
    #[arg(long, value_name = "SEEDS", value_delimiter = ',')]
    pub seeds: Vec<u64>,
}

impl AxesArgs {
    /// Equivalent overrides, as if written in the file.
    pub fn overrides(&self) -> Result<Vec<Override>> {
        let over = self.over.iter().map(|words| Override::over(words).map_err(Error::Usage));
        let mut axes = over.collect::<Result<Vec<_>>>()?;
        axes.extend(
            self.folds
                .map(|count| Override::axis("folds", count.into(), format!("--folds {count}"))),
        );
        if !self.seeds.is_empty() {
            let words: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
            let flag = format!("--seeds {}", words.join(","));
            axes.push(Override::axis("seeds", self.seeds.clone().into(), flag));
        }
        Ok(axes)
    }
}

#[derive(Clone, Debug, Default, Args)]
pub struct SelectionArgs {
    /// Only these stages; their needs must be in the store
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these stages and everything they need
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub until: Vec<String>,
    /// Make these stages again, ignoring the store
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub force: Vec<String>,
    /// Reuse artifacts from an older version of a kind, for example train=3
    #[arg(long, value_name = "KIND=VERSION", value_delimiter = ',')]
    pub accept_version: Vec<String>,
    /// Read every stored file before reuse, to find silent damage
    #[arg(long)]
    pub verify: bool,
}

impl WorkflowArgs {
    /// Workflows to run: one, or one per variant in the sweep given by file and `axes`. The runs
    /// of the home are those that its needs may name.
    pub fn workflows(
        &self,
        home: &Home,
        axes: &[Override],
    ) -> Result<Vec<(Workflow, Option<Variant>)>> {
        self.workflows_among(&HomeRuns::new(home), axes)
    }

    /// Like [`WorkflowArgs::workflows`], with the runs that its needs may name.
    pub fn workflows_among(
        &self,
        runs: &dyn EarlierRuns,
        axes: &[Override],
    ) -> Result<Vec<(Workflow, Option<Variant>)>> {
        let text = self.read()?;
        let overrides = self.overrides()?;
        let base = self.parse(&text, &[&overrides, axes].concat(), runs)?;
        let variants = base.variants();
        if variants.is_empty() {
            return Ok(vec![(base, None)]);
        }
        variants
            .into_iter()
            .map(|variant| {
                let overrides = [&overrides[..], &variant.overrides].concat();
                Ok((self.parse(&text, &overrides, runs)?, Some(variant)))
            })
            .collect()
    }

    fn read(&self) -> Result<Vec<u8>> {
        read(&self.file).map_err(|error| Error::usage(unreadable(&self.file, &error)))
    }

    fn overrides(&self) -> Result<Vec<Override>> {
        self.set.iter().map(|words| Override::parse(words).map_err(Error::Usage)).collect()
    }

    fn parse(
        &self,
        text: &[u8],
        overrides: &[Override],
        runs: &dyn EarlierRuns,
    ) -> Result<Workflow> {
        let file = self.file.display().to_string();
        let environment = &environment::process;
        let around = ParseContext { kinds: KINDS, environment, runs, files: &read };
        Workflow::read(&file, text, overrides, around).map_err(|mistakes| refusal(&mistakes))
    }
}

/// A workflow's bytes; of too many, enough to be told so.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(file)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Message for an unreadable file, suggesting a similar name.
fn unreadable(file: &Path, error: &io::Error) -> String {
    let shown = file.display();
    if file.is_dir() {
        return format!(
            "{shown}: is a folder; name the file of a workflow ('voxflow new {shown}' writes one, \
             'voxflow check --data {shown}' reads the images and labels in it)"
        );
    }
    if error.kind() != io::ErrorKind::NotFound {
        return format!("{shown}: cannot be read: {error}");
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    let stem = file.file_stem().unwrap_or_default();
    let same = names.iter().find(|name| Path::new(name).file_stem() == Some(stem)).cloned();
    let wanted = file.file_name().unwrap_or_default().to_string_lossy();
    let near = same.or_else(|| nearest(&wanted, names.iter().map(String::as_str)));
    let near = near.map(|near| folder.map_or(near.clone().into(), |folder| folder.join(&near)));
    let near = near.map(|near| format!("; did you mean '{}'?", near.display()));
    format!("{shown}: there is no such file{}{}", tilde(file), near.unwrap_or_default())
}

/// All mistakes as one error.
pub(super) fn refusal(mistakes: &[Diagnostic]) -> Error {
    let lines: Vec<String> =
        mistakes.iter().map(|mistake| secret::strip(&mistake.to_string())).collect();
    let head = if lines.len() == 1 {
        String::new()
    } else {
        format!("{} mistakes, and nothing was done\n", lines.len())
    };
    Error::Usage(format!("{head}{}", lines.join("\n")))
}

impl SelectionArgs {
    /// Parses the flags.
    pub fn wishes(&self) -> Result<StageSelection> {
        let accept = self
            .accept_version
            .iter()
            .map(|words| accepted(words))
            .collect::<Result<BTreeMap<_, _>>>()?;
        Ok(StageSelection {
            only: self.only.clone(),
            until: self.until.clone(),
            force: self.force.clone(),
            accept,
            verify: self.verify,
            untested: false,
        })
    }
}

fn accepted(words: &str) -> Result<(String, u32)> {
    let parsed = words.split_once('=').and_then(|(kind, at)| Some((kind, at.parse().ok()?)));
    let (kind, version) = parsed.ok_or_else(|| {
        Error::usage(format!("--accept-version {words}: write a kind and a version, as train=3"))
    })?;
    if !KINDS.iter().any(|known| known.name == kind) {
        let near = nearest(kind, KINDS.iter().map(|kind| kind.name));
        let near = near.map(|word| format!("; did you mean '{word}'?")).unwrap_or_default();
        return Err(Error::usage(format!(
            "--accept-version {words}: there is no kind '{kind}'{near}"
        )));
    }
    Ok((kind.to_string(), version))
}

//! Files a stage reads from its inputs: its roles' parts, or fewer if its kind narrows them by
//! looking into small input files. Only these enter the recipe, must be present, and can be opened.

use crate::error::{Error, Result};
use crate::workflow::StageSpec;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_cache::{Artifact, Digest, Store};
use voxflow_stages::stage::{Count, Read};
use voxflow_stages::{Error as StageError, Input, InputFile};

/// Access to artifacts by stage id.
#[derive(Clone, Copy)]
pub struct MadeArtifacts<'a> {
    /// Artifact by stage id, if known.
    pub artifact: &'a dyn Fn(&str) -> Option<&'a Artifact>,
    pub store: &'a Store,
}

/// Files read from an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamesRead {
    /// Everything below these parts.
    Parts(&'static [&'static str]),
    /// Exactly these files.
    Files(BTreeSet<String>),
}

impl NamesRead {
    /// Names read for a role. Errors if the deciding file is unreadable.
    pub fn of(made: MadeArtifacts, stage: &StageSpec, read: &Read) -> Result<NamesRead> {
        if !stage.kind.narrowed.contains(&read.role) {
            return Ok(NamesRead::Parts(read.parts));
        }
        let names = stage.kind.names_read(read.role, &|role, name| peek(made, stage, role, name));
        names.map(NamesRead::Files).map_err(|error| {
            Error::Failed(format!("what '{}' reads is not known: {error}", stage.id))
        })
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            NamesRead::Parts(parts) => parts.iter().any(|part| within(name, part)),
            NamesRead::Files(names) => names.contains(name),
        }
    }

    /// Digest over the artifact's selected files.
    pub fn digest(&self, artifact: &Artifact) -> Digest {
        match self {
            NamesRead::Parts(parts) => artifact.digest_of(parts),
            NamesRead::Files(names) => {
                let read = artifact.0.iter().filter(|(name, _)| names.contains(*name));
                Artifact(read.map(|(name, blob)| (name.clone(), blob.clone())).collect()).digest()
            }
        }
    }
}

/// Names a stage reads from `id`'s artifact across all roles; whole parts if undecidable.
pub fn all_of(made: MadeArtifacts, stage: &StageSpec, id: &str) -> Vec<NamesRead> {
    let names =
        |read: &Read| NamesRead::of(made, stage, read).unwrap_or(NamesRead::Parts(read.parts));
    stage
        .reads
        .iter()
        .filter(|read| {
            stage.needs.get(read.role).is_some_and(|ids| ids.iter().any(|other| other == id))
        })
        .map(names)
        .collect()
}

/// Input files by role.
pub fn inputs(made: MadeArtifacts, stage: &StageSpec) -> BTreeMap<String, Vec<Input>> {
    let mut inputs = BTreeMap::new();
    for read in &stage.reads {
        let Some(ids) = stage.needs.get(read.role) else { continue };
        let names = NamesRead::of(made, stage, read).unwrap_or(NamesRead::Parts(read.parts));
        let of_role = ids.iter().map(|id| input(made, id, &names)).collect();
        inputs.insert(read.role.to_string(), of_role);
    }
    inputs
}

fn input(made: MadeArtifacts, stage: &str, names: &NamesRead) -> Input {
    let mut files = BTreeMap::new();
    for (name, blob) in (made.artifact)(stage).iter().flat_map(|artifact| &artifact.0) {
        if names.has(name) {
            let path = made.store.path(blob);
            files.insert(name.clone(), InputFile { path, blob: blob.clone() });
        }
    }
    Input { stage: stage.to_string(), files }
}

/// Stage to be made again because its artifact lacks the file deciding about `stage`'s reads.
pub fn lost(made: MadeArtifacts, stage: &StageSpec) -> Option<String> {
    let lost = std::cell::RefCell::new(None);
    let peek = |role: &str, name: &str| {
        peek(made, stage, role, name).inspect_err(|_| {
            *lost.borrow_mut() = stage.needs.get(role).and_then(|ids| ids.first()).cloned();
        })
    };
    let narrowed = stage.kind.narrowed.iter();
    narrowed.for_each(|role| drop(stage.kind.names_read(role, &peek)));
    lost.into_inner()
}

/// Recipe name for an input: the role, numbered for roles with several inputs.
pub fn input_name(read: &Read, number: usize) -> String {
    if read.count == Count::Many {
        format!("{}.{number}", read.role)
    } else {
        read.role.to_string()
    }
}

/// File content from a role's first artifact, checked against its digest.
fn peek(
    made: MadeArtifacts,
    stage: &StageSpec,
    role: &str,
    name: &str,
) -> Result<Vec<u8>, StageError> {
    let id = stage.needs.get(role).and_then(|ids| ids.first());
    let blob = id.and_then(|id| (made.artifact)(id)).and_then(|artifact| artifact.get(name));
    let blob = blob.ok_or_else(|| StageError::failed(format!("no file '{name}'")))?;
    let path = made.store.path(blob);
    let bytes = std::fs::read(&path).map_err(StageError::io("read", &path))?;
    if Digest::of(&bytes) == blob.digest {
        return Ok(bytes);
    }
    Err(StageError::failed(format!("'{name}' is damaged; 'run --verify' makes it again")))
}

/// True if an artifact's file lies in a part.
fn within(name: &str, part: &str) -> bool {
    part.is_empty() || name == part || (part.ends_with('/') && name.starts_with(part))
}

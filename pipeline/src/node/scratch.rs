//! Copies of a training's inputs on the node's own disk, read again and again in each epoch.

use super::host::NodeHost;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::{Digest, disk};
use voxflow_stages::stage::Pool;
use voxflow_stages::{Error, Host, Input, InputFile, Kind, Message, Result, Task};

/// A folder of copies, removed with this.
pub(super) struct ScratchFolder {
    folder: PathBuf,
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        disk::remove(&self.folder).ok();
    }
}

impl ScratchFolder {
    /// Copies the inputs of a GPU kind from the store into a new folder below `place`, checks their
    /// digests, and has the task read the copies. If they cannot be copied (no folder, no space)
    /// the task goes on with the store.
    ///
    /// # Errors
    /// Bytes with other digests than the recipe; a stop.
    pub(super) fn fill(
        place: &str,
        kind: &Kind,
        task: &mut Task,
        host: &NodeHost,
    ) -> Result<Option<ScratchFolder>> {
        if kind.pool != Pool::Gpu {
            return Ok(None);
        }
        let Some(place) = expanded(place) else {
            host.tell(words(format!("scratch '{place}': its variable is not set on the node")));
            return Ok(None);
        };
        let scratch = ScratchFolder { folder: place.join(format!("voxflow-{}", disk::unique())) };
        match scratch.copies(&task.inputs, host) {
            Ok(inputs) => {
                task.inputs = inputs;
                Ok(Some(scratch))
            }
            Err(error @ (Error::Stopped | Error::Failed(_))) => Err(error),
            Err(error) => {
                host.tell(words(format!("no copy in scratch, the store is read: {error}")));
                Ok(None)
            }
        }
    }

    fn copies(
        &self,
        inputs: &BTreeMap<String, Vec<Input>>,
        host: &NodeHost,
    ) -> Result<BTreeMap<String, Vec<Input>>> {
        disk::create_folders(&self.folder)?;
        let mut copies = inputs.clone();
        for file in copies.values_mut().flatten().flat_map(|input| input.files.values_mut()) {
            if host.stopping() {
                return Err(Error::Stopped);
            }
            if file.blob.reference.is_none() {
                file.path = self.copy(file)?;
            }
        }
        Ok(copies)
    }

    fn copy(&self, file: &InputFile) -> Result<PathBuf> {
        let path = self.folder.join(file.blob.digest.to_hex());
        if path.exists() {
            return Ok(path);
        }
        disk::copy(&file.path, &path)?;
        if Digest::of_file(&path)? == file.blob.digest {
            return Ok(path);
        }
        Err(Error::failed(format!(
            "{}: its copy in {} has other bytes than the store's index names; 'voxflow cache \
             verify' says whether the store is damaged",
            file.path.display(),
            self.folder.display()
        )))
    }
}

/// A path whose first part may be a variable of the node: `$TMPDIR/voxflow`.
fn expanded(place: &str) -> Option<PathBuf> {
    let Some(variable) = place.strip_prefix('$') else { return Some(PathBuf::from(place)) };
    let (name, rest) = variable.split_once('/').unwrap_or((variable, ""));
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(Path::new(&value).join(rest))
}

fn words(words: String) -> Message {
    Message::Info { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_that_of_the_node() {
        assert_eq!(expanded("/local"), Some(PathBuf::from("/local")));
        let home = std::env::var("HOME").unwrap();
        assert_eq!(expanded("$HOME/x"), Some(Path::new(&home).join("x")));
        assert_eq!(expanded("$VOXFLOW_IS_NOT_SET/x"), None);
    }
}

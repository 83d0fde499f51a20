//! The layouts behind a `dataset.json`, and their detection.

use crate::dataset::fields::Said;
use crate::dataset::notes::Notes;
use crate::dataset::tree::Tree;
use crate::dataset::{Listing, decathlon, name, nnunet};
use crate::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Layout of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// By what is there.
    #[default]
    Auto,
    /// `dataset.json` that lists `training` and `test`, as in the Medical Segmentation Decathlon
    /// and in MONAI's datalists.
    Decathlon,
    /// `dataset.json` with `channel_names`, files with `_0000` channels or under `dataset`, as
    /// nnU-Net wants it.
    Nnunet,
    /// Image and label files found by patterns.
    Patterns,
}

/// The listing of a `dataset.json` in `folder`.
pub fn read(
    text: &[u8],
    folder: &Path,
    layout: Layout,
    said: &Said,
    notes: &mut Notes,
) -> Result<Listing> {
    let nnunet = match layout {
        Layout::Auto => nnunet::is_nnunet(text, folder),
        layout => layout == Layout::Nnunet,
    };
    match nnunet {
        true => nnunet::read(text, folder, said, notes),
        false => decathlon::read(text, folder, said, notes),
    }
}

/// Tells unlisted image files beside the listed ones.
pub fn tell_beside(listing: &Listing, folder: &Path, notes: &mut Notes) -> Result<()> {
    let listed: BTreeSet<String> = listing.files().collect();
    let folders: BTreeSet<&str> =
        listed.iter().map(|file| file.rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
    let tree = Tree::of_folders(folder, folders)?;
    let beside: Vec<&str> = tree.images().filter(|file| !listed.contains(*file)).collect();
    if !beside.is_empty() {
        let (count, names) = (beside.len(), name::shown(&beside));
        notes.info(format!("{count} image files that are not listed are left out: {names}"));
    }
    Ok(())
}

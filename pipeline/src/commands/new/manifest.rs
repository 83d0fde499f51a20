//! Data listed in a manifest: a CSV or TSV table of cases.

use super::draft::Data;
use super::look::{first_listing, understood};
use crate::commands::folder_scan::survey;
use crate::commands::tell;
use crate::error::{Error, Result};
use crate::humanize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::manifest::{ManifestColumns, columns, is_manifest};
use voxflow_stages::dataset::{Listing, name};

/// True for a file named as a table.
pub(super) fn is_table(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ending == "csv" || ending == "tsv") && path.is_file()
}

/// The only table in a folder that lists images with labels.
pub(super) fn in_folder(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut tables: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    tables.retain(|path| is_table(path) && is_manifest(path));
    tables.sort();
    match &tables[..] {
        [] => Ok(None),
        [table] => Ok(Some(table.clone())),
        [table, other, ..] => Err(Error::usage(format!(
            "'{}': holds {} tables of images and labels: name one of them, as '{}' or '{}'",
            folder.display(),
            tables.len(),
            table.display(),
            other.display()
        ))),
    }
}

/// Looks at the cases of a manifest. Its paths lie in its own folder, else in the current one.
pub(super) fn look(file: &Path) -> Result<Data> {
    let columns = columns(file)?;
    let channels = match columns.channels() {
        names if names.is_empty() => vec!["image".to_string()],
        names => names,
    };
    let own = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let own = own.unwrap_or(Path::new("."));
    let (folder, listing) = match first_listing(&written(own, file), &channels) {
        Ok(listing) => (own, listing),
        Err(error) => match first_listing(&written(Path::new("."), file), &channels) {
            Ok(listing) => (Path::new("."), listing),
            Err(_) => return Err(error),
        },
    };
    shown(folder, file, &columns, &listing)?;
    understood(folder, written(folder, file), listing, &channels, None)
}

/// The parameters of the kind `folder`.
fn written(folder: &Path, file: &Path) -> Vec<(String, Value)> {
    vec![("path".into(), json!(folder)), ("manifest".into(), json!(file))]
}

/// The columns that are used, and the image files that no row names.
fn shown(folder: &Path, file: &Path, columns: &ManifestColumns, listing: &Listing) -> Result<()> {
    let facts = [
        ("image", Some(columns.images.len())),
        ("label", columns.label.map(|_| 1)),
        ("case", columns.case.map(|_| 1)),
        ("patient", columns.patient.map(|_| 1)),
        ("fold", columns.fold.map(|_| 1)),
    ];
    let used = facts.iter().filter_map(|(name, count)| Some((name, (*count)?)));
    let used: Vec<String> = used
        .map(
            |(name, count)| if count > 1 { format!("{count} of {name}") } else { name.to_string() },
        )
        .collect();
    tell(&format!("manifest: {} (columns: {})", file.display(), used.join(", ")));
    if !columns.others.is_empty() {
        tell(&format!("not used: columns {}", columns.others.join(", ")));
    }
    let named: BTreeSet<String> = listing.files().collect();
    let images = survey(folder)?.images;
    let beside: Vec<&str> = images
        .iter()
        .map(|image| image.path.as_str())
        .filter(|path| !named.contains(*path))
        .collect();
    if !beside.is_empty() {
        let count = humanize::count(beside.len() as u64, "file");
        tell(&format!("not used: {count} (in no row): {}", name::few(&beside, 3)));
    }
    Ok(())
}

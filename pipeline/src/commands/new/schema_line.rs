//! The comment by which editors find the JSON schema of workflows. The schema lies in the home and
//! is written anew each time, always for this program.

use crate::error::Result;
use crate::home::Home;
use crate::reference;
use crate::text_table::pretty;
use std::path::{Component, Path, PathBuf};
use voxflow_cache::disk;
use voxflow_stages::{KINDS, Kind};

const SCHEMA: &str = "workflow.schema.json";

/// The text with the comment on top (of yaml-language-server, which VS Code's YAML extension and
/// others use). The text alone if the home cannot be written, or the path has spaces.
pub fn with_schema(text: &str, file: &Path, home: &Home) -> String {
    let path = schema(home).ok().and_then(|schema| relative(file, &schema));
    match path.map(|path| path.display().to_string()).filter(|path| !path.contains(' ')) {
        Some(path) => format!("# yaml-language-server: $schema={path}\n{text}"),
        None => text.to_string(),
    }
}

/// Writes the schema into the home.
fn schema(home: &Home) -> Result<PathBuf> {
    home.create()?;
    let path = home.root().join(SCHEMA);
    let kinds: Vec<&Kind> = KINDS.iter().collect();
    disk::replace(&path, pretty(&reference::schema(&kinds)).as_bytes())?;
    Ok(path)
}

/// The way from a file's folder to another file.
fn relative(file: &Path, to: &Path) -> Option<PathBuf> {
    let (file, to) = (std::path::absolute(file).ok()?, std::path::absolute(to).ok()?);
    let from: Vec<Component> = file.parent()?.components().collect();
    let to: Vec<Component> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    Some(up.chain(to[shared..].iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_named_by_the_way_from_the_workflow() {
        for (file, to, way) in [
            ("/a/w.yaml", "/a/.voxflow/s.json", ".voxflow/s.json"),
            ("/a/b/w.yaml", "/a/.voxflow/s.json", "../.voxflow/s.json"),
            ("/a/b/w.yaml", "/c/s.json", "../../c/s.json"),
        ] {
            assert_eq!(relative(Path::new(file), Path::new(to)), Some(way.into()), "{file} {to}");
        }
    }

    #[test]
    fn an_editor_finds_a_schema_that_knows_the_workflow() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(&folder.path().join("home"), None);
        let file = folder.path().join("w.yaml");
        let text = with_schema("name: x\n", &file, &home);
        let path =
            text.lines().next().and_then(|line| line.split_once("$schema=")).expect("a line").1;
        let schema = std::fs::read(folder.path().join(path)).expect("a schema");
        let schema: serde_json::Value = serde_json::from_slice(&schema).expect("JSON");
        assert_eq!(schema["title"], "voxflow workflow");
        assert!(text.ends_with("\nname: x\n"), "{text}");
    }
}

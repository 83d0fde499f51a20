//! Required files of artifacts and items.

use super::Kind;
use crate::error::{Error, Result};
use crate::stage::Items;
use serde_json::Value;
use std::path::Path;
use voxflow_cache::Recipe;

impl Kind {
    /// An error if files that its artifact must hold with these parameters are not among `names`.
    pub fn check_artifact<'n>(
        &self,
        params: &Value,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<()> {
        match missing(self.holds_with(params), names) {
            None => Ok(()),
            Some(file) => {
                let name = self.name;
                let words = format!("kind '{name}' ended without its file{file}; nothing is kept");
                Err(Error::failed(words))
            }
        }
    }

    /// Errors if an item's folder lacks required files.
    pub fn check_item(&self, recipe: &Recipe, folder: &Path) -> Result<()> {
        let what = recipe.kind.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('/'));
        let items = self.items.iter().find(|items| Some(items.what) == what);
        let holds = items.map_or(&[""][..], |items: &Items| items.holds);
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        let names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        match missing(holds, names.iter().map(String::as_str)) {
            None => Ok(()),
            Some(file) => {
                let kind = &recipe.kind;
                Err(Error::failed(format!("'{kind}' was made without its file{file}")))
            }
        }
    }
}

fn fits(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None if wanted.is_empty() => true,
        None if wanted.ends_with('/') => name.starts_with(wanted),
        None => name == wanted,
    }
}

/// The first missing file, for a sentence: " 'model.json'".
fn missing<'n>(
    wanted: &[&'static str],
    names: impl Iterator<Item = &'n str> + Clone,
) -> Option<String> {
    let missing = wanted.iter().find(|wanted| !names.clone().any(|name| fits(wanted, name)))?;
    Some(if missing.is_empty() { "s".to_string() } else { format!(" '{missing}'") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    #[test]
    fn an_artifact_without_a_file_of_its_type_is_refused_by_the_files_name() {
        let train = Kind::named("train").unwrap();
        let check = |names: &[&str]| train.check_artifact(&Value::Null, names.iter().copied());
        check(&["best.safetensors", "last.safetensors", "model.json"]).unwrap();
        let error = check(&["model.json", "last.safetensors"]).unwrap_err().to_string();
        assert!(
            error.contains("kind 'train' ended without its file 'best.safetensors'"),
            "{error}"
        );
        let none = KINDS
            .iter()
            .filter(|kind| kind.check_artifact(&Value::Null, std::iter::empty()).is_ok());
        assert_eq!(none.count(), 0, "every kind makes something");
        let test = Kind::named("test").unwrap();
        test.check_artifact(&Value::Null, ["scores.json"].into_iter()).unwrap_err();
        let export = Kind::named("export").unwrap();
        export.check_artifact(&Value::Null, ["model.ts"].into_iter()).unwrap();
        let predict = Kind::named("predict").unwrap();
        predict
            .check_artifact(&Value::Null, ["predictions.json", "predictions/a.nii"].into_iter())
            .unwrap();
        predict.check_artifact(&Value::Null, ["predictions.json"].into_iter()).unwrap_err();
    }

    #[test]
    fn an_item_without_its_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = |kind: &str| Recipe {
            kind: kind.into(),
            version: 1,
            params: serde_json::Value::Null,
            inputs: Default::default(),
        };
        let predict = Kind::named("predict").unwrap();
        let check = |kind: &str| predict.check_item(&recipe(kind), folder.path());
        assert!(check("predict/image").unwrap_err().to_string().contains("'labels.nii*'"));
        check("predict/new").unwrap_err();
        std::fs::write(folder.path().join("labels.nii.gz"), "x").unwrap();
        assert!(check("predict/image").unwrap_err().to_string().contains("'facts.json'"));
        check("predict/new").unwrap();
        std::fs::write(folder.path().join("facts.json"), "x").unwrap();
        check("predict/image").unwrap();
    }
}

//! Images on this machine: looked up, fetched, and their digests told.

use super::engine::{ContainerEngine, EngineFamily, PATIENCE, installed};
use std::env;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;
use voxflow_stages::container::Image;
use voxflow_stages::{Error, Result};

/// Repository digests, a line each, and then the id.
const NAMES: &str = "{{range .RepoDigests}}{{println .}}{{end}}{{.Id}}";
/// The registry of names without a registry.
const USUAL_REGISTRY: &str = "docker.io";

/// An image to be fetched.
pub struct ImageFetch {
    /// The command line.
    pub words: Vec<String>,
    /// The file while it is written, and its final place.
    moved: Option<(PathBuf, PathBuf)>,
}

impl ImageFetch {
    /// Puts the image into its place.
    pub fn settle(&self) -> Result<()> {
        match &self.moved {
            Some((written, place)) => Ok(disk::rename(written, place)?),
            None => Ok(()),
        }
    }
}

/// The image as the engine's command line names it.
pub fn reference(engine: &ContainerEngine, image: &Image) -> Result<String> {
    Ok(match (image, engine.family) {
        (Image::File(path), _) => {
            let path = std::path::absolute(path).map_err(Error::io("find", path))?;
            path.display().to_string()
        }
        (Image::Own { id }, _) => id.clone(),
        (Image::Registry { digest, .. }, EngineFamily::Apptainer) => {
            file_of(digest)?.display().to_string()
        }
        (Image::Registry { name, digest }, EngineFamily::Podman) => {
            format!("{}@{digest}", with_registry(name))
        }
        (Image::Registry { name, digest }, EngineFamily::Docker) => format!("{name}@{digest}"),
        (Image::Tagged(name), _) => {
            return Err(Error::failed(format!("image '{name}' has no digest; write it")));
        }
    })
}

/// The way to an image that is not on this machine; `None` if it is.
pub fn fetch(engine: &ContainerEngine, image: &Image) -> Result<Option<ImageFetch>> {
    let reference = reference(engine, image)?;
    let program = engine.program.display().to_string();
    match (image, engine.family) {
        (Image::Registry { name, digest }, EngineFamily::Apptainer) => {
            let place = PathBuf::from(&reference);
            if place.exists() {
                return Ok(None);
            }
            disk::create_folders(place.parent().unwrap_or(Path::new(".")))?;
            let written = place.with_extension(format!("{}.part", std::process::id()));
            let source = format!("docker://{}@{digest}", with_registry(name));
            let file = written.display().to_string();
            let words = [program.as_str(), "pull", "--force", &file, &source];
            let words = words.map(String::from).into();
            Ok(Some(ImageFetch { words, moved: Some((written, place)) }))
        }
        (_, EngineFamily::Apptainer) => Ok(None),
        _ => {
            let words = ["image", "inspect", "--format", "{{.Id}}", &reference];
            match (engine.ask(&words, PATIENCE), image) {
                (Ok(_), _) => Ok(None),
                (Err(trouble), Image::Own { id }) => Err(Error::failed(format!(
                    "image '{id}' is not on this machine ({trouble}); load it with '{} load', or \
                     name one of a registry",
                    engine.name
                ))),
                (Err(_), _) => {
                    let words = [program.as_str(), "pull", &reference].map(String::from).into();
                    Ok(Some(ImageFetch { words, moved: None }))
                }
            }
        }
    }
}

/// An image on this machine with this tag, by its digest: "docker://python@sha256:…".
pub fn digest_now(name: &str) -> Option<String> {
    let engines = installed().into_iter().filter(|engine| engine.family != EngineFamily::Apptainer);
    let mut told = engines.filter_map(|engine| {
        let said = engine.ask(&["image", "inspect", "--format", NAMES, name], PATIENCE).ok()?;
        named_in(&said)
    });
    told.next()
}

fn named_in(said: &str) -> Option<String> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    Some(match first.contains('@') {
        true => format!("docker://{first}"),
        false => format!("docker://sha256:{}", first.trim_start_matches("sha256:")),
    })
}

/// The file in which Apptainer has an image of a registry.
fn file_of(digest: &str) -> Result<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    let cache = named
        .map(PathBuf::from)
        .or_else(usual_cache)
        .ok_or_else(|| Error::failed("there is no place for images: set HOME or XDG_CACHE_HOME"))?;
    let hex = digest.trim_start_matches("sha256:");
    Ok(cache.join("voxflow/images").join(format!("{hex}.sif")))
}

fn usual_cache() -> Option<PathBuf> {
    env::var_os("HOME").map(|home| Path::new(&home).join(".cache"))
}

/// The name with its registry, as Docker completes it.
fn with_registry(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_string(),
        Some(_) => format!("{USUAL_REGISTRY}/{name}"),
        None => format!("{USUAL_REGISTRY}/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gets_the_registry_that_docker_means() {
        for (name, wanted) in [
            ("python", "docker.io/library/python"),
            ("lab/tools", "docker.io/lab/tools"),
            ("ghcr.io/lab/tools", "ghcr.io/lab/tools"),
            ("localhost:5000/tools", "localhost:5000/tools"),
            ("localhost/tools", "localhost/tools"),
        ] {
            assert_eq!(with_registry(name), wanted);
        }
    }

    #[test]
    fn a_digest_is_told_by_the_repository_or_else_by_the_id() {
        let pulled = "python@sha256:ab\n\nsha256:cd";
        assert_eq!(named_in(pulled).as_deref(), Some("docker://python@sha256:ab"));
        for own in ["sha256:cd", "cd"] {
            assert_eq!(named_in(own).as_deref(), Some("docker://sha256:cd"));
        }
        assert_eq!(named_in(""), None);
    }
}

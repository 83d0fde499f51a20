//! Containers around programs: an image by its content, and the mounts. The engine that runs one is
//! the host's.

use std::path::PathBuf;

/// A container. Paths inside it are those outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its image.
    pub image: Image,
    /// Folders and files that it sees; a folder stands before those below it.
    pub mounts: Vec<Mount>,
    /// True if it may use the network.
    pub network: bool,
    /// True if it sees the graphics cards.
    pub gpu: bool,
}

/// A folder or file that a container sees under its own absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path, inside and outside.
    pub path: PathBuf,
    /// True if it may be written.
    pub is_writable: bool,
}

/// An image as a workflow names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// One of a registry, by the digest of its manifest.
    Registry {
        /// The name without tag: "python", "ghcr.io/lab/tools".
        name: String,
        /// "sha256:" and 64 hexadecimal digits.
        digest: String,
    },
    /// One that an engine on this machine has, by its id.
    Own {
        /// "sha256:" and 64 hexadecimal digits.
        id: String,
    },
    /// A file of Apptainer's.
    File(PathBuf),
    /// One by its tag, which may be another image tomorrow.
    Tagged(String),
}

const REGISTRY: &str = "docker://";
const SHA256: &str = "sha256:";

impl Image {
    /// Reads `docker://NAME@sha256:DIGEST`, `docker://sha256:ID`, `docker://NAME:TAG` or the path
    /// of a `.sif`.
    ///
    /// # Errors
    /// The trouble with any other text, and the way out.
    pub fn parse(text: &str) -> Result<Image, String> {
        let Some(named) = text.strip_prefix(REGISTRY) else { return file(text) };
        let (name, digest) = match named.split_once('@') {
            Some((name, digest)) => (Some(name), Some(digest)),
            None if named.starts_with(SHA256) => (None, Some(named)),
            None => (Some(named), None),
        };
        if let Some(name) = name.filter(|name| !is_name(name)) {
            return Err(format!("'{name}' is no name of an image; {FORMS}"));
        }
        if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
            return Err(format!(
                "'{digest}' is no digest; it is 'sha256:' and 64 of the digits 0-9 and a-f"
            ));
        }
        let name = name.map(String::from);
        Ok(match (name, digest.map(String::from)) {
            (Some(name), None) => Image::Tagged(name),
            (Some(name), Some(digest)) => {
                Image::Registry { name: without_tag(&name).into(), digest }
            }
            (None, id) => Image::Own { id: id.unwrap_or_default() },
        })
    }

    /// The digest that a recipe has; a file's content is there by itself.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Image::Registry { digest, .. } => Some(digest),
            Image::Own { id } => Some(id),
            Image::File(_) | Image::Tagged(_) => None,
        }
    }
}

const FORMS: &str = "write docker://NAME@sha256:DIGEST, or the path of an Apptainer file (.sif)";

fn file(text: &str) -> Result<Image, String> {
    match text.split_once("://") {
        Some((scheme, _)) => Err(format!("'{scheme}://' is not understood; {FORMS}")),
        None if text.to_ascii_lowercase().ends_with(".sif") => Ok(Image::File(text.into())),
        None => Err(format!("'{text}' is no image; {FORMS}")),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.chars().all(is_of_name)
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._-/:".contains(letter)
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix(SHA256).is_some_and(|hex| hex.len() == 64 && hex.chars().all(is_digit))
}

fn is_digit(letter: char) -> bool {
    matches!(letter, '0'..='9' | 'a'..='f')
}

/// The name without ":TAG"; a colon before a slash is a registry's port.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "0a".repeat(32))
    }

    #[test]
    fn an_image_is_named_by_its_digest_its_id_or_its_file() {
        let digest = digest();
        for (text, wanted) in [
            ("python", "python"),
            ("python:3.12-slim", "python"),
            ("localhost:5000/lab/tools", "localhost:5000/lab/tools"),
            ("localhost:5000/lab/tools:1", "localhost:5000/lab/tools"),
        ] {
            let image = Image::parse(&format!("docker://{text}@{digest}")).unwrap();
            let wanted = Image::Registry { name: wanted.into(), digest: digest.clone() };
            assert_eq!((image.digest(), &image), (Some(digest.as_str()), &wanted));
        }
        let own = Image::parse(&format!("docker://{digest}")).unwrap();
        assert_eq!(own, Image::Own { id: digest });
        assert_eq!(Image::parse("a/tools.sif"), Ok(Image::File("a/tools.sif".into())));
        assert_eq!(Image::parse("docker://python:3.12"), Ok(Image::Tagged("python:3.12".into())));
    }

    #[test]
    fn any_other_text_is_refused_with_the_forms_that_are_taken() {
        for (text, words) in [
            ("python:3.12", "'python:3.12' is no image; write docker://NAME@sha256:DIGEST"),
            ("library://a/b", "'library://' is not understood; write docker://"),
            ("docker://--privileged", "'--privileged' is no name"),
            ("docker://", "'' is no name"),
            ("docker://a b", "'a b' is no name"),
            ("docker://python@sha256:12", "'sha256:12' is no digest; it is 'sha256:' and 64"),
            ("docker://sha256:12", "'sha256:12' is no digest"),
        ] {
            let error = Image::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

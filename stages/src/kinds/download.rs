//! `download`: fetches one file, or refers to a local one.
//!
//! The bytes' way over the network is `dataset::fetch`'s.

use crate::context::Context;
use crate::dataset::digests::{Digests, Expected};
use crate::dataset::fetch::{self, Source};
use crate::error::Result;
use crate::kind::Run;
use crate::stage::{ArtifactType, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

/// Fetches an archive by http or https, checked against its digest, or refers to a local file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// One URL, or a list of mirrors tried in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Urls>,
    /// A local file instead of a URL; it stays in its place and is referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The MD5 digest the file must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lowercase")]
    pub md5: Option<String>,
    /// The SHA-256 digest the file must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lowercase")]
    pub sha256: Option<String>,
    /// Limit for a server's answer, in GiB. Not part of the recipe, since it changes no result.
    #[serde(default = "max_gib")]
    pub max_gib: f64,
}

fn max_gib() -> f64 {
    1024.0
}

/// Digests are compared and hashed in lower case.
fn lowercase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| text.trim().to_ascii_lowercase()))
}

/// One URL or several mirrors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Urls {
    /// One.
    One(String),
    /// Mirrors, tried in order.
    Mirrors(Vec<String>),
}

impl Stage for Download {
    const NAME: &'static str = "download";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Archive;
    const LOCATORS: &'static [&'static str] = &["url", "file", "max_gib"];
    const POOL: Pool = Pool::Io;

    fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong =
            |path: &str, trouble: &str| mistakes.push((path.to_string(), trouble.to_string()));
        match (&self.url, &self.file) {
            (Some(_), Some(_)) => wrong("file", "stands beside 'url': leave one of the two out"),
            (None, None) => wrong("url", "is missing: give a URL, or a local 'file'"),
            (Some(_), None) if self.md5.is_none() && self.sha256.is_none() => {
                wrong("md5", "is missing: what is fetched must be known by its 'md5' or 'sha256'");
            }
            _ => {}
        }
        for (key, digest, digits) in [("md5", &self.md5, 32), ("sha256", &self.sha256, 64)] {
            let is_digest = digest.as_ref().is_none_or(|text| {
                text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            if !is_digest {
                wrong(key, &format!("must have {digits} hex digits"));
            }
        }
        if self.url.is_some() && self.urls().is_empty() {
            wrong("url", "names no URL");
        }
        for url in self.urls() {
            if let Err(error) = Source::new(url) {
                wrong("url", &error.to_string());
            }
        }
        if !self.max_gib.is_finite() || self.max_gib <= 0.0 {
            wrong("max_gib", "must be above 0");
        }
        mistakes
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(self.file.iter().map(|path| ("file".to_string(), path.clone())).collect())
    }
}

impl Run for Download {
    fn run(&self, cx: &Context) -> Result<()> {
        let expected = Expected { md5: self.md5.clone(), sha256: self.sha256.clone() };
        match &self.file {
            Some(path) => {
                if expected.any() {
                    Digests::of_file(path, cx)?.check(&expected, &path.display().to_string())?;
                }
                cx.refer("archive", path).map(drop)
            }
            None => {
                let limit = (self.max_gib * f64::from(1u32 << 30)) as u64;
                let sources =
                    self.urls().iter().map(|url| Source::new(url)).collect::<Result<Vec<_>>>()?;
                let fetched = fetch::fetch(&sources, &expected, limit, cx)?;
                take(&fetched, &cx.create("archive")?)
            }
        }
    }
}

impl Download {
    fn urls(&self) -> &[String] {
        match &self.url {
            None => &[],
            Some(Urls::One(url)) => std::slice::from_ref(url),
            Some(Urls::Mirrors(urls)) => urls,
        }
    }
}

/// Moves the finished file, also where the draft is on another file system.
fn take(from: &Path, to: &Path) -> Result<()> {
    if disk::rename(from, to).is_err() {
        disk::copy(from, to)?;
        disk::remove(from)?;
    }
    Ok(())
}

//! `download`: fetches one file, or refers to a local one.

use super::{ArtifactType, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Fetches an archive by http or https, checked against its digest, or refers to a local file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// Where to fetch it: one URL, or a list of mirrors tried in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Urls>,
    /// A local file instead of a URL. It stays where it is and is referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The MD5 digest the file must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The SHA-256 digest the file must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
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
    const LOCATORS: &'static [&'static str] = &["url", "file"];
    const POOL: Pool = Pool::Io;

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(self.file.iter().map(|path| ("file".to_string(), path.clone())).collect())
    }
}

impl Run for Download {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}

//! MD5 and SHA-256, by which other people name their files; and telling when a file is another one.

use crate::context::Context;
use crate::error::{Error, Result};
use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The digests a file must have, in lower-case hex.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// MD5.
    pub md5: Option<String>,
    /// SHA-256.
    pub sha256: Option<String>,
}

impl Expected {
    /// True if anything is expected.
    pub fn any(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }
}

/// Both digests of bytes as they come.
#[derive(Clone, Default)]
pub struct Digests {
    md5: Md5,
    sha256: Sha256,
}

impl Digests {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
    }

    /// Digests of a growing file; honours a stop.
    pub fn of_file(path: &Path, cx: &Context) -> Result<Digests> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let (mut digests, mut buffer) = (Digests::default(), vec![0; 1 << 20]);
        loop {
            cx.check_stop()?;
            match file.read(&mut buffer).map_err(Error::io("read", path))? {
                0 => return Ok(digests),
                n => digests.update(&buffer[..n]),
            }
        }
    }

    /// An error with both digests unless they are as expected.
    pub fn check(self, expected: &Expected, what: &str) -> Result<()> {
        let found = [
            ("md5", &expected.md5, hex(&self.md5.finalize())),
            ("sha256", &expected.sha256, hex(&self.sha256.finalize())),
        ];
        for (name, expected, found) in found {
            if let Some(expected) = expected.as_ref().filter(|expected| **expected != found) {
                return Err(Error::failed(format!(
                    "{what}: its {name} is {found}, but should be {expected}"
                )));
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

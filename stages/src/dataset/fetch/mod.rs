//! Fetching one file by http or https: mirrors in order, going on where a transfer broke off.
//!
//! What has come so far lies in the stage's unfinished folder: `partial` with the bytes, and
//! `partial.json` with what the server said of the content (its ETag or date, its length), so that
//! a content that changed between two parts starts over. The digest has the last word: what was put
//! together of parts and is wrong is fetched once more in one piece.

mod answer;
mod source;

pub use source::Source;

use self::answer::{TransferOutcome, continues, header, number, trouble, validator};
use crate::context::Context;
use crate::dataset::digests::{Digests, Expected};
use crate::error::{Error, Result};
use crate::record::Progress;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::{Agent, Body};
use voxflow_cache::Digest;
use voxflow_cache::disk::{self, FileWriter};

/// Retries of a source after partial transfers.
const BREAKS: u32 = 20;
/// Retries of a source after empty transfers.
const REFUSALS: u32 = 2;
/// Most redirects followed.
const REDIRECTS: u32 = 8;
/// Timeout of a silent server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Description of the bytes in `partial`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Partial {
    /// The URL's digest, since the URL may hold a password.
    url: Option<Digest>,
    /// A strong ETag, or the date of the last change.
    validator: Option<String>,
    /// The length of the whole.
    length: Option<u64>,
}

/// Fetches from the first source that gives the expected content; returns the finished file.
pub fn fetch(sources: &[Source], expected: &Expected, limit: u64, cx: &Context) -> Result<PathBuf> {
    let mut fetch = Fetch { agent: agent(), folder: cx.unfinished()?, limit, told: None, cx };
    let mut troubles = vec![];
    for source in sources {
        match fetch.source(source, expected) {
            Ok(path) => return Ok(path),
            Err(Error::Failed(words)) => troubles.push(words),
            Err(error) => return Err(error),
        }
        if sources.len() > 1 {
            cx.warn(troubles.last().cloned().unwrap_or_default());
        }
    }
    Err(Error::failed(troubles.join("; ")))
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("voxflow/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(PATIENCE))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    config.build().new_agent()
}

struct Fetch<'a> {
    agent: Agent,
    folder: &'a Path,
    limit: u64,
    told: Option<Instant>,
    cx: &'a Context<'a>,
}

impl Fetch<'_> {
    /// Transfers from a single source: broken transfers resume; a wrong file joined from parts is
    /// tried again whole.
    fn source(&mut self, source: &Source, expected: &Expected) -> Result<PathBuf> {
        loop {
            let whole = self.whole(source)?;
            let path = self.folder.join("partial");
            let right = Digests::of_file(&path, self.cx)?.check(expected, &source.shown);
            match right {
                Ok(()) => {
                    disk::remove(&self.folder.join("partial.json"))?;
                    return Ok(path);
                }
                Err(error) => {
                    self.forget()?;
                    if whole {
                        return Err(error);
                    }
                    self.cx.warn(format!(
                        "{}: its parts do not fit together; fetching it anew",
                        source.shown
                    ));
                }
            }
        }
    }

    /// Transfers until complete. True if a single transfer did it.
    fn whole(&mut self, source: &Source) -> Result<bool> {
        let (mut breaks, mut refusals, mut pieces) = (0, 0, u32::from(self.have() > 0));
        loop {
            pieces += 1;
            let reason = match self.transfer(source)? {
                TransferOutcome::Done => return Ok(pieces == 1),
                TransferOutcome::Broken(reason, 0) if refusals < REFUSALS => {
                    refusals += 1;
                    reason
                }
                TransferOutcome::Broken(reason, came) if came > 0 && breaks < BREAKS => {
                    breaks += 1;
                    reason
                }
                TransferOutcome::Broken(reason, _) | TransferOutcome::Refused(reason) => {
                    return Err(Error::failed(format!("{}: {reason}", source.shown)));
                }
            };
            self.cx.info(format!(
                "{}: {reason}; going on after {} bytes",
                source.shown,
                self.have()
            ));
            self.pause(Duration::from_millis(200 << (breaks + refusals).min(6)))?;
        }
    }

    /// Sends one request and stores its answer's bytes.
    fn transfer(&mut self, source: &Source) -> Result<TransferOutcome> {
        self.cx.check_stop()?;
        let (have, partial) = (self.have(), self.partial());
        // Another mirror's ETag means nothing here: its length must do, and the digest at the end.
        let validator = partial.validator.filter(|_| partial.url == Some(url_digest(source)));
        let response = match self.ask(source, have, validator.as_deref()) {
            Ok(response) => response,
            Err(outcome) => return Ok(outcome),
        };
        match response.status().as_u16() {
            206 if have > 0 && continues(&response, have, partial.length) => {
                self.body(source, response, have)
            }
            200 => self.body(source, response, 0),
            206 | 416 if have > 0 => {
                self.forget()?;
                Ok(TransferOutcome::Broken("its content has changed".into(), 0))
            }
            status @ (408 | 425 | 429 | 500..=599) => {
                Ok(TransferOutcome::Broken(format!("the server answers {status}"), 0))
            }
            status => Ok(TransferOutcome::Refused(format!("the server answers {status}"))),
        }
    }

    /// Asks for the bytes after the first `have`, following redirects.
    fn ask(
        &self,
        source: &Source,
        have: u64,
        validator: Option<&str>,
    ) -> Result<Response<Body>, TransferOutcome> {
        let mut place = source.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&place.url);
            if have > 0 {
                request = request.header("Range", format!("bytes={have}-"));
            }
            if let (true, Some(validator)) = (have > 0, validator) {
                request = request.header("If-Range", validator);
            }
            let response = request.call().map_err(|error| trouble(&error, &place))?;
            match (response.status().as_u16(), header(&response, "location")) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    place = place.redirected(location).ok_or_else(|| {
                        TransferOutcome::Refused("redirects to what is no http or https URL".into())
                    })?;
                }
                _ => return Ok(response),
            }
        }
        Err(TransferOutcome::Refused("redirects without end".into()))
    }

    /// Takes an answer's bytes after the first `have`, kept from earlier transfers.
    fn body(
        &mut self,
        source: &Source,
        response: Response<Body>,
        have: u64,
    ) -> Result<TransferOutcome> {
        let length = number(&response, "content-length").map(|rest| have + rest);
        if length.is_some_and(|length| length > self.limit) {
            return Ok(self.too_long("has"));
        }
        if have == 0 {
            self.begin(Partial {
                url: Some(url_digest(source)),
                validator: validator(&response),
                length,
            })?;
        }
        self.write(response, have, length)
    }

    /// Appends an answer's bytes to the first `have`; `length` is that of the whole, if known.
    fn write(
        &mut self,
        response: Response<Body>,
        have: u64,
        length: Option<u64>,
    ) -> Result<TransferOutcome> {
        let mut file = FileWriter::append(&self.folder.join("partial"))?;
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut buffer, mut done) = (vec![0; 1 << 17], have);
        loop {
            self.cx.check_stop()?;
            match reader.read(&mut buffer) {
                Ok(0) if length.is_some_and(|length| done < length) => {
                    return Ok(TransferOutcome::Broken(
                        "the connection broke off".into(),
                        done - have,
                    ));
                }
                Ok(0) => {
                    file.sync()?;
                    return Ok(TransferOutcome::Done);
                }
                Ok(n) => {
                    file.write_bytes(&buffer[..n])?;
                    done += n as u64;
                }
                Err(error) => {
                    let words = format!("the connection broke off ({error})");
                    return Ok(TransferOutcome::Broken(words, done - have));
                }
            }
            if done > self.limit {
                self.forget()?;
                return Ok(self.too_long("sends"));
            }
            self.tell(done, length);
        }
    }

    fn too_long(&self, verb: &str) -> TransferOutcome {
        let limit = self.limit;
        let words = format!("{verb} more than {limit} bytes; raise 'max_gib' if that is right");
        TransferOutcome::Refused(words)
    }

    /// Forgets earlier bytes and notes the content to come. The note is written first: bytes
    /// without a note do not count.
    fn begin(&self, partial: Partial) -> Result<()> {
        self.forget()?;
        crate::context::write_json(&self.folder.join("partial.json"), &partial)
    }

    fn tell(&mut self, done: u64, total: Option<u64>) {
        let due = self.told.is_none_or(|told| told.elapsed() > Duration::from_millis(100));
        if due || Some(done) == total {
            self.told = Some(Instant::now());
            self.cx.progress(Progress { done, total, unit: "bytes".into(), numbers: vec![] });
        }
    }

    fn pause(&self, pause: Duration) -> Result<()> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            self.cx.check_stop()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Bytes already present of a known content.
    fn have(&self) -> u64 {
        let known = self.folder.join("partial.json").exists();
        self.folder
            .join("partial")
            .metadata()
            .map(|meta| meta.len())
            .ok()
            .filter(|_| known)
            .unwrap_or(0)
    }

    fn partial(&self) -> Partial {
        let text = std::fs::read(self.folder.join("partial.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn forget(&self) -> Result<()> {
        disk::remove(&self.folder.join("partial"))?;
        Ok(disk::remove(&self.folder.join("partial.json"))?)
    }
}

fn url_digest(source: &Source) -> Digest {
    Digest::of(source.url.as_bytes())
}

//! Fetching one file by http or https: mirrors in order, going on where a transfer broke off.
//!
//! What has come so far lies in the stage's unfinished folder: `partial` with the bytes, and
//! `partial.json` with what the server said of the content (its ETag or date, its length), so that
//! a content that changed between two parts starts over. The digest has the last word: what was put
//! together of parts and is wrong is fetched once more in one piece.

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

/// A URL to fetch from. Displayed without user, password and query.
#[derive(Clone)]
pub struct Source {
    url: String,
    shown: String,
}

impl Source {
    /// Understands a URL; http and https only.
    pub fn new(url: &str) -> Result<Source> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let (host, path) = (
            host.rsplit('@').next().unwrap_or(host),
            path.split(['?', '#']).next().unwrap_or(path),
        );
        let shown = format!("{scheme}://{}/{path}", host.split(['?', '#']).next().unwrap_or(host));
        if !matches!(scheme, "http" | "https") || url.parse::<ureq::http::Uri>().is_err() {
            return Err(Error::failed(format!(
                "'{shown}': must be an http or https URL (a local file is 'file')"
            )));
        }
        Ok(Source { url: url.to_string(), shown })
    }

    /// Where a redirect leads: `location` resolved against this URL. User and password stay with
    /// their host.
    fn redirected(&self, location: &str) -> Option<Source> {
        Source::new(&resolve(&self.url, location)?).ok()
    }
}

/// A reference resolved against a URL: RFC 3986, section 5.2, without its fragment. (The crate `url`
/// would draw Unicode's tables into the program for this.)
fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(host_end);
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, _) = rest.split_once('?').unwrap_or((rest, ""));
    let is_absolute = reference.split(['/', '?']).next().is_some_and(|head| head.contains(':'));
    let (target, query) = reference
        .split_once('?')
        .map_or((reference, None), |(target, query)| (target, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    let joined = match target {
        _ if is_absolute => return Some(reference.to_string()),
        _ if target.starts_with("//") => return Some(format!("{scheme}:{reference}")),
        "" if reference.is_empty() => return Some(format!("{scheme}://{host}{rest}")),
        "" => path.to_string(),
        _ if target.starts_with('/') => without_dots(target),
        _ => without_dots(&format!("/{}{target}", folder.trim_start_matches('/'))),
    };
    Some(format!("{scheme}://{host}{joined}{query}"))
}

/// A path without its segments `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = vec![];
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
        if at + 1 == segments.len() && matches!(*segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Description of the bytes in `partial`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Partial {
    /// The digest of the URL, which may hold a password.
    url: Option<Digest>,
    /// A strong ETag, or the date of the last change.
    validator: Option<String>,
    /// The length of the whole.
    length: Option<u64>,
}

/// Outcome of one transfer.
enum Outcome {
    /// All is there.
    Done,
    /// It broke off, for this reason; so many bytes came.
    Broken(String, u64),
    /// The server does not want to, for this reason.
    Refused(String),
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
                Outcome::Done => return Ok(pieces == 1),
                Outcome::Broken(reason, 0) if refusals < REFUSALS => {
                    refusals += 1;
                    reason
                }
                Outcome::Broken(reason, came) if came > 0 && breaks < BREAKS => {
                    breaks += 1;
                    reason
                }
                Outcome::Broken(reason, _) | Outcome::Refused(reason) => {
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

    /// One request, and the bytes of its answer.
    fn transfer(&mut self, source: &Source) -> Result<Outcome> {
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
                Ok(Outcome::Broken("its content has changed".into(), 0))
            }
            status @ (408 | 425 | 429 | 500..=599) => {
                Ok(Outcome::Broken(format!("the server answers {status}"), 0))
            }
            status => Ok(Outcome::Refused(format!("the server answers {status}"))),
        }
    }

    /// Asks for the bytes after the first `have`, following redirects.
    fn ask(
        &self,
        source: &Source,
        have: u64,
        validator: Option<&str>,
    ) -> Result<Response<Body>, Outcome> {
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
                    let refused =
                        || Outcome::Refused("redirects to what is no http or https URL".into());
                    place = place.redirected(location).ok_or_else(refused)?;
                }
                _ => return Ok(response),
            }
        }
        Err(Outcome::Refused("redirects without end".into()))
    }

    /// Writes an answer's bytes after the first `have` that are already there.
    fn body(&mut self, source: &Source, response: Response<Body>, have: u64) -> Result<Outcome> {
        let length = number(&response, "content-length").map(|rest| have + rest);
        if length.is_some_and(|length| length > self.limit) {
            return Ok(Outcome::Refused(format!(
                "has more than {} bytes; raise 'max_gib' if that is right",
                self.limit
            )));
        }
        if have == 0 {
            let partial =
                Partial { url: Some(url_digest(source)), validator: validator(&response), length };
            self.forget()?;
            crate::context::write_json(&self.folder.join("partial.json"), &partial)?;
        }
        let mut file = FileWriter::append(&self.folder.join("partial"))?;
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut buffer, mut done) = (vec![0; 1 << 17], have);
        loop {
            self.cx.check_stop()?;
            match reader.read(&mut buffer) {
                Ok(0) if length.is_some_and(|length| done < length) => {
                    return Ok(Outcome::Broken("the connection broke off".into(), done - have));
                }
                Ok(0) => {
                    file.sync()?;
                    return Ok(Outcome::Done);
                }
                Ok(n) => {
                    file.write_bytes(&buffer[..n])?;
                    done += n as u64;
                }
                Err(error) => {
                    return Ok(Outcome::Broken(
                        format!("the connection broke off ({error})"),
                        done - have,
                    ));
                }
            }
            if done > self.limit {
                self.forget()?;
                return Ok(Outcome::Refused(format!(
                    "sends more than {} bytes; raise 'max_gib' if that is right",
                    self.limit
                )));
            }
            self.tell(done, length);
        }
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

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn number(response: &Response<Body>, name: &str) -> Option<u64> {
    header(response, name)?.trim().parse().ok()
}

/// Validator of the content: a strong ETag, else the date of its last change.
fn validator(response: &Response<Body>) -> Option<String> {
    let etag = header(response, "etag").filter(|etag| !etag.starts_with("W/"));
    etag.or_else(|| header(response, "last-modified")).map(str::to_string)
}

/// True if a partial answer starts at our position and its total length is the known length.
fn continues(response: &Response<Body>, have: u64, length: Option<u64>) -> bool {
    let Some(range) =
        header(response, "content-range").and_then(|text| text.strip_prefix("bytes "))
    else {
        return false;
    };
    let (span, total) = range.split_once('/').unwrap_or((range, "*"));
    let starts =
        span.split_once('-').and_then(|(start, _)| start.trim().parse().ok()) == Some(have);
    starts && (total == "*" || length.is_none() || total.trim().parse().ok() == length)
}

/// An error's words, without the secrets of the URL. What another try may mend counts as broken.
fn trouble(error: &ureq::Error, source: &Source) -> Outcome {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Timeout};
    match error {
        Io(error) => Outcome::Broken(format!("cannot connect ({error})"), 0),
        Timeout(_) => Outcome::Broken("the server does not answer".into(), 0),
        ConnectionFailed => Outcome::Broken("cannot connect".into(), 0),
        HostNotFound => {
            Outcome::Refused("there is no such host; check the URL and the network".into())
        }
        other => Outcome::Refused(other.to_string().replace(&source.url, &source.shown)),
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    /// The examples of RFC 3986, section 5.4, with http.
    #[test]
    fn a_redirect_is_resolved_as_the_standard_says() {
        for (reference, wanted) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("g#s", "http://a/b/c/g"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://other/x?z", "https://other/x?z"),
        ] {
            assert_eq!(
                resolve("http://a/b/c/d;p?q", reference).as_deref(),
                Some(wanted),
                "{reference}"
            );
        }
        assert_eq!(resolve("http://me:pw@h", "b.tar").as_deref(), Some("http://me:pw@h/b.tar"));
    }
}

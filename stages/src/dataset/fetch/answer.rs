//! A server's answer: its header fields, and errors on the way to it.

use super::source::Source;
use ureq::Body;
use ureq::http::Response;

/// TransferOutcome of one transfer.
pub(super) enum TransferOutcome {
    /// All is there.
    Done,
    /// Broken off, with the reason and the number of bytes received.
    Broken(String, u64),
    /// The server does not want to, for this reason.
    Refused(String),
}

pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

pub(super) fn number(response: &Response<Body>, name: &str) -> Option<u64> {
    header(response, name)?.trim().parse().ok()
}

/// The content's validator: a strong ETag, else its last change.
pub(super) fn validator(response: &Response<Body>) -> Option<String> {
    let etag = header(response, "etag").filter(|etag| !etag.starts_with("W/"));
    etag.or_else(|| header(response, "last-modified")).map(str::to_string)
}

/// True if a partial answer starts at our position and its total length is the known length.
pub(super) fn continues(response: &Response<Body>, have: u64, length: Option<u64>) -> bool {
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
pub(super) fn trouble(error: &ureq::Error, source: &Source) -> TransferOutcome {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Timeout};
    match error {
        Io(error) => TransferOutcome::Broken(format!("cannot connect ({error})"), 0),
        Timeout(_) => TransferOutcome::Broken("the server does not answer".into(), 0),
        ConnectionFailed => TransferOutcome::Broken("cannot connect".into(), 0),
        HostNotFound => {
            TransferOutcome::Refused("there is no such host; check the URL and the network".into())
        }
        other => TransferOutcome::Refused(other.to_string().replace(&source.url, &source.shown)),
    }
}

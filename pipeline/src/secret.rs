//! Keeps credentials in URLs and variables out of everything written.
//!
//! URLs lose user, fragment and query values except for harmless keys: password parameters have too
//! many names to enumerate. Variables are secret if used in a URL or named like a secret.
//! Replacement happens in string contents before encoding, hence records remain valid JSON, YAML
//! and tables.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Placeholder for a secret.
const HIDDEN: &str = "***";

/// Placeholder in YAML, where an asterisk could start an alias.
const HIDDEN_IN_YAML: &str = "hidden";

/// Start of an image's name.
const IMAGE: &str = "docker://";

/// Query parameters kept: they select file and format.
const HARMLESS: [&str; 7] = ["download", "dl", "export", "format", "part", "raw", "version"];

/// Variable names containing these words mark secrets.
const TELLING: [&str; 10] = [
    "token",
    "signature",
    "secret",
    "password",
    "passwd",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "auth",
];

/// Shorter secrets are replaced only as whole URL path segments: ordinary text may contain their
/// letters.
const SHORTEST: usize = 6;

/// Secret values of variables.
static REMEMBERED: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Hides the variable's value from now on if its name marks a secret: `DATA_TOKEN`, not
/// `DATA_ROOT`.
pub fn remember(name: &str, value: &str) {
    if is_telling(name) {
        remember_value(value);
    }
}

/// Hides a value used inside a URL, whatever its variable's name. Values that are URLs themselves
/// are stripped as such.
pub fn remember_in_url(value: &str) {
    if !value.contains("://") {
        remember_value(value);
    }
}

fn remember_value(value: &str) {
    if !value.is_empty() {
        REMEMBERED.write().unwrap_or_else(PoisonError::into_inner).insert(value.to_string());
    }
}

/// Cheap test: false if the text cannot contain a secret.
pub fn may_hold(text: &str) -> bool {
    text.contains("://") || !REMEMBERED.read().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// Removes URL credentials and remembered values from readable text. Records are stripped per value
/// ([`strip_value`]).
pub fn strip(text: &str) -> String {
    strip_with(text, HIDDEN)
}

/// Like [`strip`], keeping YAML valid.
pub fn strip_yaml(text: &str) -> String {
    strip_with(text, HIDDEN_IN_YAML)
}

fn strip_with(text: &str, hidden: &str) -> String {
    let remembered = REMEMBERED.read().unwrap_or_else(PoisonError::into_inner);
    let long = remembered.iter().filter(|value| value.len() >= SHORTEST);
    let text = long.fold(text.to_string(), |text, value| text.replace(value.as_str(), hidden));
    strip_urls(&text, &remembered)
}

fn strip_urls(text: &str, remembered: &BTreeSet<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let (url, after) = after.split_at(length(after));
        let (url, digest) = match before.ends_with(IMAGE) {
            true => without_digest(url),
            false => (url, ""),
        };
        out.push_str(&strip_url(url, remembered));
        out.push_str(digest);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// An image without its digest, and the digest, which follows an at sign as a host does its user.
fn without_digest(image: &str) -> (&str, &str) {
    image.split_at(image.rfind("@sha256:").unwrap_or(image.len()))
}

/// Length of the URL at the start; `${NAME}` inside does not end it.
fn length(text: &str) -> usize {
    let mut at = 0;
    while let Some(end) = text[at..].find(ends_url) {
        at += end;
        let variable = text[..at].ends_with('$') && text[at..].starts_with('{');
        match text[at..].find('}').filter(|_| variable) {
            Some(close) => at += close + 1,
            None => return at,
        }
    }
    text.len()
}

fn ends_url(letter: char) -> bool {
    letter.is_whitespace() || "\"'<>`,;{}|\\".contains(letter)
}

/// Strips a URL given without its scheme.
fn strip_url(url: &str, remembered: &BTreeSet<String>) -> String {
    let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (authority, rest) = url.split_at(host_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (rest, fragment) = rest.split_once('#').map_or((rest, ""), |(rest, _)| (rest, "#"));
    let (path, query) =
        rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = path
        .split('/')
        .map(|part| if remembered.contains(part) { HIDDEN } else { part }.to_string())
        .collect::<Vec<_>>()
        .join("/");
    let query = query.map(|query| query.split('&').map(strip_field).collect::<Vec<_>>().join("&"));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{HIDDEN}") };
    format!("{host}{path}{query}{fragment}")
}

/// Strips a query field; a field without a name may be a key itself.
fn strip_field(field: &str) -> String {
    let Some((name, value)) = field.split_once('=') else { return HIDDEN.to_string() };
    let is_harmless = HARMLESS.contains(&name.to_ascii_lowercase().as_str());
    if is_harmless || value.is_empty() { field.to_string() } else { format!("{name}={HIDDEN}") }
}

/// True if the variable's name marks a secret.
fn is_telling(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace(['-', '_'], "");
    TELLING.iter().any(|word| plain.contains(word)) || plain == "sig"
}

/// Strips every string in a value.
pub fn strip_value(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => strip(text).into(),
        Value::Array(items) => items.iter().map(strip_value).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, field)| (key.clone(), strip_value(field))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_telling_variables_are_hidden_from_then_on() {
        remember("MY_DATA_TOKEN", "gh0st-t0ken");
        remember("MY_DATA_ROOT", "/data/r00t");
        assert_eq!(
            strip("https://host/gh0st-t0ken/a in /data/r00t"),
            "https://host/***/a in /data/r00t"
        );
    }

    #[test]
    fn values_that_urls_are_written_with_are_hidden_and_short_ones_there_alone() {
        remember_in_url("p4ssphrase");
        remember_in_url("7z");
        remember("CONTRAST_KEY", "contrast");
        assert_eq!(strip("say p4ssphrase"), "say ***");
        assert_eq!(strip("https://h/7z/a7z, 7z"), "https://h/***/a7z, 7z");
        assert_eq!(strip("contrast"), "contrast");
        assert_eq!(strip_yaml("a: p4ssphrase"), "a: hidden");
    }

    #[test]
    fn credentials_of_urls_are_hidden_and_nothing_else_changes() {
        for (text, stripped) in [
            ("https://me:pw@host/a.tar?raw=1", "https://host/a.tar?raw=1"),
            (
                "https://h/a?auth=x&pass=y&pwd=z&code=q",
                "https://h/a?auth=***&pass=***&pwd=***&code=***",
            ),
            ("https://h/a?t0ken#access=x", "https://h/a?***#***"),
            (
                "cannot get 'https://me@host/a' and http://b",
                "cannot get 'https://host/a' and http://b",
            ),
            ("s3://b/k?X-Amz-Signature=abc&part=2", "s3://b/k?X-Amz-Signature=***&part=2"),
            ("https://host/@scope/a@1", "https://host/@scope/a@1"),
            ("a: \"https://t0k:x@h\"\nb: mail@host", "a: \"https://h\"\nb: mail@host"),
            ("no url: a/b@c", "no url: a/b@c"),
            ("docker://python:3@sha256:0a1b", "docker://python:3@sha256:0a1b"),
            ("docker://me:pw@host/a@sha256:0a1b", "docker://host/a@sha256:0a1b"),
            ("{u: s://h/${A}/b?token=x, v: s://${B}@h/}", "{u: s://h/${A}/b?token=***, v: s://h/}"),
        ] {
            assert_eq!(strip(text), stripped);
        }
    }
}

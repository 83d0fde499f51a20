//! Credentials in URLs and variables, and how they are kept out of everything that is written.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// Words in the name of a query parameter that make its value a secret.
const TELLING: [&str; 7] =
    ["token", "signature", "secret", "password", "passwd", "apikey", "credential"];

/// The values of variables whose names say that they are secrets.
static REMEMBERED: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// From now on the value of the variable `name` is hidden wherever it would be written, if the name
/// says that it is a secret: `DATA_TOKEN`, but not `DATA_ROOT`.
pub fn remember(name: &str, value: &str) {
    if is_telling(name) && !value.is_empty() {
        REMEMBERED.write().unwrap_or_else(PoisonError::into_inner).insert(value.to_string());
    }
}

/// Whether a text can hold a secret at all; cheap.
pub fn may_hold(text: &str) -> bool {
    text.contains("://") || !REMEMBERED.read().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// The text without the credentials of the URLs in it (`https://user:pass@host` and the values of
/// query parameters like `token=…`) and without the remembered values. Everything else stays as it
/// is.
pub fn strip(text: &str) -> String {
    let remembered = REMEMBERED.read().unwrap_or_else(PoisonError::into_inner);
    let text = remembered
        .iter()
        .fold(text.to_string(), |text, value| text.replace(value.as_str(), HIDDEN));
    strip_urls(&text)
}

fn strip_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let (url, after) = after.split_at(length(after));
        out.push_str(&strip_url(url));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Bytes of the URL that a text begins with. A variable in it, as `${NAME}`, does not end it.
fn length(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "\"'<>`,;{}|\\".contains(c);
    let mut at = 0;
    while let Some(end) = text[at..].find(ends) {
        at += end;
        let variable = text[..at].ends_with('$') && text[at..].starts_with('{');
        match text[at..].find('}').filter(|_| variable) {
            Some(close) => at += close + 1,
            None => return at,
        }
    }
    text.len()
}

/// A URL behind its `://`.
fn strip_url(url: &str) -> String {
    let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (authority, path) = url.split_at(host_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let Some((path, query)) = path.split_once('?') else { return format!("{host}{path}") };
    let fields: Vec<String> = query.split('&').map(strip_field).collect();
    format!("{host}{path}?{}", fields.join("&"))
}

fn strip_field(field: &str) -> String {
    let Some((name, _)) = field.split_once('=') else { return field.to_string() };
    if is_telling(name) { format!("{name}={HIDDEN}") } else { field.to_string() }
}

/// Whether the name of a parameter or variable says that its value is a secret.
fn is_telling(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace(['-', '_'], "");
    TELLING.iter().any(|word| plain.contains(word)) || plain == "sig" || plain.ends_with("key")
}

/// The same for every string in a value.
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
    fn credentials_of_urls_are_hidden_and_nothing_else_changes() {
        for (text, stripped) in [
            ("https://me:pw@host/a.tar?x=1", "https://host/a.tar?x=1"),
            (
                "cannot get 'https://me@host/a' and http://b",
                "cannot get 'https://host/a' and http://b",
            ),
            ("s3://b/k?X-Amz-Signature=abc&part=2", "s3://b/k?X-Amz-Signature=***&part=2"),
            ("https://host/@scope/a@1", "https://host/@scope/a@1"),
            ("a: \"https://t0k:x@h\"\nb: mail@host", "a: \"https://h\"\nb: mail@host"),
            ("no url: a/b@c", "no url: a/b@c"),
            ("{u: s://h/${A}/b?token=x, v: s://${B}@h/}", "{u: s://h/${A}/b?token=***, v: s://h/}"),
        ] {
            assert_eq!(strip(text), stripped);
        }
    }
}

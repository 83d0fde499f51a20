//! Credentials in URLs, and how they are kept out of everything that is written.

/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// Words in the name of a query parameter that make its value a secret.
const TELLING: [&str; 7] = ["token", "signature", "secret", "password", "passwd", "apikey", "credential"];

/// The text without the credentials of the URLs in it: `https://user:pass@host` and the values of
/// query parameters like `token=…`. Everything else stays as it is.
pub fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>`,;{}|\\".contains(c)).unwrap_or(after.len());
        let (url, after) = after.split_at(end);
        out.push_str(&strip_url(url));
        rest = after;
    }
    out.push_str(rest);
    out
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
    let plain = name.to_ascii_lowercase().replace(['-', '_'], "");
    if TELLING.iter().any(|word| plain.contains(word)) || plain == "sig" || plain == "key" {
        format!("{name}={HIDDEN}")
    } else {
        field.to_string()
    }
}

/// The same for every string in a value.
pub fn strip_value(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => strip(text).into(),
        Value::Array(items) => items.iter().map(strip_value).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (key.clone(), strip_value(field))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_hidden_and_nothing_else_changes() {
        for (text, stripped) in [
            ("https://me:pw@host/a.tar?x=1", "https://host/a.tar?x=1"),
            ("cannot get 'https://me@host/a' and http://b", "cannot get 'https://host/a' and http://b"),
            ("s3://b/k?X-Amz-Signature=abc&part=2", "s3://b/k?X-Amz-Signature=***&part=2"),
            ("https://host/@scope/a@1", "https://host/@scope/a@1"),
            ("a: \"https://t0k:x@h\"\nb: mail@host", "a: \"https://h\"\nb: mail@host"),
            ("no url: a/b@c", "no url: a/b@c"),
        ] {
            assert_eq!(strip(text), stripped);
        }
    }
}

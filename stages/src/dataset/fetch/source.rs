//! A URL to fetch from, and its redirects.

use crate::error::{Error, Result};

/// A URL to fetch from. Displayed without user, password and query.
#[derive(Clone)]
pub struct Source {
    pub(super) url: String,
    pub(super) shown: String,
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
    pub(super) fn redirected(&self, location: &str) -> Option<Source> {
        Source::new(&resolve(&self.url, location)?).ok()
    }
}

/// A reference resolved against a URL by RFC 3986, section 5.2, without its fragment. (The crate
/// `url` would draw the tables of Unicode into the program.)
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

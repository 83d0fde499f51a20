//! Downloads from a loopback server that behaves as badly as real ones do.

mod support;

use serde_json::{Value, json};
use sha2::Digest as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use support::Trial;
use voxflow_stages::Error;

/// A server that answers the nth request with what `answer` writes, and keeps the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { break };
                let mut request = vec![];
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read(&mut byte).is_ok_and(|n| n == 1)
                {
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap().to_lowercase();
                seen.lock().unwrap().push(request.clone());
                answer(index, &request, &mut stream);
            }
        });
        Server { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// 300 kB that do not repeat.
fn content() -> Vec<u8> {
    (0..75_000u32).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers as a good server does, ranges and all, but sends no more than `most` bytes.
fn good(stream: &mut TcpStream, request: &str, body: &[u8], etag: &str, most: usize) {
    let start = request
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    let same = request
        .lines()
        .find_map(|line| line.strip_prefix("if-range: "))
        .is_none_or(|wanted| wanted == etag);
    let start: usize = start.filter(|_| same).unwrap_or(0);
    let rest = &body[start..];
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
    let range = if start > 0 { range } else { String::new() };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {etag}\r\n{range}Connection: close\r\n\r\n",
        rest.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&rest[..rest.len().min(most)]);
}

fn download(url: Value, digest: &str) -> Trial {
    Trial::new("download", json!({"url": url, "sha256": digest}))
}

fn range(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("range: "))
}

#[test]
fn a_file_is_fetched_with_progress_in_bytes() {
    let server =
        Server::new(|_, request, stream| good(stream, request, &content(), "\"a\"", usize::MAX));
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    let mut done = trial.messages().into_iter().filter_map(|message| match message {
        voxflow_stages::Message::Progress(progress) => Some((progress.done, progress.total)),
        _ => None,
    });
    assert_eq!(done.next_back(), Some((300_000, Some(300_000))));
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
    let server = Server::new(|index, request, stream| {
        good(stream, request, &content(), "\"a\"", if index == 0 { 150_000 } else { usize::MAX });
    });
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    let requests = server.requests();
    assert_eq!(
        (requests.len(), range(&requests[0]), range(&requests[1])),
        (2, None, Some("bytes=150000-"))
    );
    assert!(requests[1].contains("if-range: \"a\""), "{}", requests[1]);
}

#[test]
fn a_stopped_download_goes_on_in_a_later_run() {
    let server =
        Server::new(|_, request, stream| good(stream, request, &content(), "\"a\"", 150_000));
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.stop();
    assert!(matches!(trial.run(), Err(Error::Stopped)));
    assert_eq!(server.requests().len(), 0);
    trial.stop_at(Some(1));
    assert!(matches!(trial.run(), Err(Error::Stopped)));
    let kept = trial.task().unfinished.join("partial").metadata().map_or(0, |meta| meta.len());
    assert!(kept > 0);
    let before = server.requests().len();
    trial.stop_at(None);
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    assert_eq!(range(&server.requests()[before]), Some(format!("bytes={kept}-").as_str()));
}

#[test]
fn a_wrong_digest_names_both_and_leaves_nothing_to_trust() {
    let server = Server::new(|_, request, stream| {
        good(stream, request, b"something else", "\"a\"", usize::MAX)
    });
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    let words = trial.run().unwrap_err().to_string();
    assert!(
        words.contains(&sha256(b"something else")) && words.contains(&sha256(&content())),
        "{words}"
    );
    assert!(trial.artifact().is_empty());
    assert_eq!(std::fs::read_dir(&trial.task().unfinished).unwrap().count(), 0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_ignores_ranges_starts_over() {
    let server = Server::new(|index, _, stream| {
        good(stream, "", &content(), "\"a\"", if index == 0 { 150_000 } else { usize::MAX });
    });
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    assert_eq!(range(&server.requests()[1]), Some("bytes=150000-"));
}

#[test]
fn a_content_that_changed_between_two_parts_starts_over() {
    let server = Server::new(|index, request, stream| match index {
        0 => good(stream, request, &[7; 300_000], "\"old\"", 150_000),
        _ => good(stream, request, &content(), "\"new\"", usize::MAX),
    });
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn parts_of_two_contents_that_no_server_tells_apart_are_found_by_the_digest() {
    let server = Server::new(|index, request, stream| {
        let request: String = request
            .lines()
            .filter(|line| !line.starts_with("if-range"))
            .collect::<Vec<_>>()
            .join("\n");
        match index {
            0 => good(stream, &request, &[7; 300_000], "\"same\"", 150_000),
            _ => good(stream, &request, &content(), "\"same\"", usize::MAX),
        }
    });
    let trial = download(json!(server.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    assert_eq!(
        server.requests().iter().map(|request| range(request).is_some()).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn mirrors_are_tried_in_order() {
    let bad = Server::new(|_, _, stream| {
        drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
    });
    let wrong = Server::new(|_, request, stream| {
        good(stream, request, b"something else", "\"a\"", usize::MAX)
    });
    let right =
        Server::new(|_, request, stream| good(stream, request, &content(), "\"a\"", usize::MAX));
    let trial =
        download(json!([bad.url("a"), wrong.url("b"), right.url("c")]), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    assert!(trial.words()[0].ends_with("/a: the server answers 404"), "{:?}", trial.words());
}

#[test]
fn a_redirect_is_followed_but_not_to_a_file() {
    let target =
        Server::new(|_, request, stream| good(stream, request, &content(), "\"a\"", usize::MAX));
    let url = target.url("real");
    let redirect = move |to: String| {
        Server::new(move |_, _, stream| {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
        })
    };
    let honest = redirect(url);
    let trial = download(json!(honest.url("some.tar")), &sha256(&content()));
    trial.run().unwrap();
    assert_eq!(trial.read("archive"), content());
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/some.tar"] {
        let sly = redirect(to.into());
        let words = download(json!(sly.url("some.tar")), &sha256(&content()))
            .run()
            .unwrap_err()
            .to_string();
        assert!(words.contains("/some.tar: redirects to what is no http or https URL"), "{words}");
    }
}

#[test]
fn a_body_without_end_is_cut_off() {
    let server = Server::new(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[1; 65_536]).is_ok() {}
    });
    let params = json!({"url": server.url("some.tar"), "sha256": sha256(b""), "max_gib": 0.001});
    let trial = Trial::new("download", params);
    let words = trial.run().unwrap_err().to_string();
    assert!(words.contains("sends more than 1073741 bytes; raise 'max_gib'"), "{words}");
    assert_eq!(std::fs::read_dir(&trial.task().unfinished).unwrap().count(), 0);
}

#[test]
fn passwords_and_queries_are_never_shown() {
    let server = Server::new(|_, _, stream| {
        drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
    });
    let url = format!("http://me:secret@{}/some.tar?token=hidden", server.address);
    let trial = download(json!(url), &sha256(&content()));
    let error = trial.run().unwrap_err().to_string();
    assert!(error.contains("/some.tar: the server answers 403"), "{error}");
    let told = format!("{error} {:?}", trial.messages());
    assert!(!told.contains("secret") && !told.contains("hidden"), "{told}");
    let kind = voxflow_stages::Kind::named("download").unwrap();
    let wrong = kind
        .understand(&json!({"url": "ftp://me:secret@host/a?hidden", "md5": "0".repeat(32)}))
        .unwrap_err();
    assert!(
        !format!("{wrong:?}").contains("secret") && !format!("{wrong:?}").contains("hidden"),
        "{wrong:?}"
    );
}

#[test]
fn a_local_file_is_referred_to_and_checked_where_a_digest_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.tar");
    std::fs::write(&path, content()).unwrap();
    let trial = Trial::new("download", json!({"file": path}));
    trial.run().unwrap();
    assert_eq!(trial.artifact()["archive"], path.canonicalize().unwrap());
    Trial::new("download", json!({"file": path, "sha256": sha256(&content()).to_uppercase()}))
        .run()
        .unwrap();
    let words = Trial::new("download", json!({"file": path, "md5": "0".repeat(32)}))
        .run()
        .unwrap_err()
        .to_string();
    assert!(words.contains("some.tar: its md5 is") && words.contains(&"0".repeat(32)), "{words}");
}

#[test]
fn where_it_comes_from_is_no_part_of_the_recipe() {
    let fingerprint = |url: &str, md5: &str| {
        Trial::new("download", json!({"url": url, "md5": md5})).task().recipe.fingerprint()
    };
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    assert_eq!(
        fingerprint("https://one/x.tar", &a),
        fingerprint("http://two/y.tar", &a.to_uppercase())
    );
    assert_ne!(fingerprint("https://one/x.tar", &a), fingerprint("https://one/x.tar", &b));
}

#[test]
fn mistakes_are_found_before_any_work() {
    let kind = voxflow_stages::Kind::named("download").unwrap();
    let wrong = |params: Value| {
        kind.understand(&params).unwrap_err().into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    let md5 = "0".repeat(32);
    assert_eq!(wrong(json!({})), ["url"]);
    assert_eq!(wrong(json!({"url": "https://host/a"})), ["md5"]);
    assert_eq!(wrong(json!({"url": "https://host/a", "file": "a", "md5": md5})), ["file"]);
    assert_eq!(wrong(json!({"url": "file:///etc/passwd", "md5": md5})), ["url"]);
    assert_eq!(wrong(json!({"url": "https://host/a", "md5": "xyz"})), ["md5"]);
    assert_eq!(wrong(json!({"url": [], "md5": md5})), ["url"]);
}

//! Servers that redirect elsewhere, never end, or send something else.

use crate::lab::{Lab, tally};
use crate::{harmless, refused};
use sha2::Digest;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server that answers every request alike; its address.
fn server(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let _ = stream.read(&mut [0; 4096]);
            answer(&mut stream);
        }
    });
    address
}

fn say(stream: &mut TcpStream, head: &str) {
    let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
}

/// Sends the same until nobody listens.
fn for_ever(stream: &mut TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}

/// How a server answers.
type Answer = fn(&mut TcpStream);

#[test]
fn servers_that_misbehave_are_told_of_by_their_url() {
    let table: [(&str, Answer, &[&str]); 9] = [
        (
            "a redirect to a file",
            |s| say(s, "302 Found\r\nLocation: file:///etc/passwd"),
            &["no http or https URL"],
        ),
        (
            "a redirect to ftp",
            |s| say(s, "302 Found\r\nLocation: ftp://127.0.0.1/a"),
            &["no http or https URL"],
        ),
        (
            "redirects in a circle",
            |s| say(s, "302 Found\r\nLocation: /some.tar"),
            &["redirects without end"],
        ),
        (
            "a body without end",
            |s| {
                say(s, "200 OK");
                for_ever(s, &[1; 1 << 16]);
            },
            &["sends more than", "'max_gib'"],
        ),
        (
            "a length beyond the limit",
            |s| say(s, "200 OK\r\nContent-Length: 99999999999"),
            &["'max_gib'"],
        ),
        (
            "a head without end",
            |s| {
                let _ = s.write_all(b"HTTP/1.1 200 OK\r\n");
                for_ever(s, &[b'a'; 1 << 16]);
            },
            &["/some.tar"],
        ),
        (
            "fields without end",
            |s| {
                let _ = s.write_all(b"HTTP/1.1 200 OK\r\n");
                for_ever(s, b"field: value\r\n");
            },
            &["/some.tar"],
        ),
        ("no file", |s| say(s, "404 Not Found\r\nContent-Length: 0"), &["the server answers 404"]),
        ("another content", |s| say(s, "200 OK\r\nContent-Length: 0"), &["/some.tar", "sha256"]),
    ];
    for (what, answer, words) in &table {
        let lab = Lab::new();
        let address = server(*answer);
        let with = format!(
            "url: 'http://{address}/some.tar', sha256: '{}', max_gib: 0.01",
            "0".repeat(64)
        );
        let workflow = format!("stages:\n  archive: {{ uses: download, with: {{ {with} }} }}\n");
        let words: Vec<&str> =
            [address.as_str()].into_iter().chain(words.iter().copied()).collect();
        refused(&lab, what, workflow.as_bytes(), &words);
    }
    tally::tell("bad inputs", table.len(), "downloads");
}

/// A server that answers a request for `/files/b.tar` with `body` and redirects every other one
/// there.
fn redirecting(to: &'static str, body: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            if request[..length].starts_with(b"GET /files/b.tar ") {
                say(&mut stream, &format!("200 OK\r\nContent-Length: {}", body.len()));
                let _ = stream.write_all(body);
            } else {
                say(&mut stream, &format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0"));
            }
        }
    });
    address
}

#[test]
fn a_redirect_may_be_relative_to_the_request() {
    let body = b"what was asked for";
    let digest: String =
        sha2::Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    for to in ["b.tar", "./b.tar", "../files/b.tar", "/files/b.tar", "b.tar#part"] {
        let lab = Lab::new();
        let url = format!("http://{}/files/some.tar?v=1", redirecting(to, body));
        let with = format!("url: '{url}', sha256: '{digest}'");
        let workflow = format!("stages:\n  archive: {{ uses: download, with: {{ {with} }} }}\n");
        harmless(&lab, to, workflow.as_bytes(), &[]);
        let kept = lab.last_run().folder.join("outputs/archive");
        let files = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path());
        let contents: Vec<Vec<u8>> = files.map(|path| std::fs::read(path).unwrap()).collect();
        assert_eq!(contents, [body.to_vec()], "{to}");
    }
}

//! Credentials in a URL and in a variable: whatever becomes of the run, they are in no file of the
//! home and the store, in nothing that is said, and change no fingerprint.

mod lab;

use lab::cubes::Dataset;
use lab::{Lab, Shown};
use sha2::Digest;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The secrets that each test has: user, password, token, signature, and one in a path by a
/// variable.
const SECRETS: [&str; 5] =
    ["us3r-wren", "passw0rd-lynx", "tok3n-otter", "s1gnature-heron", "variabl3-stoat"];

/// A server of one file; its address.
fn server(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let refused = String::from_utf8_lossy(&request[..length]).contains("/refused/");
            let status = if refused { "403 Forbidden" } else { "200 OK" };
            let body = if refused { &[][..] } else { &body };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

/// A small dataset, packed, and its digest.
fn archive() -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    Dataset::write(folder.path(), 7, 0);
    let mut tar = tar::Builder::new(vec![]);
    tar.append_dir_all("Task", folder.path()).unwrap();
    let bytes = tar.into_inner().unwrap();
    let digest = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, digest)
}

fn workflow(address: &str, folder: &str, digest: &str, secrets: [&str; 4]) -> String {
    let [user, password, token, signature] = secrets;
    let query = format!("token={token}&X-Amz-Signature={signature}");
    let url = format!("http://{user}:{password}@{address}/{folder}/${{DATA_TOKEN}}/a.tar?{query}");
    workflow_of(&url, digest)
}

fn workflow_of(url: &str, digest: &str) -> String {
    format!(
        "name: secret
stages:
  archive: {{ uses: download, with: {{ url: '{url}', sha256: '{digest}' }} }}
  dataset: {{ uses: unpack, needs: [archive] }}
  split: {{ uses: split, needs: [dataset], with: {{ training: 4, validation: 1, testing: 2 }} }}
"
    )
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.set("DATA_TOKEN", SECRETS[4]);
    lab
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let inside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    inside
        .flat_map(
            |path| if path.is_dir() && !path.is_symlink() { files(&path) } else { vec![path] },
        )
        .collect()
}

#[track_caller]
fn assert_unsaid(shown: &Shown) {
    for secret in SECRETS {
        assert!(!shown.out.contains(secret), "'{secret}' is on stdout:\n{}", shown.out);
        assert!(!shown.err.contains(secret), "'{secret}' is on stderr:\n{}", shown.err);
    }
}

#[track_caller]
fn assert_unwritten(lab: &Lab) {
    for path in files(&lab.path(".voxflow")) {
        let bytes = fs::read(&path).unwrap_or_default();
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "'{secret}' is in {}", path.display());
        }
    }
}

/// Runs it in several voices, looks at it with every command that shows runs, and searches for
/// secrets.
fn search(lab: &Lab, text: &str, code: i32) {
    lab.write("workflow.yaml", text);
    let runs: [&[&str]; 3] = [
        &["run", "workflow.yaml", "--verbose"],
        &["run", "workflow.yaml", "--log-format", "json", "--force", "archive"],
        &["run", "workflow.yaml", "--quiet", "--set", "split.seed=3"],
    ];
    for arguments in runs {
        let shown = lab.voxflow(arguments);
        assert_eq!(shown.code, code, "{}", shown.err);
        assert_unsaid(&shown);
    }
    for arguments in [
        &["plan", "workflow.yaml"][..],
        &["check", "workflow.yaml"],
        &["show", "latest"],
        &["report", "latest"],
        &["runs"],
        &["cache", "size"],
        &["path", "latest/archive"],
    ] {
        assert_unsaid(&lab.voxflow(arguments));
    }
    assert_unwritten(lab);
}

#[test]
fn no_credential_is_written_or_said_whether_the_run_ends_well_or_not() {
    let (bytes, digest) = archive();
    let address = server(bytes);
    let own = [SECRETS[0], SECRETS[1], SECRETS[2], SECRETS[3]];
    search(&lab(), &workflow(&address, "data", &digest, own), 0);
    search(&lab(), &workflow(&address, "refused", &digest, own), 1);
    search(&lab(), &workflow(&address, "data", &"0".repeat(64), own), 1);
}

#[test]
fn passwords_under_names_that_tell_nothing_are_hidden_too() {
    let (bytes, digest) = archive();
    let address = server(bytes);
    let mut lab = Lab::new();
    lab.set("DB_PASS", SECRETS[4]);
    let [auth, pass, pwd, code] = [0, 1, 2, 3].map(|at| SECRETS[at]);
    let query = format!("auth={auth}&pass={pass}&pwd={pwd}&code={code}");
    let url = |folder: &str| format!("http://{address}/{folder}/${{DB_PASS}}/a.tar?{query}");
    search(&lab, &workflow_of(&url("data"), &digest), 0);
    search(&lab, &workflow_of(&url("refused"), &"1".repeat(64)), 1);
}

/// `CONTRAST_KEY` says nothing of a secret, and one letter of `API_KEY` is in every text by chance.
#[test]
fn a_short_value_of_a_variable_leaves_the_record_of_a_run_as_it_is() {
    let mut lab = Lab::new();
    Dataset::write(&lab.path("data"), 6, 0);
    lab.set("CONTRAST_KEY", "1");
    lab.set("API_KEY", "2");
    let text = "name: contrast
seed: 12
stages:
  dataset:
    uses: folder
    with:
      path: data
      images: 'imagesTr/{case}.nii.gz'
      labels: 'labelsTr/{case}.nii.gz'
      label_names: [cube]
      modality: ['T${CONTRAST_KEY} number ${API_KEY}']
  split: { uses: split, needs: [dataset], with: { training: 3, validation: 1, testing: 2 } }
";
    let run = lab.run(text, &[], 0).folder;
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    assert_eq!(read("workflow.yaml"), text);
    let resolved = read("resolved.yaml");
    let words = ["T${CONTRAST_KEY} number ${API_KEY}", "seed: 12", "training: 3"];
    assert!(words.iter().all(|words| resolved.contains(words)), "{resolved}");
    assert!(read("outputs/dataset/dataset.json").contains("T1 number 2"));
    for line in read("events.jsonl").lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event is JSON");
        assert!(event["at_ms"].as_u64().is_some_and(|moment| moment > 1_000_000_000_000), "{line}");
    }
    lab.write("again.yaml", &resolved);
    let again = lab.voxflow(&["run", "again.yaml"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(lab.last_run().made(), [] as [&str; 0]);
}

#[test]
fn no_mistake_repeats_a_credential() {
    let lab = lab();
    let [user, password, token, signature] = [0, 1, 2, 3].map(|at| SECRETS[at]);
    let url =
        format!("ftp://{user}:{password}@host/${{DATA_TOKEN}}?token={token}&signature={signature}");
    for (from, to) in [("", ""), ("url:", "urll:"), ("sha256:", "sha257:"), ("'ftp", "7 # 'ftp")] {
        let text =
            format!("stages:\n  a: {{ uses: download, with: {{ sha256: 'x', url: '{url}' }} }}\n");
        lab.write("workflow.yaml", &text.replace(from, to));
        let shown = lab.voxflow(&["run", "workflow.yaml"]);
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert_unsaid(&shown);
    }
    let shown = lab.voxflow(&["run", "workflow.yaml", "--set", &format!("a.url={url}")]);
    assert_eq!(shown.code, 2);
    assert_unsaid(&shown);
}

#[test]
fn another_password_is_another_way_to_the_same_thing() {
    let (bytes, digest) = archive();
    let address = server(bytes);
    let lab = lab();
    let first = lab.run(&workflow(&address, "data", &digest, ["a", "b", "c", "d"]), &[], 0);
    let second = lab.run(&workflow(&address, "data", &digest, ["e", "f", "g", "h"]), &[], 0);
    assert_eq!(second.made(), [] as [&str; 0]);
    assert_eq!(first.fingerprint("archive"), second.fingerprint("archive"));
}

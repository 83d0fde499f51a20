//! One store for several homes and several users: what others need stays, and a group shares a
//! store under any umask. Users are played by ids that this machine does not know, as root only.
#![allow(clippy::print_stdout)]

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, Shown, TINY};
use sha2::Digest;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The users' common group.
const GROUP: u32 = 61_000;

/// A user with a private folder below the lab's.
struct User<'a> {
    lab: &'a Lab,
    id: u32,
    umask: &'static str,
}

impl<'a> User<'a> {
    /// A user, or words for why this machine cannot play one.
    fn new(lab: &'a Lab, id: u32, umask: &'static str) -> Option<User<'a>> {
        let user = User { lab, id, umask };
        fs::set_permissions(lab.path(""), Permissions::from_mode(0o755)).unwrap();
        // The program must be there for users who may not look into everything.
        let program = lab.path("voxflow");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_voxflow"), &program).unwrap();
        }
        let shown = rustix::process::geteuid().is_root().then(|| user.voxflow(&["--version"]));
        if shown.is_none_or(|shown| shown.code != 0) {
            println!("skipped: only root can be several users, by 'setpriv'");
            return None;
        }
        fs::create_dir_all(user.folder()).unwrap();
        user.give(&user.folder(), 0o700);
        Some(user)
    }

    fn folder(&self) -> PathBuf {
        self.lab.path(&self.id.to_string())
    }

    /// Makes a path and all below it the user's own.
    fn give(&self, path: &Path, mode: u32) {
        let inside = fs::read_dir(path).into_iter().flatten().flatten();
        inside.for_each(|entry| self.give(&entry.path(), mode));
        chown(path, Some(self.id), Some(self.id)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn voxflow(&self, arguments: &[&str]) -> Shown {
        let mut command = Command::new("setpriv");
        let (id, group) = (self.id.to_string(), GROUP.to_string());
        command.args(["--reuid", &id, "--regid", &id, "--groups", &group, "sh", "-c"]);
        command.arg(format!("umask {}; exec \"$@\"", self.umask)).arg("sh");
        command.arg(self.lab.path("voxflow")).args(arguments).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env_remove("VOXFLOW_HOME").env_remove("VOXFLOW_STORE");
        let folder = self.folder();
        command.current_dir(if folder.is_dir() { folder } else { self.lab.path("") });
        let output = command.output().unwrap();
        Shown {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a workflow over a store; what was made.
    fn run(&self, workflow: &str, store: &Path, flags: &[&str]) -> Vec<String> {
        fs::write(self.folder().join("workflow.yaml"), workflow).unwrap();
        let store = store.to_str().unwrap();
        let shown =
            self.voxflow(&[&["run", "workflow.yaml", "--store", store][..], flags].concat());
        assert_eq!(shown.code, 0, "user {} umask {}: {}", self.id, self.umask, shown.err);
        assert!(!shown.err.contains("denied"), "{}", shown.err);
        let mut runs: Vec<PathBuf> = fs::read_dir(self.folder().join(".voxflow/runs"))
            .unwrap()
            .map(|run| run.unwrap().path())
            .collect();
        runs.sort_by_key(|run| Record::of(run).value["started_at_ms"].as_i64().expect("a time"));
        Record::of(runs.last().expect("a run")).made().into_iter().map(String::from).collect()
    }
}

const OTHER: [&str; 2] = ["--set", "volumes.spacing=[16, 16, 16]"];

#[test]
fn two_users_of_a_group_share_a_store_whatever_their_umasks_are() {
    for umasks in [["002", "002"], ["022", "022"], ["022", "002"], ["077", "027"]] {
        let lab = Lab::new();
        let users = [61_001, 61_002].into_iter().zip(umasks);
        let users: Option<Vec<User>> =
            users.map(|(id, umask)| User::new(&lab, id, umask)).collect();
        let Some(users) = users else { return };
        let [anna, ben] = &users[..] else { panic!("two users") };
        let store = shared(&lab).join("store");
        assert_eq!(anna.run(TINY, &store, &[]).len(), 4);
        assert!(ben.run(TINY, &store, &[]).is_empty());
        assert_eq!(ben.run(TINY, &store, &OTHER), ["volumes", "cache"]);
        assert!(anna.run(TINY, &store, &OTHER).is_empty());
        assert_modes(&store, umasks);
        // What the one needs stays when the other collects, though their homes are private.
        let flag = store.to_str().unwrap();
        assert_eq!(ben.run(TINY, &store, &["--set", "volumes.spacing=[14, 14, 14]"]).len(), 2);
        for limit in [["--keep-runs", "1"], ["--max-size", "1kB"]] {
            let arguments = [&["cache", "gc", "--store", flag], &limit[..]].concat();
            let shown = anna.voxflow(&arguments);
            assert_eq!(shown.code, 0, "{umasks:?} {limit:?}: {}", shown.err);
        }
        assert!(ben.run(TINY, &store, &["--set", "volumes.spacing=[14, 14, 14]"]).is_empty());
        assert!(ben.run(TINY, &store, &OTHER).is_empty());
        // The one sets aside what the other has made, and makes it again.
        let blob = first_file(&store.join("blobs"));
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, "other").unwrap();
        assert_eq!(ben.voxflow(&["cache", "verify", "--store", flag]).code, 3);
        anna.run(TINY, &store, &["--verify"]);
        ben.run(TINY, &store, &["--verify"]);
        assert_eq!(anna.voxflow(&["cache", "verify", "--store", flag]).code, 0);
    }
}

/// Every folder of the store is the group's to write, and so is every file but a blob.
fn assert_modes(path: &Path, umasks: [&str; 2]) {
    let metadata = fs::metadata(path).unwrap();
    let mode = metadata.mode() & 0o7777;
    let shown = format!("{} {mode:o} {umasks:?}", path.display());
    assert_eq!(metadata.gid(), GROUP, "{shown}");
    if metadata.is_dir() {
        assert_eq!(mode & 0o2070, 0o2070, "{shown}");
        fs::read_dir(path).unwrap().for_each(|entry| assert_modes(&entry.unwrap().path(), umasks));
    } else if path.parent().is_some_and(|fan| fan.parent().unwrap().ends_with("blobs")) {
        assert_eq!(mode, 0o444, "{shown}");
    } else {
        assert_eq!(mode & 0o060, 0o060, "{shown}");
    }
}

fn first_file(folder: &Path) -> PathBuf {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let first = paths.remove(0);
    if first.is_dir() { first_file(&first) } else { first }
}

#[test]
fn a_store_that_is_not_shared_can_be_read_and_says_whose_it_is_where_it_must_be_written() {
    let lab = Lab::new();
    let (Some(anna), Some(ben)) = (User::new(&lab, 61_001, "022"), User::new(&lab, 61_002, "022"))
    else {
        return;
    };
    let folder = lab.path("hers");
    fs::create_dir(&folder).unwrap();
    anna.give(&folder, 0o755);
    let store = folder.join("store");
    anna.run(TINY, &store, &[]);
    assert!(ben.run(TINY, &store, &[]).is_empty(), "what is there can be reused");
    let flag = store.to_str().unwrap();
    let shown = ben.voxflow(&["run", "workflow.yaml", "--store", flag, OTHER[0], OTHER[1]]);
    assert_eq!(shown.code, 3, "{}", shown.err);
    for words in ["claims: cannot open", "belongs to user 61001", "docs/shared-stores.md"] {
        assert!(shown.err.contains(words), "{words}: {}", shown.err);
    }
    anna.give(&store, 0o700);
    let shown = ben.voxflow(&["run", "workflow.yaml", "--store", flag]);
    assert!(shown.code == 3 && shown.err.contains("belongs to user 61001"), "{}", shown.err);
}

#[test]
fn the_private_dataset_of_one_user_does_not_stop_another_with_an_equal_one() {
    let lab = Lab::new();
    let (Some(anna), Some(ben)) = (User::new(&lab, 61_001, "002"), User::new(&lab, 61_002, "002"))
    else {
        return;
    };
    let store = shared(&lab).join("store");
    for user in [&anna, &ben] {
        Dataset::write(&user.folder().join("data"), 7, 0);
        user.give(&user.folder(), 0o700);
    }
    let until = ["--until", "cache"];
    assert_eq!(anna.run(CUBES, &store, &until).len(), 4);
    assert_eq!(ben.run(CUBES, &store, &until), ["dataset"]);
    assert!(ben.run(CUBES, &store, &until).is_empty());
    assert_eq!(anna.run(CUBES, &store, &until), ["dataset"]);
}

/// A server of `body` that breaks off in the middle at first, and then until `is_mended`.
fn server(body: Vec<u8>, is_mended: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let (mut request, mut byte) = (vec![], [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap().to_lowercase();
            let start = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
            let start: usize =
                start.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let (rest, most) = (&body[start..], body.len() - 1);
            let head = match start {
                0 => "HTTP/1.1 200 OK".to_string(),
                _ => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{most}/{}",
                    body.len()
                ),
            };
            let length = rest.len();
            let head = format!("{head}\r\nContent-Length: {length}\r\nETag: \"a\"\r\n\r\n");
            if index == 0 || is_mended.load(Ordering::SeqCst) {
                let sent = if index == 0 { &rest[..length / 2] } else { rest };
                let _ = stream.write_all(&[head.as_bytes(), sent].concat());
            }
        }
    });
    format!("http://{address}/data.tar")
}

#[test]
fn a_download_that_one_user_has_begun_is_finished_by_another() {
    let lab = Lab::new();
    let (Some(anna), Some(ben)) = (User::new(&lab, 61_001, "022"), User::new(&lab, 61_002, "022"))
    else {
        return;
    };
    let store = shared(&lab).join("store");
    let body: Vec<u8> =
        (0..75_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let digest: String = sha2::Sha256::digest(&body).iter().map(|b| format!("{b:02x}")).collect();
    let is_mended = Arc::new(AtomicBool::new(false));
    let url = server(body, Arc::clone(&is_mended));
    let workflow = format!(
        "name: fetched\nstages:\n  archive: {{ uses: download, with: {{ url: '{url}', sha256: {digest} }} }}\n"
    );
    fs::write(anna.folder().join("workflow.yaml"), &workflow).unwrap();
    let flag = store.to_str().unwrap();
    let shown = anna.voxflow(&["run", "workflow.yaml", "--store", flag]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    let partial = first_file(&store.join("unfinished"));
    assert!(partial.metadata().unwrap().uid() == anna.id, "{}", partial.display());
    is_mended.store(true, Ordering::SeqCst);
    assert_eq!(ben.run(&workflow, &store, &[]), ["archive"]);
    assert!(anna.run(&workflow, &store, &[]).is_empty());
    assert_eq!(first_file(&store.join("blobs")).metadata().unwrap().uid(), ben.id);
}

/// A folder of the group, as docs/shared-stores.md says.
fn shared(lab: &Lab) -> PathBuf {
    let shared = lab.path("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, None, Some(GROUP)).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o2770)).unwrap();
    shared
}

/// A run of TINY in the home `home` over the store of all; the stages that were made.
fn run_in(lab: &Lab, home: &str, flags: &[&str]) -> Vec<String> {
    lab.write("workflow.yaml", TINY);
    let before = runs_of(lab, home);
    let place = ["run", "workflow.yaml", "--store", "common", "--home", home];
    let shown = lab.voxflow(&[&place[..], flags].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    let new: Vec<PathBuf> =
        runs_of(lab, home).into_iter().filter(|run| !before.contains(run)).collect();
    Record::of(&new[0]).made().into_iter().map(String::from).collect()
}

fn runs_of(lab: &Lab, home: &str) -> Vec<PathBuf> {
    let runs = fs::read_dir(lab.path(home).join("runs")).into_iter().flatten();
    runs.map(|run| run.unwrap().path()).collect()
}

fn collect(lab: &Lab, home: &str, limit: &[&str]) -> Shown {
    lab.voxflow(&[&["cache", "gc", "--store", "common", "--home", home], limit].concat())
}

#[test]
fn gc_in_one_home_keeps_what_the_runs_of_another_need() {
    let lab = Lab::new();
    run_in(&lab, "one", &[]);
    run_in(&lab, "two", &OTHER);
    run_in(&lab, "two", &["--set", "volumes.spacing=[14, 14, 14]"]);
    for limit in [["--keep-runs", "1"], ["--max-size", "1kB"]] {
        let shown = collect(&lab, "one", &limit);
        assert_eq!(shown.code, 0, "{limit:?}: {}", shown.err);
        assert!(run_in(&lab, "two", &OTHER).is_empty(), "{limit:?}");
        let spacing = ["--set", "volumes.spacing=[14, 14, 14]"];
        assert!(run_in(&lab, "two", &spacing).is_empty(), "{limit:?}");
    }
    let shown = lab.voxflow(&["cache", "size", "--store", "common", "--home", "one"]);
    assert!(shown.out.contains("other home") && shown.out.contains("two"), "{}", shown.out);
    // A home that was removed needs nothing.
    fs::remove_dir_all(lab.path("two")).unwrap();
    let shown = collect(&lab, "one", &["--keep-runs", "1"]);
    assert!(shown.code == 0 && shown.out.contains("preprocess"), "{}{}", shown.out, shown.err);
    assert!(run_in(&lab, "one", &[]).is_empty());
    assert_eq!(run_in(&lab, "two", &OTHER), ["volumes", "cache"]);
}

#[test]
fn a_home_on_another_host_is_known_by_what_its_runs_wrote_into_the_store() {
    let lab = Lab::new();
    run_in(&lab, "one", &[]);
    run_in(&lab, "two", &OTHER);
    let homes = lab.path("common/homes");
    let registered: Vec<PathBuf> = fs::read_dir(&homes)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| fs::read_to_string(path).unwrap().contains("two"))
        .collect();
    let [file] = &registered[..] else { panic!("{registered:?}") };
    // As if the home lay on a disk of another machine.
    let text = serde_json::json!({ "home": "/scratch/two", "host": "node-7" });
    fs::write(file, text.to_string()).unwrap();
    let shown = collect(&lab, "one", &["--keep-runs", "1"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(run_in(&lab, "two", &OTHER).is_empty());
    fs::write(file, text.to_string()).unwrap();
    fs::remove_file(file.with_extension("needs")).unwrap();
    let shown = collect(&lab, "one", &["--keep-runs", "1"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("/scratch/two of host 'node-7'"), "{}", shown.err);
    for limit in [&["--older-than", "30d"][..], &[]] {
        assert_eq!(collect(&lab, "one", limit).code, 0, "{limit:?}");
    }
}

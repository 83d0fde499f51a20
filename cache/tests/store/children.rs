//! Other processes: this test program started again, doing one of a few things.

use super::{make_toy, never, recall_toy, recipe};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use voxflow_cache::{Draft, Error, RecallPolicy, Store};

const ROLE: &str = "VOXFLOW_TEST_ROLE";
const ROOT: &str = "VOXFLOW_TEST_ROOT";

/// How many recipes a crowd wants.
pub const CROWD_RECIPES: u32 = 12;

/// A command that plays `role` on the store at `root`.
pub fn command(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "children::not_a_test_but_the_body_of_other_processes",
        "--exact",
        "--nocapture",
    ]);
    command
        .env(ROLE, role)
        .env(ROOT, root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Starts a process and waits until it says that it holds what it should.
pub fn holding(role: &str, root: &Path) -> Child {
    let mut child = command(role, root).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line.ends_with("holding")),
        "'{role}' ended early"
    );
    child
}

#[test]
fn not_a_test_but_the_body_of_other_processes() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = std::env::var_os(ROOT).unwrap();
    if role == "faulty" {
        return faulty(Path::new(&root));
    }
    let store = Store::open(Path::new(&root)).unwrap();
    match role.as_str() {
        "crowd" => crowd(&store, Path::new(&root)),
        "claim" => {
            let _claim = store.claim(recipe(1).fingerprint()).unwrap().unwrap();
            hold();
        }
        "draft" => {
            let draft = store.draft().unwrap();
            make_toy(&draft, 1).unwrap();
            hold();
        }
        "pin" => {
            store.hold().unwrap();
            recall_toy(&store, 1);
            hold();
        }
        "gc" => super::gc::collect_everything(&store),
        "cramped" => cramped(&store),
        "toy" => drop(recall_toy(&store, 1)),
        other => panic!("no role '{other}'"),
    }
}

/// Wants every recipe, on several threads, and writes a line for each that it makes.
pub fn crowd(store: &Store, root: &Path) {
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for step in 0..CROWD_RECIPES {
                    let number = (step * 5 + thread * 7) % CROWD_RECIPES;
                    let make = |draft: &Draft| -> Result<_, Error> {
                        log_making(root, number);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        make_toy(draft, number)
                    };
                    let (entry, _) =
                        store.recall(&recipe(number), &RecallPolicy::new(&never), make).unwrap();
                    super::assert_toy(store, &entry, number);
                }
            });
        }
    });
}

fn log_making(root: &Path, number: u32) {
    let log = root.with_extension("log");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    file.write_all(format!("{number}\n").as_bytes()).unwrap();
}

fn hold() -> ! {
    let mut out = std::io::stdout();
    writeln!(out, "\nholding").unwrap();
    out.flush().unwrap();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Makes a toy on a disk that may fail; an error must be one of the store and name the system's
/// reason.
fn faulty(root: &Path) {
    let make = || {
        let store = Store::open(root)?;
        store.hold()?;
        store.recall(&recipe(1), &RecallPolicy::new(&never), |draft| make_toy(draft, 1)).map(drop)
    };
    let made: Result<(), Error> = make();
    if let Err(error) = made {
        let words = error.to_string();
        assert!(
            error.is_storage() && (words.contains("os error 28") || words.contains("os error 5")),
            "{words}"
        );
        let mut out = std::io::stdout();
        writeln!(out, "told: {words}").unwrap();
    }
}

/// Publishes files that fit and an entry that does not: no file may grow beyond 2000 bytes.
fn cramped(store: &Store) {
    let limit = libc::rlimit { rlim_cur: 2000, rlim_max: 2000 };
    // SAFETY: plain system calls on this process, which ends soon.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
    }
    let make = |draft: &Draft| -> Result<_, Error> {
        std::fs::write(draft.folder().join("file"), "fits").unwrap();
        Ok((serde_json::json!("x".repeat(5000)), vec![]))
    };
    let error = store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap_err();
    assert!(
        error.is_storage() && error.to_string().contains("entry.json: cannot write"),
        "{error}"
    );
}

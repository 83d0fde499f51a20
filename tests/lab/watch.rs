//! A program that is watched: it gets so much time and no more, and its largest memory is known.

use super::Shown;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than any command here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a watched program left.
pub struct Watched {
    pub shown: Shown,
    pub peak_bytes: u64,
}

/// Runs a command to its end, which must come in time.
#[allow(clippy::zombie_processes)] // Waited for by wait4, which tells the memory too.
pub fn watch(mut command: Command) -> Watched {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let (pid, started) = (child.id() as i32, Instant::now());
    loop {
        let mut status = 0;
        // SAFETY: both pointers are to live values, and zeros are a valid rusage.
        let (found, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        if found == pid {
            let code = if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                -libc::WTERMSIG(status)
            };
            let words =
                |thread: std::thread::JoinHandle<String>| thread.join().expect("what was said");
            let shown = Shown { code, out: words(out), err: words(err) };
            return Watched { shown, peak_bytes: usage.ru_maxrss as u64 * 1024 };
        }
        if started.elapsed() > PATIENCE {
            child.kill().expect("a kill");
            panic!("not over after {PATIENCE:?}: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = vec![];
        pipe.expect("a pipe").read_to_end(&mut bytes).expect("what was said");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

//! A program in a terminal of its own: a pseudo-terminal, and its screen read back cell by cell.

use super::Lab;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    keyboard: Keyboard,
}

/// What a person does at a terminal.
pub struct Keyboard {
    end: File,
    resized: Option<(u16, u16)>,
}

impl Keyboard {
    pub fn press(&mut self, keys: &[u8]) {
        self.end.write_all(keys).unwrap();
    }

    /// Changes the size of the window; the program is told.
    pub fn resize(&mut self, rows: u16, cols: u16) {
        let size = size(rows, cols);
        let end = self.end.as_raw_fd();
        // SAFETY: the descriptor is open and `size` outlives the call, which only reads it.
        let set = unsafe { libc::ioctl(end, libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(set, 0);
        self.resized = Some((rows, cols));
    }
}

fn size(rows: u16, cols: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The two ends of a new pseudo-terminal: a person's and a program's.
fn pair(rows: u16, cols: u16) -> (OwnedFd, OwnedFd) {
    let (mut person, mut program) = (-1, -1);
    let size = size(rows, cols);
    // SAFETY: both descriptors are written by the call, the name and the modes may be null, and on
    // success (checked) both descriptors are open and owned by nobody else.
    unsafe {
        let done = libc::openpty(
            &mut person,
            &mut program,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        );
        assert_eq!(done, 0, "a pseudo-terminal");
        // A program that inherited the person's end would keep its own terminal open.
        for end in [person, program] {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (OwnedFd::from_raw_fd(person), OwnedFd::from_raw_fd(program))
    }
}

/// Starts the program in a session of its own at one end of a pseudo-terminal.
fn spawn(lab: &Lab, arguments: &[&str], program: &OwnedFd) -> Child {
    let mut command = lab.command(arguments);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    let end = || program.try_clone().unwrap();
    command.stdin(end()).stdout(end()).stderr(end());
    // SAFETY: only two calls to the system, both safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

/// Runs the program on a terminal that is closed once it is `ready`, and waits for its end.
pub fn hang_up(lab: &Lab, arguments: &[&str], ready: impl Fn() -> bool) -> ExitStatus {
    let (person, program) = pair(30, 80);
    let mut child = spawn(lab, arguments, &program);
    drop(program);
    let mut person = File::from(person);
    // SAFETY: sets a flag of an open descriptor.
    unsafe { libc::fcntl(person.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let end = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < end, "not ready");
        let _ = person.read(&mut [0; 4096]);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(person);
    child.wait().unwrap()
}

impl Terminal {
    /// Runs the program on a screen of that size.
    pub fn run(lab: &Lab, arguments: &[&str], rows: u16, cols: u16) -> Terminal {
        let (person, program) = pair(rows, cols);
        let child = spawn(lab, arguments, &program);
        let mut reader = File::from(person.try_clone().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut block) {
                if sender.send(block[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            child,
            output,
            parser: vt100::Parser::new(rows, cols, 0),
            keyboard: Keyboard { end: File::from(person), resized: None },
        }
    }

    /// Reads until the program ends; `look` sees the screen after every block. Gives the exit code.
    pub fn watch(&mut self, mut look: impl FnMut(&vt100::Screen, &mut Keyboard)) -> i32 {
        let end = Instant::now() + Duration::from_secs(120);
        let mut over = None;
        loop {
            match self.output.recv_timeout(Duration::from_millis(50)) {
                Ok(block) => {
                    self.parser.process(&block);
                    look(self.parser.screen(), &mut self.keyboard);
                    if let Some((rows, cols)) = self.keyboard.resized.take() {
                        self.parser.screen_mut().set_size(rows, cols);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                // What was written before the end may still be on its way.
                Err(RecvTimeoutError::Timeout) if over.is_some() => break,
                Err(RecvTimeoutError::Timeout) => over = self.child.try_wait().unwrap(),
            }
            assert!(Instant::now() < end, "still running:\n{}", self.screen().contents());
        }
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }
}

//! Suppresses the terminal's "^C" echo while bars move: it would shift the cursor and garble
//! redrawing.

use std::os::fd::AsRawFd;

/// Disables echoing control characters until dropped. If the process dies earlier, the terminal
/// stays usable, merely without such echo.
pub(super) struct Unshown {
    before: libc::termios,
}

impl Unshown {
    /// Acts on stderr's terminal; `None` if impossible.
    pub fn begin() -> Option<Unshown> {
        // SAFETY: an all-zero termios is a value of the type, and the call fills it in.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `modes` outlives the call.
        let known = unsafe { libc::tcgetattr(std::io::stderr().as_raw_fd(), &raw mut modes) } == 0;
        let unshown = known.then_some(Unshown { before: modes })?;
        modes.c_lflag &= !libc::ECHOCTL;
        set(&modes);
        Some(unshown)
    }
}

impl Drop for Unshown {
    fn drop(&mut self) {
        set(&self.before);
    }
}

fn set(modes: &libc::termios) {
    // SAFETY: the descriptor is open and `modes` outlives the call, which only reads it. From the
    // background the call would stop the process: a terminal of another group is left alone.
    unsafe {
        let terminal = std::io::stderr().as_raw_fd();
        if libc::tcgetpgrp(terminal) == libc::getpgrp() {
            libc::tcsetattr(terminal, libc::TCSANOW, modes);
        }
    }
}

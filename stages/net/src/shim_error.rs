//! Reasons of failures inside the shim, whose functions catch every exception.

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn voxflow_last_error() -> *const c_char;
}

/// Words of the last exception that the shim caught on this thread.
pub fn last() -> String {
    // SAFETY: a buffer of this thread that always ends with a zero.
    unsafe { CStr::from_ptr(voxflow_last_error()) }.to_string_lossy().into_owned()
}

/// Panics with libtorch's words, as tch does where libtorch refuses an operation; caught by
/// [`catch_panic`](crate::failure::catch_panic).
#[track_caller]
pub fn refused() -> ! {
    panic!("Torch(\"{}\")", last())
}

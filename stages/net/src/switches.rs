//! Switches of libtorch that hold for the whole process, through the shim in `shim/`.

use std::ffi::c_int;
use voxflow_stages::{Error, Result};

unsafe extern "C" {
    fn voxflow_set_deterministic(on: c_int) -> c_int;
    #[cfg(test)]
    fn voxflow_deterministic() -> c_int;
}

/// The workspace that cuBLAS needs to repeat bit by bit; it reads it when CUDA starts.
const CUBLAS: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// Refuses algorithms that do not repeat bit by bit (an operation that has no other is an error), or
/// lets cuDNN search for the fastest. Call it before the first tensor, while no other thread runs.
pub fn set_deterministic(on: bool) -> Result<()> {
    if on && std::env::var_os(CUBLAS.0).is_none() {
        // SAFETY: the worker calls this before it starts threads or CUDA.
        unsafe { std::env::set_var(CUBLAS.0, CUBLAS.1) };
    }
    // SAFETY: takes an integer, and catches every exception.
    match unsafe { voxflow_set_deterministic(c_int::from(on)) } {
        0 => Ok(()),
        _ => Err(Error::failed("libtorch refused the switch for deterministic algorithms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_keeps_what_was_switched() {
        let state = || unsafe { voxflow_deterministic() };
        set_deterministic(true).unwrap();
        assert_eq!(state(), 1);
        set_deterministic(false).unwrap();
        assert_eq!(state(), 0);
    }
}

//! Switches of libtorch that hold for the whole process, through the shim in `shim/`.

use std::ffi::c_int;
use voxflow_stages::{Error, Result};

unsafe extern "C" {
    fn voxflow_set_deterministic(on: c_int) -> c_int;
    fn voxflow_set_exact_fp32() -> c_int;
    #[cfg(test)]
    fn voxflow_deterministic() -> c_int;
    #[cfg(test)]
    fn voxflow_exact_fp32() -> c_int;
}

/// The workspace that cuBLAS needs to repeat bit by bit; it reads it when CUDA starts.
const CUBLAS: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// Refuses algorithms that do not repeat bit by bit (an operation that has no other is an error),
/// or lets cuDNN search for the fastest when it meets a shape for the first time. A training meets
/// few: its batches, the shorter last one of an epoch, and the windows of validations, so the
/// choice is made in its first steps and stays. Call it before the first tensor, while no other
/// thread runs.
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

/// Lets fp32 mean fp32 on an accelerator too. PyTorch's own default is TF32 for convolutions, which
/// is as fast as 16 bits and as rough; who wants speed says `precision: bf16` or `fp16`.
pub fn set_exact_fp32() -> Result<()> {
    // SAFETY: takes nothing, and catches every exception.
    match unsafe { voxflow_set_exact_fp32() } {
        0 => Ok(()),
        _ => Err(Error::failed("libtorch refused the switch for exact fp32")),
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
        set_exact_fp32().unwrap();
        assert_eq!(unsafe { voxflow_exact_fp32() }, 1);
    }
}

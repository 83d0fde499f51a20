//! Backend flags of libtorch, which hold for the whole process, through `shim/torch_flags.cpp`.

use crate::shim_error;
use std::ffi::c_int;
use voxflow_stages::{Error, Result};

unsafe extern "C" {
    fn voxflow_set_deterministic(on: c_int) -> c_int;
    fn voxflow_set_exact_fp32() -> c_int;
    fn voxflow_deterministic() -> c_int;
    #[cfg(test)]
    fn voxflow_exact_fp32() -> c_int;
}

/// Makes cuBLAS deterministic; read when CUDA starts.
const CUBLAS: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// On: refuses algorithms that do not repeat bit by bit (an operation without another is an error).
/// Off: cuDNN benchmarks its algorithms whenever it meets a new shape. A training has few shapes
/// (its batches, the shorter last batch of an epoch, the windows of validations), so this happens
/// in its first steps only. Call it before the first tensor, while no other thread runs.
pub fn set_deterministic(on: bool) -> Result<()> {
    if on && std::env::var_os(CUBLAS.0).is_none() {
        // SAFETY: the worker calls this before it starts threads or CUDA.
        unsafe { std::env::set_var(CUBLAS.0, CUBLAS.1) };
    }
    // SAFETY: takes an integer, and catches every exception.
    match unsafe { voxflow_set_deterministic(c_int::from(on)) } {
        0 => Ok(()),
        _ => Err(refused("deterministic algorithms")),
    }
}

/// True if algorithms that do not repeat bit by bit are refused.
pub fn is_deterministic() -> bool {
    // SAFETY: reads flags, and catches every exception.
    unsafe { voxflow_deterministic() == 1 }
}

/// Makes convolutions in fp32 compute in fp32 on an accelerator too. PyTorch's default there is
/// TF32, as fast and as imprecise as 16 bits; for speed there are `precision: bf16` and `fp16`.
pub fn set_exact_fp32() -> Result<()> {
    // SAFETY: takes nothing, and catches every exception.
    match unsafe { voxflow_set_exact_fp32() } {
        0 => Ok(()),
        _ => Err(refused("exact fp32")),
    }
}

fn refused(flag: &str) -> Error {
    Error::failed(format!("libtorch refused the switch for {flag}: {}", shim_error::last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_keeps_what_was_switched() {
        // SAFETY: both functions read a flag.
        let state = || unsafe { (voxflow_deterministic(), voxflow_exact_fp32()) };
        set_deterministic(true).unwrap();
        assert_eq!(state().0, 1);
        set_deterministic(false).unwrap();
        assert_eq!(state().0, 0);
        set_exact_fp32().unwrap();
        assert_eq!(state().1, 1);
    }
}

//! Backend flags of libtorch, which hold for the whole process, through `shim/torch_flags.cpp`.

use crate::shim_error;
use std::ffi::c_int;
use voxflow_stages::{Error, Result};

unsafe extern "C" {
    fn voxflow_set_deterministic(on: c_int) -> c_int;
    fn voxflow_deterministic() -> c_int;
    fn voxflow_set_search(on: c_int) -> c_int;
    #[cfg(test)]
    fn voxflow_searches() -> c_int;
    fn voxflow_set_tf32(on: c_int) -> c_int;
    fn voxflow_tf32() -> c_int;
}

/// Makes cuBLAS deterministic; read when CUDA starts.
const CUBLAS: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// On: refuses algorithms that do not repeat bit by bit (an operation without another is an error).
/// Off: cuDNN may take others. Call it before the first tensor, while no other thread runs.
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

/// Lets cuDNN benchmark its algorithms whenever it meets a new shape, or not. Trainings and
/// inference have few shapes (their batches, the shorter last batch of an epoch or volume), so this
/// happens in their first steps only.
pub fn set_search(on: bool) -> Result<()> {
    // SAFETY: takes an integer, and catches every exception.
    match unsafe { voxflow_set_search(c_int::from(on)) } {
        0 => Ok(()),
        _ => Err(refused("cuDNN's search")),
    }
}

/// Lets an accelerator compute fp32 convolutions in TF32, or not. PyTorch's default there is TF32,
/// as fast and as imprecise as 16 bits; here fp32 is fp32, and `precision: tf32` asks for it.
pub fn set_tf32(on: bool) -> Result<()> {
    // SAFETY: takes an integer, and catches every exception.
    match unsafe { voxflow_set_tf32(c_int::from(on)) } {
        0 => Ok(()),
        _ => Err(refused("TF32")),
    }
}

/// True if an accelerator may compute fp32 convolutions in TF32.
pub fn allows_tf32() -> bool {
    // SAFETY: reads flags, and catches every exception.
    unsafe { voxflow_tf32() == 1 }
}

/// Sets [`set_tf32`] while `work` runs. libtorch reads the flag where an operation is called, not
/// where a device gets to it. Panics if libtorch refuses the flag.
pub fn with_tf32<T>(on: bool, work: impl FnOnce() -> T) -> T {
    let before = allows_tf32();
    if on == before {
        return work();
    }
    let _restored = Tf32 { before };
    if set_tf32(on).is_err() {
        shim_error::refused();
    }
    work()
}

/// Restores the flag for TF32, also after a panic.
struct Tf32 {
    before: bool,
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        // libtorch took the other value a moment ago.
        let _ = set_tf32(self.before);
    }
}

fn refused(flag: &str) -> Error {
    Error::failed(format!("libtorch refused the switch for {flag}: {}", shim_error::last()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::catch_panic;

    #[test]
    fn libtorch_keeps_what_was_switched() {
        // SAFETY: both functions read a flag.
        let state = || unsafe { (voxflow_deterministic(), voxflow_searches()) };
        set_deterministic(true).unwrap();
        assert_eq!(state(), (1, 0));
        set_deterministic(false).unwrap();
        assert_eq!(state(), (0, 0));
        set_search(true).unwrap();
        assert_eq!(state(), (0, 1));
        set_deterministic(true).unwrap();
        assert_eq!(state(), (1, 0));
        set_deterministic(false).unwrap();
    }

    #[test]
    fn tf32_is_allowed_for_a_while_only() {
        set_tf32(false).unwrap();
        assert!(with_tf32(true, || with_tf32(true, allows_tf32)));
        assert!(with_tf32(true, || !with_tf32(false, allows_tf32) && allows_tf32()));
        assert!(!allows_tf32());
        catch_panic(|| with_tf32(true, || -> Result<()> { panic!("a kernel broke") })).unwrap_err();
        assert!(!allows_tf32());
    }
}

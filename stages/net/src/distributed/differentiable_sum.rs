//! A sum over ranks with gradients, by `shim/all_reduce.cpp`.

use super::connection::Connection;
use crate::shim_error;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;

/// Bytes for an error's words.
const WORDS: usize = 512;

type Reduce = extern "C" fn(*const c_void, *mut c_void, *mut c_char) -> c_int;

unsafe extern "C" {
    fn voxflow_differentiable_sum(
        tensor: *const c_void,
        reduce: Reduce,
        context: *const c_void,
    ) -> *mut c_void;
}

/// A tensor's sum over all ranks; its gradient is the sum over all ranks' gradients. All ranks make
/// these calls in the same order, forwards and backwards. Panics, as libtorch's operations do, if a
/// rank failed.
pub fn differentiable_sum(tensor: &Tensor, connection: &'static Connection) -> Tensor {
    let context = std::ptr::from_ref(connection).cast::<c_void>();
    // SAFETY: the tensor outlives the call, and the connection the process; the shim gives a new
    // tensor, or null.
    unsafe {
        let made = voxflow_differentiable_sum(tensor.as_ptr().cast(), reduce, context);
        // The words are a rank's own, not libtorch's.
        assert!(!made.is_null(), "{}", shim_error::last());
        Tensor::from_ptr(made.cast())
    }
}

/// Replaces a tensor by its sum over ranks, for the shim. 0 means done; else there are words.
extern "C" fn reduce(context: *const c_void, tensor: *mut c_void, words: *mut c_char) -> c_int {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the context is that of `differentiable_sum`, and the tensor is libtorch's, which
        // lives during the call; the clone shares it.
        let (connection, mut tensor) =
            unsafe { (&*context.cast::<Connection>(), Tensor::clone_from_ptr(tensor.cast())) };
        connection.communicator.all_reduce(&mut tensor).map_err(|error| error.to_string())
    }));
    let Err(error) = outcome.unwrap_or_else(|_| Err("the sum over ranks panicked".into())) else {
        return 0;
    };
    let length = error.len().min(WORDS - 1);
    // SAFETY: `words` has WORDS bytes, the last of which is left for the 0.
    unsafe {
        error.as_ptr().cast::<c_char>().copy_to_nonoverlapping(words, length);
        *words.add(length) = 0;
    }
    1
}

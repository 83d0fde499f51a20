//! Panics and libtorch errors as one-line errors, without stack frames and with the likely way out.
//! In debug builds a test can cause each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use voxflow_stages::{Error, Result};

/// The variable by which a test makes a stage fail: `panic`, `memory`, `libtorch` or `kill`.
#[cfg(debug_assertions)]
const FAULT_VARIABLE: &str = "VOXFLOW_WORKER_FAULT";

/// libtorch's messages when processor or accelerator memory runs out.
const OUT_OF_MEMORY: [&str; 5] = [
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
];

const REMEDY: &str = "lower 'patch', 'patches_per_volume' or 'volumes_per_step' of a training, \
                      'roi' or 'batch' of an inference, or use a machine with more";

/// The further remedy on a GPU, whose memory others may hold.
const CUDA_REMEDY: &str = "; 'precision: fp16' needs about half, and 'nvidia-smi' says whether \
                           another process holds the GPU";

/// Runs `work`; a panic, such as an error from libtorch, becomes a one-line error.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::failed(panic_message(panic.as_ref()))))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    one_line(message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words"))
}

/// The first line of a panic's message. libtorch's errors arrive as panics too, since tch unwraps
/// them.
fn one_line(message: &str) -> String {
    let inner =
        message.strip_prefix("called `Result::unwrap()` on an `Err` value: ").unwrap_or(message);
    let torch = inner.strip_prefix("Torch(\"");
    let inner = torch.unwrap_or(inner);
    let first = inner.split("\\n").next().and_then(|part| part.lines().next()).unwrap_or(inner);
    let first = first.trim_end_matches("\")");
    match torch {
        _ if OUT_OF_MEMORY.iter().any(|message| first.contains(message)) => {
            let is_cuda = ["CUDA", "CUDNN", "CUBLAS"].iter().any(|name| first.contains(name));
            format!("memory ran out ({first}): {REMEDY}{}", if is_cuda { CUDA_REMEDY } else { "" })
        }
        Some(_) => format!("libtorch: {first}"),
        None => format!("the worker broke (panic): {first}"),
    }
}

/// Fails here, if a test asks for it.
#[cfg(debug_assertions)]
pub fn inject_fault() {
    match std::env::var(FAULT_VARIABLE).as_deref() {
        Ok("panic") => panic!("a test asked for it"),
        Ok("memory") => drop(tch::Tensor::zeros([1 << 50], tch::kind::FLOAT_CPU)),
        Ok("libtorch") => drop(tch::Tensor::from_slice(&[1f32, 2.0]).reshape([3])),
        // SAFETY: raises a signal in this process.
        Ok("kill") => unsafe {
            libc::raise(libc::SIGKILL);
        },
        _ => {}
    }
}

/// Does nothing: faults exist in debug builds only.
#[cfg(not(debug_assertions))]
pub fn inject_fault() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_libtorch_is_one_line_without_frames() {
        let error = catch_panic(|| {
            let one = tch::Tensor::from_slice(&[1f32, 2.0]);
            let _ = &one + tch::Tensor::from_slice(&[1f32, 2.0, 3.0]);
            Ok(())
        });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("libtorch: The size of tensor a (2) must match"), "{error}");
        assert!(!error.contains('\n') && !error.contains("frame #"), "{error}");
    }

    #[test]
    fn an_error_inside_a_list_operation_keeps_libtorchs_words() {
        let error = catch_panic(|| {
            let tensors = [tch::Tensor::from_slice(&[1f32, 2.0])];
            crate::foreach::add(&tensors, &[tch::Tensor::from_slice(&[1f32, 2.0, 3.0])]);
            Ok(())
        });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("libtorch: The size of tensor a (2) must match"), "{error}");
    }

    #[test]
    fn memory_that_ran_out_is_told_with_the_way_out_and_a_panic_is_not_called_libtorchs() {
        let unwrapped = |words: &str| {
            one_line(&format!(
                "called `Result::unwrap()` on an `Err` value: Torch(\"{words}\\nframe #0\")"
            ))
        };
        let cuda = unwrapped("CUDA out of memory. Tried to allocate 20.00 GiB.");
        assert!(
            cuda.starts_with(
                "memory ran out (CUDA out of memory. Tried to allocate 20.00 GiB.): lower 'patch'"
            ),
            "{cuda}"
        );
        assert!(cuda.contains("'precision: fp16'"), "{cuda}");
        let cudnn = unwrapped("cuDNN error: CUDNN_STATUS_ALLOC_FAILED");
        assert!(cudnn.starts_with("memory ran out"), "{cudnn}");
        let processor = unwrapped("DefaultCPUAllocator: can't allocate memory");
        assert!(!processor.contains("GPU"), "{processor}");
        assert_eq!(unwrapped("shape '[3]' is invalid"), "libtorch: shape '[3]' is invalid");
        assert_eq!(
            one_line("index 3 is out of bounds\nmore"),
            "the worker broke (panic): index 3 is out of bounds"
        );
    }
}

//! Panics and libtorch errors as one-line errors, without stack frames and with the likely way out.
//! In debug builds a test can cause each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// libtorch's messages when a kernel or the device broke: CUDA answers every later call of the
/// process with the same error.
const DEVICE_FAILED: [&str; 4] = ["CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS"];

/// Parameters that take less memory, and the settings for a GPU, whose memory others may hold.
struct Remedy {
    any: &'static str,
    cuda: &'static str,
}

const TRAINING: Remedy = Remedy {
    any: "lower 'patch', 'patches_per_volume' or 'volumes_per_step', or 'roi' or 'batch' of the \
          training's inference, or use a machine with more",
    cuda: "; 'precision: fp16' needs about half, VOXFLOW_TRAINING_VOLUMES=memory keeps the volumes \
           off the GPU, and 'nvidia-smi' says whether another process holds it",
};

const INFERENCE: Remedy = Remedy {
    any: "lower 'roi' or 'batch' of the inference, or use a machine with more",
    cuda: "; 'precision: fp16' needs about half, and 'nvidia-smi' says whether another process \
           holds the GPU",
};

const DEVICE_REMEDY: &str = "the GPU or its driver failed; run again: what was finished is kept, \
                             and a training goes on from its checkpoint; if it fails again, see \
                             'nvidia-smi' and the system's log (Xid), or use '--device cpu'";

/// True in the process of a training, whose remedies are its own.
static IS_TRAINING: AtomicBool = AtomicBool::new(false);

/// Tells that this process trains.
pub fn set_training() {
    IS_TRAINING.store(true, Ordering::Relaxed);
}

/// Runs `work`; a panic, such as an error from libtorch, becomes a one-line error.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        Err(error_of(message, IS_TRAINING.load(Ordering::Relaxed)))
    })
}

/// The error for a panic's message, of which the first line counts. libtorch's errors arrive as
/// panics too, since tch unwraps them.
fn error_of(message: &str, is_training: bool) -> Error {
    let inner =
        message.strip_prefix("called `Result::unwrap()` on an `Err` value: ").unwrap_or(message);
    let torch = inner.strip_prefix("Torch(\"");
    let inner = torch.unwrap_or(inner);
    let first = inner.split("\\n").next().and_then(|part| part.lines().next()).unwrap_or(inner);
    let first = first.trim_end_matches("\")");
    if has_any(first, &OUT_OF_MEMORY) {
        let remedy = if is_training { TRAINING } else { INFERENCE };
        let cuda = if has_any(first, &["CUDA", "CUDNN", "CUBLAS"]) { remedy.cuda } else { "" };
        return Error::failed(format!("memory ran out ({first}): {}{cuda}", remedy.any));
    }
    match torch {
        Some(_) if has_any(first, &DEVICE_FAILED) => {
            Error::Device(format!("libtorch: {first}: {DEVICE_REMEDY}"))
        }
        Some(_) => Error::failed(format!("libtorch: {first}")),
        None => Error::failed(format!("the worker broke (panic): {first}")),
    }
}

fn has_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|words| text.contains(words))
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
    fn a_broken_kernel_is_the_devices_failure_and_memory_of_an_inference_has_its_own_way_out() {
        let broken = error_of("Torch(\"CUDA error: unspecified launch failure\\nmore\")", true);
        assert!(matches!(&broken, Error::Device(words) if words.contains("run again")), "{broken}");
        let broken = broken.at_case("a").to_string();
        assert!(broken.ends_with("; it was seen at case 'a'"), "{broken}");
        let memory = error_of("Torch(\"CUDA out of memory.\\nmore\")", false).to_string();
        let way_out = "memory ran out (CUDA out of memory.): lower 'roi' or 'batch' of the";
        assert!(memory.starts_with(way_out) && !memory.contains("volumes_per_step"), "{memory}");
    }

    #[test]
    fn memory_that_ran_out_is_told_with_the_way_out_and_a_panic_is_not_called_libtorchs() {
        let unwrapped = |words: &str| {
            let unwrapped = "called `Result::unwrap()` on an `Err` value: ";
            error_of(&format!("{unwrapped}Torch(\"{words}\\nframe #0\")"), true).to_string()
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
            error_of("index 3 is out of bounds\nmore", true).to_string(),
            "the worker broke (panic): index 3 is out of bounds"
        );
    }
}

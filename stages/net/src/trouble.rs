//! What broke, in one line: errors of libtorch and panics, without frames around them and with the
//! likely way out. In debug builds a test can ask for each.

/// The variable by which a test breaks the work of a stage: `panic`, `memory`, `libtorch` or
/// `kill`.
#[cfg(debug_assertions)]
pub const VARIABLE: &str = "VOXFLOW_WORKER_FAULT";

/// What libtorch says where memory ran out, of the processor or of an accelerator.
const NO_MEMORY: [&str; 3] = ["can't allocate memory", "out of memory", "not enough memory"];

const REMEDY: &str = "lower 'patch', 'patches_per_volume' or 'volumes_per_step' of a training, 'roi' or 'batch' \
                      of an inference, or use a machine with more";

/// The words for a panic's payload.
pub fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    line(words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words"))
}

/// One line of what a panic said. An error of libtorch was unwrapped by its bindings.
fn line(words: &str) -> String {
    let inner =
        words.strip_prefix("called `Result::unwrap()` on an `Err` value: ").unwrap_or(words);
    let torch = inner.strip_prefix("Torch(\"");
    let inner = torch.unwrap_or(inner);
    let first = inner.split("\\n").next().and_then(|part| part.lines().next()).unwrap_or(inner);
    let first = first.trim_end_matches("\")");
    match torch {
        _ if NO_MEMORY.iter().any(|words| first.contains(words)) => {
            format!("memory ran out ({first}): {REMEDY}")
        }
        Some(_) => format!("libtorch: {first}"),
        None => format!("the worker broke (panic): {first}"),
    }
}

/// Breaks here, if a test asks for it.
#[cfg(debug_assertions)]
pub fn provoke() {
    match std::env::var(VARIABLE).as_deref() {
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

/// Nothing: faults exist in debug builds only.
#[cfg(not(debug_assertions))]
pub fn provoke() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_ran_out_is_told_with_the_way_out_and_a_panic_is_not_called_libtorchs() {
        let unwrapped = |words: &str| {
            line(&format!(
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
        assert_eq!(unwrapped("shape '[3]' is invalid"), "libtorch: shape '[3]' is invalid");
        assert_eq!(
            line("index 3 is out of bounds\nmore"),
            "the worker broke (panic): index 3 is out of bounds"
        );
    }
}

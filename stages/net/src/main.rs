//! `voxflow-worker TASK.json`: runs a stage that needs libtorch.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

fn main() -> std::process::ExitCode {
    voxflow_net::worker::main()
}

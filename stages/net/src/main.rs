//! `voxflow-worker TASK.json`: runs a stage that needs libtorch.

fn main() -> std::process::ExitCode {
    voxflow_net::worker::main()
}

//! `voxflow-worker TASK.json`: makes one stage that needs libtorch.

fn main() -> std::process::ExitCode {
    voxflow_net::worker::main()
}

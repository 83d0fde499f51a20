//! The program `voxflow`: parse, run, print the error once, exit.

fn main() -> std::process::ExitCode {
    voxflow::cli::main()
}

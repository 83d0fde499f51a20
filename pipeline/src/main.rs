//! The program `voxflow`: parse, run, print the error once, exit.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

fn main() -> std::process::ExitCode {
    voxflow::cli::main()
}

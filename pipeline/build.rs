//! Links `voxflow` at a fixed address: moving it elsewhere at each start (polars has 77 000 places
//! to mend) takes longer than a run with nothing to do thinks.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bin=voxflow=-no-pie");
    }
}

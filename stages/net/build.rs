//! Writes the path of libtorch into the programs, so that they run without LD_LIBRARY_PATH, and
//! builds the shim: flags and operations that tch does not expose, and operations that libtorch
//! lacks.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-changed=shim");
    let Some(libtorch) = std::env::var_os("LIBTORCH").map(PathBuf::from) else {
        panic!(
            "LIBTORCH is not set; 'make setup' fetches libtorch, and .cargo/config.toml names it"
        );
    };
    let lib = libtorch.join("lib");
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    let headers =
        std::env::var_os("LIBTORCH_INCLUDE").map_or(libtorch, PathBuf::from).join("include");
    shim(&headers);
}

fn shim(headers: &Path) {
    let mut build = cc::Build::new();
    // Torch's headers cause many warnings; the C++ ABI is that of torch's wheels.
    build
        .cpp(true)
        .std("c++17")
        .include(headers)
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", "1");
    // Without OpenMP, the parallel loops of libtorch's headers are serial.
    build.flag_if_supported("-fopenmp").opt_level(3);
    let files = [
        "errors",
        "torch_flags",
        "memory",
        "foreach",
        "small_conv",
        "small_conv_transposed",
        "norm_act",
        "all_reduce",
    ];
    build.files(files.map(|name| format!("shim/{name}.cpp"))).compile("voxflow_shim");
    println!("cargo:rustc-link-lib=dylib=gomp");
}

// Process-wide switches of libtorch that tch does not expose. Every function catches everything:
// an exception must not reach Rust.
#include "errors.h"

#include <ATen/Context.h>

extern "C" int voxflow_set_deterministic(int on) noexcept {
    try {
        auto &context = at::globalContext();
        context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
        context.setDeterministicCuDNN(on != 0);
        context.setBenchmarkCuDNN(on == 0);
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

extern "C" int voxflow_deterministic() noexcept {
    try {
        const auto &context = at::globalContext();
        return context.deterministicAlgorithms() && context.deterministicCuDNN() && !context.benchmarkCuDNN();
    } catch (...) {
        voxflow::keep_error();
        return -1;
    }
}

// fp32 is computed in fp32: an accelerator's shorter fp32 (TF32, ten bits of fraction) is not used.
extern "C" int voxflow_set_exact_fp32() noexcept {
    try {
        auto &context = at::globalContext();
        context.setAllowTF32CuDNN(false);
        context.setAllowTF32CuBLAS(false);
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

extern "C" int voxflow_exact_fp32() noexcept {
    try {
        const auto &context = at::globalContext();
        return !context.allowTF32CuDNN() && !context.allowTF32CuBLAS();
    } catch (...) {
        voxflow::keep_error();
        return -1;
    }
}

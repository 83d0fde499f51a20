// Process-wide switches of libtorch that tch does not expose. Every function catches everything:
// an exception must not reach Rust.
#include "errors.h"

#include <ATen/Context.h>

extern "C" int voxflow_set_deterministic(int on) noexcept {
    try {
        auto &context = at::globalContext();
        context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
        context.setDeterministicCuDNN(on != 0);
        if (on)
            context.setBenchmarkCuDNN(false);
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

// Whether cuDNN searches for its fastest algorithm whenever it meets a new shape.
extern "C" int voxflow_set_search(int on) noexcept {
    try {
        at::globalContext().setBenchmarkCuDNN(on != 0);
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

extern "C" int voxflow_searches() noexcept {
    try {
        return at::globalContext().benchmarkCuDNN();
    } catch (...) {
        voxflow::keep_error();
        return -1;
    }
}

// Whether an accelerator may compute fp32 convolutions and products in a shorter fp32 (TF32, ten
// bits of fraction).
extern "C" int voxflow_set_tf32(int on) noexcept {
    try {
        auto &context = at::globalContext();
        context.setAllowTF32CuDNN(on != 0);
        context.setAllowTF32CuBLAS(on != 0);
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

extern "C" int voxflow_tf32() noexcept {
    try {
        const auto &context = at::globalContext();
        return context.allowTF32CuDNN() && context.allowTF32CuBLAS();
    } catch (...) {
        voxflow::keep_error();
        return -1;
    }
}

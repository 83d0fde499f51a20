// Process-wide switches of libtorch that tch does not expose. Every function catches everything:
// an exception must not reach Rust.
#include <ATen/Context.h>

extern "C" int voxflow_set_deterministic(int on) noexcept {
    try {
        auto &context = at::globalContext();
        context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
        context.setDeterministicCuDNN(on != 0);
        context.setBenchmarkCuDNN(on == 0);
        return 0;
    } catch (...) {
        return 1;
    }
}

extern "C" int voxflow_deterministic() noexcept {
    try {
        const auto &context = at::globalContext();
        return context.deterministicAlgorithms() && context.deterministicCuDNN() && !context.benchmarkCuDNN();
    } catch (...) {
        return -1;
    }
}

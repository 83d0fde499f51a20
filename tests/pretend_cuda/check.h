// What the programs that try the pretend device share: they load it as voxflow-worker does, and see
// it through libtorch's interfaces alone.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

using at::Tensor;

const c10::Device gpu(c10::kCUDA, 0), other(c10::kCUDA, 1);

inline void load(const std::string &folder) {
    if (!dlopen((folder + "/libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL)) {
        std::printf("%s\n", dlerror());
        _exit(2);
    }
}

inline uint64_t counted(const char *kind, const char *name = "") {
    using Count = uint64_t (*)(const char *, const char *);
    static const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "pretend_cuda_counted"));
    return count(kind, name);
}

// The first line of what libtorch says to some work; empty if it refuses nothing.
inline std::string refusal(const std::function<void()> &work) {
    try {
        work();
        return "";
    } catch (const std::exception &error) {
        const std::string words = error.what();
        return words.substr(0, words.find('\n'));
    }
}

inline const c10::impl::VirtualGuardImpl &streams() {
    static const auto &guard = *new c10::impl::VirtualGuardImpl(c10::kCUDA);
    return guard;
}

// Makes another stream current for a scope.
struct OnStream {
    explicit OnStream(c10::Stream stream) : before(streams().exchangeStream(stream)) {}
    ~OnStream() { streams().exchangeStream(before); }
    c10::Stream before;
};

inline c10::Stream side_stream() { return streams().getStreamFromGlobalPool(gpu); }
inline c10::Stream main_stream() { return streams().getDefaultStream(gpu); }

// True if some value is no number, or not this one.
inline bool is_off(const Tensor &tensor, double value) {
    return !tensor.cpu().eq(value).all().item<bool>();
}

// Work on the current stream whose shapes were learnt before, so that it is done late: 3.
inline Tensor late_three(int64_t size = 64) {
    Tensor ones = at::ones({size}, gpu);
    ones.add(8.0).add_(0.0).mul(1.0);
    streams().synchronizeStream(main_stream());
    return ones.add(2.0);
}

// Runs some work in a process of its own, and returns what it printed and how it ended.
inline std::string in_a_process(const std::function<std::string()> &work) {
    int ends[2];
    if (pipe(ends) != 0)
        return "no pipe";
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        const std::string words = refusal([&] { std::printf("%s\n", work().c_str()); });
        std::printf("%s\n", words.c_str());
        std::fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    std::string printed;
    char bytes[4096];
    for (ssize_t got; (got = read(ends[0], bytes, sizeof bytes)) > 0;)
        printed.append(bytes, got);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printed += "ended by signal " + std::to_string(WTERMSIG(status)) + "\n";
    return printed;
}

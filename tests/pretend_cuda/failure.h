// Failures of the device: those that a test asks for, and the state after a broken kernel, in which
// CUDA answers every call of the process with the same error.
#pragma once

#include "report.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <mutex>
#include <string>

namespace pretend {

inline std::atomic<bool> broken{false};

inline std::string &broken_words() {
    static auto &words = *new std::string;
    return words;
}

// From now on the device does nothing, and every call fails.
inline void break_device(const std::string &words) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> guard(mutex);
    if (broken)
        return;
    broken_words() = words;
    broken = true;
    note("broken", words);
}

inline void check_broken() {
    if (!broken)
        return;
    TORCH_CHECK(
        false, "CUDA error: ", broken_words(),
        "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
        "stacktrace below might be incorrect.");
}

inline std::string size_words(double bytes) {
    char words[64];
    const bool large = bytes >= double(1 << 30);
    std::snprintf(words, sizeof words, "%.2f %s", bytes / (large ? 1 << 30 : 1 << 20),
                  large ? "GiB" : "MiB");
    return words;
}

[[noreturn]] inline void out_of_memory(int device, size_t wanted, size_t free) {
    note("out of memory", "cuda:" + std::to_string(device));
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ",
                     size_words(double(wanted)), ". GPU ", device, " has a total capacity of ",
                     size_words(double(capacity())), " of which ", size_words(double(free)),
                     " is free.");
    std::abort();
}

// PRETEND_CUDA_FAIL: NAME:N fails the Nth operation of a name, or of "any", as a broken kernel;
// NAME:N:memory as memory that ran out. "allocation" is a name too.
struct Asked {
    std::string name;
    long nth = 0;
    bool memory = false;

    Asked() {
        std::string words = text("PRETEND_CUDA_FAIL", "");
        const auto has_memory = words.rfind(":memory");
        if (has_memory != std::string::npos) {
            memory = true;
            words.resize(has_memory);
        }
        const auto colon = words.rfind(':');
        if (colon == std::string::npos)
            return;
        name = words.substr(0, colon);
        nth = std::atol(words.c_str() + colon + 1);
    }
};

// True if this call is the one that must break on the device; throws if memory must run out here.
inline bool must_break(const std::string &name, int device) {
    static const Asked &asked = *new Asked;
    static std::atomic<long> seen{0};
    const bool any = asked.name == "any" && name != "allocation";
    if (asked.nth == 0 || (!any && asked.name != name) || ++seen != asked.nth)
        return false;
    if (asked.memory)
        out_of_memory(device, size_t(2) << 30, size_t(capacity()) / 4);
    return true;
}

}  // namespace pretend

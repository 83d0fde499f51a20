// The reason of a failure, kept for Rust: an exception must not reach it, its words must.
#pragma once

#include <cstdio>
#include <exception>

namespace voxflow {

constexpr size_t WORDS = 1024;

// The last reason on this thread.
inline thread_local char words[WORDS] = "";

// Keeps the words of the exception in hand. Call it in a catch block.
inline void keep_error() noexcept {
    try {
        throw;
    } catch (const std::exception &error) {
        std::snprintf(words, WORDS, "%s", error.what());
    } catch (...) {
        std::snprintf(words, WORDS, "unknown reason");
    }
}

}  // namespace voxflow

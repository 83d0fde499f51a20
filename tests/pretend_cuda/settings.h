// Settings of the pretend device: environment variables, read once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace pretend {

constexpr int MOST_DEVICES = 8;

inline std::string text(const char *name, const char *otherwise) {
    const char *value = std::getenv(name);
    return value ? value : otherwise;
}

inline int64_t number(const char *name, int64_t otherwise) {
    const char *value = std::getenv(name);
    return value && *value ? std::atoll(value) : otherwise;
}

// Devices of the machine, of which CUDA_VISIBLE_DEVICES may leave some: as CUDA does, entries count
// up to the first that names no device. A UUID counts for a device.
inline int count_devices() {
    const int64_t all = std::clamp<int64_t>(number("PRETEND_CUDA_DEVICES", 1), 0, MOST_DEVICES);
    const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (!visible)
        return static_cast<int>(all);
    int count = 0;
    std::string rest = visible;
    while (!rest.empty() && count < all) {
        const auto comma = rest.find(',');
        const std::string entry = rest.substr(0, comma);
        const bool is_number =
            !entry.empty() && entry.find_first_not_of("0123456789") == std::string::npos;
        if (entry.empty() || entry[0] == '-' || (is_number && std::atoll(entry.c_str()) >= all))
            break;
        ++count;
        rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    }
    return count;
}

inline int device_count() {
    static const int devices = count_devices();
    return devices;
}

// Bytes of each device, in whole pages.
inline int64_t capacity() {
    static const int64_t bytes =
        (number("PRETEND_CUDA_MEMORY", int64_t(4) << 30) + 4095) / 4096 * 4096;
    return bytes;
}

// False where memory cannot be pinned.
inline bool can_pin() { return number("PRETEND_CUDA_PINNED", 1) != 0; }

// True if a stream works only when somebody waits for it, or asks whether it is done: each missing
// synchronisation is then seen, every time. Otherwise it begins a moment after it got work.
inline bool is_held() {
    static const bool held = text("PRETEND_CUDA_LAG", "short") == "held";
    return held;
}

}  // namespace pretend

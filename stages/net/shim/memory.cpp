// Memory of CUDA devices, by libc10's interface for allocators of any device: so the program need
// not link what knows CUDA. Every function catches everything: an exception must not reach Rust.
#include "errors.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

// Bytes that a tensor may still take on a device (what the driver has free, and what libtorch keeps
// for reuse), all of the device, and the most that libtorch has reserved there. Zero means done.
extern "C" int voxflow_device_memory(int index, int64_t *free, int64_t *total, int64_t *peak) noexcept {
    try {
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        const auto device = static_cast<c10::DeviceIndex>(index);
        const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        const auto stats = allocator->getDeviceStats(device);
        const int64_t kept = stats.reserved_bytes[all].current - stats.allocated_bytes[all].current;
        const auto [left, all_bytes] = allocator->getMemoryInfo(device);
        *free = static_cast<int64_t>(left) + kept;
        *total = static_cast<int64_t>(all_bytes);
        *peak = stats.reserved_bytes[all].peak;
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

// A copy of a tensor in pinned memory, or null.
extern "C" at::Tensor *voxflow_pinned(const at::Tensor *tensor) noexcept {
    try {
        return new at::Tensor(tensor->pin_memory());
    } catch (...) {
        voxflow::keep_error();
        return nullptr;
    }
}

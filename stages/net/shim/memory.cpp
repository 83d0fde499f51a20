// Memory of CUDA devices, by libc10's interface for allocators of any device: so the program need
// not link what knows CUDA. Every function catches everything: an exception must not reach Rust.
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

// Bytes free on a device, and the most that libtorch has reserved there. Zero means done.
extern "C" int voxflow_device_memory(int index, int64_t *free, int64_t *peak) noexcept {
    try {
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        const auto device = static_cast<c10::DeviceIndex>(index);
        *free = static_cast<int64_t>(allocator->getMemoryInfo(device).first);
        const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        *peak = allocator->getDeviceStats(device).reserved_bytes[all].peak;
        return 0;
    } catch (...) {
        return 1;
    }
}

// A copy of a tensor in pinned memory, or null.
extern "C" at::Tensor *voxflow_pinned(const at::Tensor *tensor) noexcept {
    try {
        return new at::Tensor(tensor->pin_memory());
    } catch (...) {
        return nullptr;
    }
}

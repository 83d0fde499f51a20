// The devices' memory and pinned memory as libtorch's allocators, and the end of a program that
// follows a device's pointer.
#pragma once

#include "pinned_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <csignal>

namespace pretend {

constexpr auto CUDA = c10::DeviceType::CUDA;

inline c10::Device device_at(int index) { return {CUDA, static_cast<c10::DeviceIndex>(index)}; }

inline void check_ordinal(int device) {
    TORCH_CHECK(device >= 0 && device < device_count(), "CUDA error: invalid device ordinal");
}

inline void give_block(void *block) {
    const int device = device_of(block);
    if (device >= 0)
        memory_of(device).give(static_cast<char *>(block));
}

struct DeviceAllocator final : c10::DeviceAllocator {
    c10::DataPtr allocate(size_t bytes) override {
        const int device = current_device;
        check_ordinal(device);
        if (bytes == 0)
            return {nullptr, nullptr, &give_block, device_at(device)};
        check_broken();
        note("allocation", "cuda:" + std::to_string(device));
        if (must_break("allocation", device))
            break_device("unspecified launch failure");
        DeviceMemory &memory = memory_of(device);
        char *block = memory.take(bytes, current_queue(device));
        if (!block)
            out_of_memory(device, bytes, capacity() - memory.figures().reserved);
        return {block, block, &give_block, device_at(device)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &give_block; }
    void copy_data(void *to, const void *from, size_t bytes) const override {
        current_queue(current_device).push([to = shadow_of(to), from = shadow_of(from), bytes] {
            std::memcpy(to, from, bytes);
        });
    }
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override {
        waits("emptyCache");
        for (int device = 0; device < device_count(); ++device)
            memory_of(device).empty_cache(device);
    }
    void recordStream(const c10::DataPtr &block, c10::Stream stream) override {
        const int device = device_of(block.get());
        if (device < 0)
            return;
        memory_of(device).used_by(static_cast<const char *>(block.get()),
                                  queue_of(stream.device_index(), stream.id()));
    }
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
        check_ordinal(device);
        const auto figures = memory_of(device).figures();
        c10::CachingDeviceAllocator::DeviceStats stats;
        stats.allocated_bytes[0].current = figures.in_use;
        stats.allocated_bytes[0].peak = figures.peak_in_use;
        stats.reserved_bytes[0].current = figures.reserved;
        stats.reserved_bytes[0].peak = figures.peak_reserved;
        return stats;
    }
    void resetAccumulatedStats(c10::DeviceIndex) override {}
    void resetPeakStats(c10::DeviceIndex device) override { memory_of(device).reset_peaks(); }
    // The driver's view: what libtorch keeps for reuse is not free.
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
        check_ordinal(device);
        return {capacity() - memory_of(device).figures().reserved, capacity()};
    }
};

struct PinnedAllocator final : c10::Allocator {
    static void give(void *block) { pinned_memory().give(static_cast<char *>(block)); }
    c10::DataPtr allocate(size_t bytes) override {
        check_broken();
        char *block = pinned_memory().take(bytes);
        return {block, block, &give, c10::Device(c10::kCPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &give; }
    void copy_data(void *to, const void *from, size_t bytes) const override {
        std::memcpy(to, from, bytes);
    }
};

inline struct sigaction handler_before;

inline void touched(int, siginfo_t *info, void *) {
    if (device_of(info->si_addr) >= 0) {
        const char words[] = "pretend CUDA: the processor touched memory of a device\n";
        if (write(2, words, sizeof words - 1) > 0) {
            void *frames[FRAMES];
            backtrace_symbols_fd(frames, backtrace(frames, FRAMES), 2);
        }
        note("touch", "memory of a device", 1, true);
    }
    sigaction(SIGSEGV, &handler_before, nullptr);
}

inline void install_memory() {
    static auto &allocator = *new DeviceAllocator;
    for (int device = 0; device < device_count(); ++device)
        memory_of(device).map();
    c10::SetAllocator(CUDA, &allocator, 255);
    struct sigaction action{};
    action.sa_sigaction = touched;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &handler_before);
    void *warm[4];
    backtrace(warm, 4);
    table();
}

}  // namespace pretend

// Memory of the devices. Each is mapped twice: at addresses that nobody may touch, which tensors
// know, and at those that kernels use. Blocks are kept for reuse by the stream that took them, as
// CUDA's caching allocator keeps them; what is fresh or freed holds NaN.
#pragma once

#include "stream.h"

#include <map>
#include <unordered_map>
#include <vector>

namespace pretend {

// A pointer followed here is not meant for the processor.
inline void fill_with_nan(char *place, size_t bytes) { std::memset(place, 0xff, bytes); }

class DeviceMemory {
public:
    char *base = nullptr, *shadow = nullptr;

    void map() {
        const size_t bytes = capacity();
        const int file = memfd_create("pretend-cuda", MFD_CLOEXEC);
        TORCH_CHECK(file >= 0 && ftruncate(file, capacity()) == 0,
                    "pretend CUDA: no memory for a device");
        const int flags = MAP_SHARED | MAP_NORESERVE;
        base = static_cast<char *>(mmap(nullptr, bytes, PROT_NONE, flags, file, 0));
        shadow = static_cast<char *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0));
        close(file);
        TORCH_CHECK(base != MAP_FAILED && shadow != MAP_FAILED,
                    "pretend CUDA: no room for a device");
        room[0] = {bytes, nullptr};
    }

    bool holds(const void *place) const {
        return base && place >= base && place < base + capacity();
    }
    bool has_shadow(const void *place) const {
        return shadow && place >= shadow && place < shadow + capacity();
    }

    // A block for the work of a queue; null if there is none.
    char *take(size_t wanted, Queue &queue) {
        const size_t bytes = (wanted + ALIGNED - 1) / ALIGNED * ALIGNED;
        const std::lock_guard<std::mutex> guard(mutex);
        return_used_elsewhere(false);
        char *block = take_cached(bytes, &queue);
        if (!block)
            block = take_fresh(bytes, &queue);
        if (!block) {
            // As CUDA's allocator: everything is awaited, and what is kept goes back to the driver.
            note("flush", "cuda:" + std::to_string(queue.device));
            flush(queue.device);
            block = take_fresh(bytes, &queue);
        }
        return block;
    }

    // Gives a block back to its stream. Streams that used it too are waited for before its reuse.
    void give(char *block) {
        const std::lock_guard<std::mutex> guard(mutex);
        const auto found = taken.find(block - base);
        if (found == taken.end())
            return;
        const auto [offset, kept] = *found;
        taken.erase(found);
        in_use -= kept.bytes;
        if (kept.also.empty())
            return free_block(offset, kept.bytes, kept.queue);
        std::vector<Event> moments;
        for (Queue *queue : kept.also)
            moments.push_back({queue, queue->last()});
        used_elsewhere.push_back({offset, kept.bytes, kept.queue, moments});
    }

    void used_by(const char *block, Queue &queue) {
        const std::lock_guard<std::mutex> guard(mutex);
        const auto found = taken.find(block - base);
        if (found != taken.end() && found->second.queue != &queue)
            found->second.also.push_back(&queue);
    }

    void empty_cache(int device) {
        const std::lock_guard<std::mutex> guard(mutex);
        flush(device);
    }

    struct Figures {
        size_t in_use, peak_in_use, reserved, peak_reserved;
    };
    Figures figures() {
        const std::lock_guard<std::mutex> guard(mutex);
        return {in_use, peak_in_use, reserved, peak_reserved};
    }
    void reset_peaks() {
        const std::lock_guard<std::mutex> guard(mutex);
        peak_in_use = in_use;
        peak_reserved = reserved;
    }

private:
    static constexpr size_t ALIGNED = 512, SEGMENT = size_t(2) << 20;

    struct Room {
        size_t bytes;
        Queue *queue;  // null: the driver's
    };
    struct Taken {
        size_t bytes;
        Queue *queue;
        std::vector<Queue *> also;
    };
    struct Elsewhere {
        size_t offset, bytes;
        Queue *queue;
        std::vector<Event> moments;
    };

    std::mutex mutex;
    std::map<size_t, Room> room;
    std::unordered_map<size_t, Taken> taken;
    std::vector<Elsewhere> used_elsewhere;
    size_t in_use = 0, peak_in_use = 0, reserved = 0, peak_reserved = 0;

    // The first room of a queue that is large enough; of several, the rest stays.
    char *take_cached(size_t bytes, Queue *queue) {
        for (auto &[offset, free] : room) {
            if (free.queue != queue || free.bytes < bytes)
                continue;
            const size_t at = offset, rest = free.bytes - bytes;
            room.erase(at);
            if (rest)
                room[at + bytes] = {rest, queue};
            taken[at] = {bytes, queue, {}};
            in_use += bytes;
            peak_in_use = std::max(peak_in_use, in_use);
            return base + at;
        }
        return nullptr;
    }

    // Takes a segment of the driver's memory for a queue, and a block of it.
    char *take_fresh(size_t bytes, Queue *queue) {
        for (const size_t segment : {(bytes + SEGMENT - 1) / SEGMENT * SEGMENT, bytes}) {
            for (auto &[offset, free] : room) {
                if (free.queue || free.bytes < segment)
                    continue;
                const size_t at = offset, rest = free.bytes - segment;
                room.erase(at);
                if (rest)
                    room[at + segment] = {rest, nullptr};
                fill_with_nan(shadow + at, segment);
                reserved += segment;
                peak_reserved = std::max(peak_reserved, reserved);
                insert(at, segment, queue);
                return take_cached(bytes, queue);
            }
        }
        return nullptr;
    }

    // In the stream's order, after the work that used the block.
    void free_block(size_t offset, size_t bytes, Queue *queue) {
        queue->push([place = shadow + offset, bytes] { fill_with_nan(place, bytes); });
        insert(offset, bytes, queue);
    }

    void insert(size_t offset, size_t bytes, Queue *queue) {
        auto next = room.lower_bound(offset);
        if (next != room.end() && next->first == offset + bytes && next->second.queue == queue) {
            bytes += next->second.bytes;
            next = room.erase(next);
        }
        if (next != room.begin()) {
            auto &[at, before] = *std::prev(next);
            if (at + before.bytes == offset && before.queue == queue) {
                before.bytes += bytes;
                return;
            }
        }
        room[offset] = {bytes, queue};
    }

    void return_used_elsewhere(bool all) {
        std::vector<Elsewhere> still;
        for (auto &block : used_elsewhere) {
            bool done = true;
            for (const Event &moment : block.moments) {
                done = done && (all || moment.queue->passed(moment.ticket));
            }
            if (done) {
                free_block(block.offset, block.bytes, block.queue);
            } else {
                still.push_back(block);
            }
        }
        used_elsewhere = std::move(still);
    }

    void flush(int device) {
        drain_device(device);
        return_used_elsewhere(true);
        drain_device(device);
        const auto before = std::move(room);
        room.clear();
        for (const auto &[offset, free] : before)
            insert(offset, free.bytes, nullptr);
        reserved = in_use;
    }
};

inline DeviceMemory &memory_of(int device) {
    static auto *const all = new DeviceMemory[MOST_DEVICES];
    return all[device];
}

// The device whose memory, or whose kernels' view of it, holds a place; -1 for none.
inline int device_of(const void *place) {
    for (int device = 0; device < device_count(); ++device) {
        if (memory_of(device).holds(place))
            return device;
    }
    return -1;
}
inline int device_of_shadow(const void *place) {
    for (int device = 0; device < device_count(); ++device) {
        if (memory_of(device).has_shadow(place))
            return device;
    }
    return -1;
}

// Where kernels find what tensors know at a device's address.
inline char *shadow_of(const void *place) {
    const int device = device_of(place);
    if (device < 0)
        return static_cast<char *>(const_cast<void *>(place));
    return memory_of(device).shadow + (static_cast<const char *>(place) - memory_of(device).base);
}

}  // namespace pretend

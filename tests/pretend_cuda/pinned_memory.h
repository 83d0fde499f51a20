// Pinned memory of the processor, from and to which devices copy while the host goes on. A block
// that a copy still uses is not given out again, as by CUDA's caching host allocator; but nothing
// keeps the host from writing to it meanwhile.
#pragma once

#include "device_memory.h"

#include <c10/core/Allocator.h>

namespace pretend {

class PinnedMemory {
public:
    char *take(size_t wanted) {
        TORCH_CHECK(can_pin(), "CUDA error: OS call failed or operation not supported on this OS");
        size_t bytes = 512;
        while (bytes < wanted)
            bytes *= 2;
        const std::lock_guard<std::mutex> guard(mutex);
        for (auto &[place, block] : blocks) {
            if (block.is_taken || block.bytes != bytes || !done(block))
                continue;
            block.is_taken = true;
            block.uses.clear();
            fill_with_nan(place, bytes);
            return place;
        }
        note("pinned", "allocation", 1, true);
        char *place = static_cast<char *>(std::aligned_alloc(512, bytes));
        TORCH_CHECK(place, "CUDA error: out of memory");
        fill_with_nan(place, bytes);
        blocks[place] = {bytes, true, {}};
        return place;
    }

    void give(char *place) {
        const std::lock_guard<std::mutex> guard(mutex);
        const auto found = blocks.find(place);
        if (found != blocks.end())
            found->second.is_taken = false;
    }

    bool holds(const void *place) {
        const std::lock_guard<std::mutex> guard(mutex);
        return block_of(place) != nullptr;
    }

    // A copy that may still be under way at this moment of a stream.
    void used_until(const void *place, Event moment) {
        const std::lock_guard<std::mutex> guard(mutex);
        if (Block *block = block_of(place))
            block->uses.push_back(moment);
    }

private:
    struct Block {
        size_t bytes;
        bool is_taken;
        std::vector<Event> uses;
    };

    std::mutex mutex;
    std::map<char *, Block> blocks;

    Block *block_of(const void *place) {
        auto next = blocks.upper_bound(static_cast<char *>(const_cast<void *>(place)));
        if (next == blocks.begin())
            return nullptr;
        auto &[first, block] = *std::prev(next);
        return place < first + block.bytes ? &block : nullptr;
    }

    static bool done(const Block &block) {
        for (const Event &use : block.uses) {
            if (!use.queue->passed(use.ticket))
                return false;
        }
        return true;
    }
};

inline PinnedMemory &pinned_memory() {
    static auto &memory = *new PinnedMemory;
    return memory;
}

}  // namespace pretend

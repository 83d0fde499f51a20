// Counts of what a program did on the device, in a file that is mapped: it survives `_exit`, a
// kill and a crash. Rows are of a fixed size; report.py and the tests read them.
#pragma once

#include "settings.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

namespace pretend {

struct Row {
    uint64_t count;
    char kind[16], name[88], place[400];
};
static_assert(sizeof(Row) == 512, "readers know the size");

constexpr size_t MOST_ROWS = 8192;
constexpr int FRAMES = 48;

struct Table {
    uint64_t rows;
    char unused[504];
    Row row[MOST_ROWS];
};

// The mapped file, PRETEND_CUDA_REPORT with the process' number after it; memory of the process
// without.
inline Table *map_table() {
    const std::string path = text("PRETEND_CUDA_REPORT", "");
    const std::string own = path + "." + std::to_string(getpid());
    int file = path.empty() ? -1 : open(own.c_str(), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);
    if (file >= 0 && ftruncate(file, sizeof(Table)) != 0) {
        close(file);
        file = -1;
    }
    const int flags = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *place = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, flags, file, 0);
    if (file >= 0)
        close(file);
    return place == MAP_FAILED ? nullptr : static_cast<Table *>(place);
}

inline Table *table() {
    static Table *const made = map_table();
    return made;
}

// How often something of a kind, or of a name within it, was counted.
inline uint64_t counted(const char *kind, const char *name) {
    uint64_t sum = 0;
    for (uint64_t at = 0; table() && at < table()->rows; ++at) {
        const Row &row = table()->row[at];
        if (!std::strcmp(row.kind, kind) && (!*name || !std::strcmp(row.name, name)))
            sum += row.count;
    }
    return sum;
}

// The frames that lie in the program itself, innermost first: "program+0x12ab program+0x34cd".
inline std::string place_of(void *const *frames, int count) {
    Dl_info own{};
    static const std::string program = [] {
        char path[4096];
        const auto length = readlink("/proc/self/exe", path, sizeof path);
        return length > 0 ? std::string(path, length) : std::string();
    }();
    std::string place;
    for (int at = 0; at < count; ++at) {
        if (!dladdr(frames[at], &own) || !own.dli_fname)
            continue;
        char resolved[4096];
        const char *full = realpath(own.dli_fname, resolved);
        if (!full || program != full)
            continue;
        char word[64];
        const auto offset = static_cast<char *>(frames[at]) - static_cast<char *>(own.dli_fbase);
        std::snprintf(word, sizeof word, "%s0x%zx", place.empty() ? "" : " ", size_t(offset));
        if (place.size() + std::strlen(word) >= sizeof(Row::place))
            break;
        place += word;
    }
    return place;
}

// Adds to the count of a name, and keeps where in the program it came from if `traced`.
inline void note(const char *kind, const std::string &name, uint64_t times = 1,
                 bool traced = false) {
    static std::mutex mutex;
    static auto &known = *new std::unordered_map<std::string, Row *>;
    if (!table())
        return;
    void *frames[FRAMES];
    const int found = traced ? backtrace(frames, FRAMES) : 0;
    std::string key = std::string(kind) + "\n" + name;
    key.append(reinterpret_cast<char *>(frames), sizeof(void *) * std::max(found, 0));
    const std::lock_guard<std::mutex> guard(mutex);
    Row *&row = known[key];
    if (!row) {
        if (table()->rows >= MOST_ROWS)
            return;
        row = &table()->row[table()->rows];
        std::snprintf(row->kind, sizeof row->kind, "%s", kind);
        std::snprintf(row->name, sizeof row->name, "%s", name.c_str());
        std::snprintf(row->place, sizeof row->place, "%s", place_of(frames, found).c_str());
        ++table()->rows;
    }
    row->count += times;
}

// The host waits for a device.
inline void waits(const std::string &name) { note("wait", name, 1, true); }

}  // namespace pretend

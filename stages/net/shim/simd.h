// Sixteen numbers at once, in fp32, read from and written to memory in fp32 or bf16. The compiler
// makes of them what the processor has.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

// A function compiled for several generations of processors; the program takes the newest that
// runs.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
// For what such functions are made of: inlined, it is compiled for their processor.
#define INLINE inline __attribute__((always_inline))

namespace simd {

constexpr int64_t COUNT = 16;
typedef float Floats __attribute__((vector_size(COUNT * 4)));
typedef uint32_t Words __attribute__((vector_size(COUNT * 4)));
typedef uint16_t Halves __attribute__((vector_size(COUNT * 2)));

// The first `width` lanes from memory, 0 in the others.
template <typename Lanes, typename Number>
INLINE Lanes read(const Number *from, int64_t width) {
    static_assert(sizeof(Lanes) == COUNT * sizeof(Number));
    Lanes lanes = {};
    if (width == COUNT) {
        std::memcpy(&lanes, from, sizeof lanes);
    } else {
        std::memcpy(&lanes, from, width * sizeof(Number));
    }
    return lanes;
}

// The first `width` lanes into memory.
template <typename Lanes, typename Number>
INLINE void write(const Lanes &lanes, Number *to, int64_t width) {
    static_assert(sizeof(Lanes) == COUNT * sizeof(Number));
    if (width == COUNT) {
        std::memcpy(to, &lanes, sizeof lanes);
    } else {
        std::memcpy(to, &lanes, width * sizeof(Number));
    }
}

INLINE Floats load(const float *from, int64_t width) { return read<Floats>(from, width); }

INLINE Floats load(const c10::BFloat16 *from, int64_t width) {
    const Words words = __builtin_convertvector(read<Halves>(from, width), Words) << 16;
    return (Floats)words;
}

INLINE void store(float *to, const Floats &lanes, int64_t width) { write(lanes, to, width); }

// Rounded to the nearest, ties to even. A NaN stays one: its first bit of 7 is set.
INLINE void store(c10::BFloat16 *to, const Floats &lanes, int64_t width) {
    const Words words = (Words)lanes;
    const Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
    const Words kept = lanes == lanes ? rounded : ((words >> 16) | 0x40);
    write(__builtin_convertvector(kept, Halves), to, width);
}

INLINE Floats all(float value) { return value - Floats{}; }

}  // namespace simd

// How a tensor (N, C, X, Y, Z) lies in memory, and its voxels in blocks that fit the processor's
// cache.
#pragma once
#include "simd.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

// Voxels with their channels side by side, `step` apart, or each channel by itself.
struct Layout {
    bool channels_last;
    int64_t step;

    // None where memory is laid out in another way.
    static std::optional<Layout> of(const at::Tensor &t) {
        if (t.is_contiguous()) {
            return Layout{false, simd::COUNT};
        }
        int64_t step = t.size(1);
        for (const int axis : {4, 3, 2, 0}) {
            if (t.size(axis) != 1) {
                step = t.stride(axis);
                break;
            }
        }
        int64_t stride = step;
        for (const int axis : {4, 3, 2, 0}) {
            if (t.size(axis) != 1 && t.stride(axis) != stride) {
                return std::nullopt;
            }
            stride *= t.size(axis);
        }
        const bool beside = (t.size(1) == 1 || t.stride(1) == 1) && step >= t.size(1);
        return beside ? std::optional(Layout{true, step}) : std::nullopt;
    }
};

// Rows of up to 16 lanes: of 16 channels of a voxel, or of 16 voxels of a channel.
struct Tile {
    // The first voxel where channels are last, else the first number.
    int64_t first;
    int64_t rows, width, channel;
};

// Numbers for each channel of each block or group.
class Table {
  public:
    Table(int64_t rows, int64_t channels) : Table(at::zeros({rows, channels}, at::kFloat)) {}
    explicit Table(const at::Tensor &tensor)
        : tensor_(tensor), values_(tensor_.data_ptr<float>()), channels_(tensor_.size(1)) {}
    float *operator[](int64_t row) const { return values_ + row * channels_; }
    const at::Tensor &tensor() const { return tensor_; }

  private:
    at::Tensor tensor_;
    float *values_;
    int64_t channels_;
};

// Blocks that together are a tensor's voxels; a group of blocks is one item's, or everything.
class Blocks {
  public:
    Blocks(const at::Tensor &x, bool channels_last, bool each_item)
        : channels(x.size(1)), groups(each_item ? x.size(0) : 1), last_(channels_last),
          span_((last_ ? x.size(0) / groups : 1) * x.size(2) * x.size(3) * x.size(4)),
          side_(last_ ? std::max<int64_t>(NUMBERS / channels, 1) : NUMBERS), pieces_((span_ + side_ - 1) / side_),
          per_group_(pieces_ * (last_ ? 1 : x.size(0) / groups * channels)) {}

    const int64_t channels, groups;

    int64_t count() const { return groups * per_group_; }
    int64_t group(int64_t block) const { return block / per_group_; }

    // How many voxels of a channel are in a block.
    int64_t voxels(int64_t block, int64_t channel) const {
        const bool elsewhere = !last_ && block / pieces_ % channels != channel;
        return elsewhere ? 0 : std::min(side_, span_ - block % pieces_ * side_);
    }

    template <typename Work>
    void each_tile(int64_t block, const Work &work) const {
        const int64_t first = block / pieces_ * span_ + block % pieces_ * side_;
        if (last_) {
            for (int64_t channel = 0; channel < channels; channel += simd::COUNT) {
                work(Tile{first, voxels(block, channel), std::min(simd::COUNT, channels - channel), channel});
            }
            return;
        }
        const int64_t channel = block / pieces_ % channels, length = voxels(block, channel);
        const int64_t rows = length / simd::COUNT, rest = length % simd::COUNT;
        work(Tile{first, rows, simd::COUNT, channel});
        if (rest > 0) {
            work(Tile{first + rows * simd::COUNT, 1, rest, channel});
        }
    }

    // Each lane's number of a row of a table.
    simd::Floats of(const float *row, const Tile &tile) const {
        return last_ ? simd::load(row + tile.channel, tile.width) : simd::all(row[tile.channel]);
    }

    // Adds lanes to a row of a table.
    void add(float *row, const simd::Floats &sums, const Tile &tile) const {
        for (int64_t lane = 0; lane < tile.width; ++lane) {
            row[tile.channel + (last_ ? lane : 0)] += sums[lane];
        }
    }

  private:
    static constexpr int64_t NUMBERS = 16384;

    const bool last_;
    const int64_t span_, side_, pieces_, per_group_;
};

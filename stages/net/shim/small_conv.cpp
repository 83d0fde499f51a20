// A convolution among few channels on the processor, with its gradients.
//
// oneDNN computes in blocks of 8 or 16 channels, so that the last layers of a segmentation network,
// which have as many channels as there are classes and the image's full resolution, cost as much as
// layers with ten times the work. Here rows along z are multiplied and summed as they lie.
//
// Sizes: input (N, C, X, Y, Z), weight (O, C, 3, 3, 3), bias (O), stride 1, padding 1, all fp32 and
// contiguous. Sums over voxels are kept for each plane of x and added in a fixed order, so that
// results do not depend on the number of threads. Every function catches everything: an exception
// must not reach Rust.
#include "errors.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {

// target[z] += before * row[z - 1] + here * row[z] + after * row[z + 1], with 0 beyond both ends.
FOR_EACH_PROCESSOR
void add_row(float *__restrict target, const float *__restrict row, const float *taps, int64_t length) {
    const float before = taps[0], here = taps[1], after = taps[2];
    target[0] += here * row[0] + (length > 1 ? after * row[1] : 0.0f);
    for (int64_t z = 1; z < length - 1; ++z) {
        target[z] += before * row[z - 1] + here * row[z] + after * row[z + 1];
    }
    if (length > 1) {
        target[length - 1] += before * row[length - 2] + here * row[length - 1];
    }
}

// sums[k] += the sum over z of gradient[z] * row[z + k - 1], with 0 beyond both ends.
FOR_EACH_PROCESSOR
void dot_rows(float *__restrict sums, const float *__restrict gradient, const float *__restrict row, int64_t length) {
    constexpr int64_t LANES = 16;
    float before[LANES] = {}, here[LANES] = {}, after[LANES] = {};
    int64_t z = 1;
    for (; z + LANES <= length - 1; z += LANES) {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            const float g = gradient[z + lane];
            before[lane] += g * row[z + lane - 1];
            here[lane] += g * row[z + lane];
            after[lane] += g * row[z + lane + 1];
        }
    }
    float rest[3] = {0.0f, gradient[0] * row[0], length > 1 ? gradient[0] * row[1] : 0.0f};
    for (; z < length; ++z) {
        rest[0] += gradient[z] * row[z - 1];
        rest[1] += gradient[z] * row[z];
        rest[2] += z + 1 < length ? gradient[z] * row[z + 1] : 0.0f;
    }
    for (int64_t lane = 0; lane < LANES; ++lane) {
        rest[0] += before[lane];
        rest[1] += here[lane];
        rest[2] += after[lane];
    }
    for (int k = 0; k < 3; ++k) {
        sums[k] += rest[k];
    }
}

struct Size {
    int64_t n, channels, x, y, z;
    explicit Size(const at::Tensor &t) : n(t.size(0)), channels(t.size(1)), x(t.size(2)), y(t.size(3)), z(t.size(4)) {}
    int64_t row(int64_t item, int64_t channel, int64_t i, int64_t j) const {
        return (((item * channels + channel) * x + i) * y + j) * z;
    }
};

// The neighbours of `at` on an axis of this length, as a range of taps 0, 1, 2.
inline std::pair<int64_t, int64_t> taps(int64_t at, int64_t length) {
    return {at == 0 ? 1 : 0, at + 1 == length ? 2 : 3};
}

// Calls work(tap, row of `to`, row of `from`) for each two rows of a plane of x that a convolution
// brings together; `tap` is the first of three weights.
template <typename Work>
void each_meeting(const Size &from, const Size &to, int64_t plane, const Work &work) {
    const int64_t item = plane / to.x, i = plane % to.x;
    const auto [i0, i1] = taps(i, to.x);
    for (int64_t j = 0; j < to.y; ++j) {
        const auto [j0, j1] = taps(j, to.y);
        for (int64_t o = 0; o < to.channels; ++o) {
            for (int64_t c = 0; c < from.channels; ++c) {
                for (int64_t a = i0; a < i1; ++a) {
                    for (int64_t b = j0; b < j1; ++b) {
                        const int64_t tap = (((o * from.channels + c) * 3 + a) * 3 + b) * 3;
                        work(tap, to.row(item, o, i, j), from.row(item, c, i + a - 1, j + b - 1));
                    }
                }
            }
        }
    }
}

at::Tensor convolve(const at::Tensor &input, const at::Tensor &weight, const float *bias) {
    const Size from(input);
    auto output = at::empty({from.n, weight.size(0), from.x, from.y, from.z}, input.options());
    const Size to(output);
    const float *in = input.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
    float *out = output.mutable_data_ptr<float>();
    at::parallel_for(0, to.n * to.x, 1, [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane) {
            for (int64_t o = 0; o < to.channels; ++o) {
                const int64_t first = to.row(plane / to.x, o, plane % to.x, 0);
                std::fill_n(out + first, to.y * to.z, bias == nullptr ? 0.0f : bias[o]);
            }
            each_meeting(from, to, plane, [&](int64_t tap, int64_t target, int64_t row) {
                add_row(out + target, in + row, w + tap, to.z);
            });
        }
    });
    return output;
}

at::Tensor gradient_of_weight(const at::Tensor &input, const at::Tensor &gradient) {
    const Size from(input), to(gradient);
    const int64_t values = to.channels * from.channels * 27;
    const float *in = input.const_data_ptr<float>(), *grad = gradient.const_data_ptr<float>();
    std::vector<float> sums(to.n * to.x * values, 0.0f);
    at::parallel_for(0, to.n * to.x, 1, [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane) {
            each_meeting(from, to, plane, [&](int64_t tap, int64_t target, int64_t row) {
                dot_rows(sums.data() + plane * values + tap, grad + target, in + row, to.z);
            });
        }
    });
    auto result = at::empty({to.channels, from.channels, 3, 3, 3}, input.options());
    float *out = result.mutable_data_ptr<float>();
    for (int64_t value = 0; value < values; ++value) {
        double sum = 0.0;
        for (int64_t plane = 0; plane < to.n * to.x; ++plane) {
            sum += sums[plane * values + value];
        }
        out[value] = static_cast<float>(sum);
    }
    return result;
}

struct Few : torch::autograd::Function<Few> {
    static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                              const at::Tensor &weight, const at::Tensor &bias) {
        context->save_for_backward({input, weight});
        return convolve(input, weight, bias.const_data_ptr<float>());
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                   torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &input = saved[0], &weight = saved[1];
        const at::Tensor gradient = gradients[0].contiguous();
        at::Tensor of_input, of_weight, of_bias;
        if (context->needs_input_grad(0)) {
            // What a voxel gave to its neighbours comes back: the same with mirrored taps.
            of_input = convolve(gradient, weight.transpose(0, 1).flip({2, 3, 4}).contiguous(), nullptr);
        }
        if (context->needs_input_grad(1)) {
            of_weight = gradient_of_weight(input, gradient);
        }
        if (context->needs_input_grad(2)) {
            of_bias = gradient.sum({0, 2, 3, 4});
        }
        return {of_input, of_weight, of_bias};
    }
};

}  // namespace

// Gives a new tensor, or null where libtorch refused.
extern "C" at::Tensor *voxflow_small_conv(const at::Tensor *input, const at::Tensor *weight,
                                               const at::Tensor *bias) noexcept {
    try {
        return new at::Tensor(Few::apply(input->contiguous(), weight->contiguous(), bias->contiguous()));
    } catch (...) {
        voxflow::keep_error();
        return nullptr;
    }
}

// A transposed convolution to few channels on the processor, with its gradients: the step up to
// full resolution, from many channels to as many as there are classes.
//
// oneDNN computes outputs in blocks of 16 channels, of which two are used. Here a stride of 2 makes
// of each axis even outputs, 2i, which meet input i at tap 1, and odd ones, 2i + 1, which meet i at
// tap 2 and i + 1 at tap 0; so rows of inputs are multiplied and summed straight into rows of
// outputs.
//
// Sizes: input (N, C, X, Y, Z) with channels last, weight (C, O, 3, 3, 3), bias (O), stride 2,
// padding 1, output padding 1, output (N, O, 2X, 2Y, 2Z) with channels first, all fp32. Sums over
// voxels are kept for each plane of x and added in a fixed order, so that results do not depend on
// the number of threads. Every function catches everything: an exception must not reach Rust.
#include "errors.h"

#include "simd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

namespace {

using simd::Floats;

// Even and odd outputs of a row, first those of one vector of inputs: even += w1 · x[z], odd += w2
// · x[z] + w0 · x[z + 1]. `taps` holds for each tap a weight for each channel; a channel's row of
// inputs is `stride` long.
FOR_EACH_PROCESSOR
void add_outputs(const float *x, int64_t stride, const float *taps, int64_t tap_step, int64_t channels, int64_t vectors,
                 float *even, float *odd) {
    for (int64_t at = 0; at < vectors * simd::COUNT; at += simd::COUNT) {
        Floats evens = simd::load(even + at, simd::COUNT), odds = simd::load(odd + at, simd::COUNT), later = {};
        for (int64_t channel = 0; channel < channels; ++channel) {
            const float *row = x + channel * stride + at;
            const Floats here = simd::load(row, simd::COUNT), next = simd::load(row + 1, simd::COUNT);
            evens += taps[tap_step + channel] * here;
            odds += taps[2 * tap_step + channel] * here;
            later += taps[channel] * next;
        }
        simd::store(even + at, evens, simd::COUNT);
        simd::store(odd + at, odds + later, simd::COUNT);
    }
}

// A row of inputs with channels last as a row of each channel.
FOR_EACH_PROCESSOR
void turn_row(const float *x, int64_t step, int64_t channels, int64_t length, float *turned, int64_t stride) {
    for (int64_t channel = 0; channel < channels; channel += simd::COUNT) {
        const int64_t width = std::min(simd::COUNT, channels - channel);
        for (int64_t z = 0; z < length; ++z) {
            const float *from = x + z * step + channel;
            for (int64_t lane = 0; lane < width; ++lane) {
                turned[(channel + lane) * stride + z] = from[lane];
            }
        }
    }
}

// Rows of outputs that meet a row of inputs, and the weights between them: for input z the numbers
// 2z, 2z + 1 and 2z + 2 of a row, which begins with the 0 before the first output.
struct Meeting {
    const float *row, *taps;
};

// The gradient of the inputs z to z + COUNT of a row: the sum over all meetings.
constexpr int64_t ROWS = 6;

template <int64_t COUNT>
INLINE void sum_inputs(const Meeting *meetings, int64_t count, int64_t channels, int64_t tap_step, int64_t z, float *result,
                       int64_t step) {
    for (int64_t channel = 0; channel < channels; channel += simd::COUNT) {
        const int64_t width = std::min(simd::COUNT, channels - channel);
        Floats sums[COUNT] = {};
        for (int64_t at = 0; at < count; ++at) {
            const float *row = meetings[at].row + 2 * z;
            for (int64_t tap = 0; tap < 3; ++tap) {
                const Floats weight = simd::load(meetings[at].taps + tap * tap_step + channel, width);
                for (int64_t each = 0; each < COUNT; ++each) {
                    sums[each] += row[2 * each + tap] * weight;
                }
            }
        }
        for (int64_t each = 0; each < COUNT; ++each) {
            simd::store(result + (z + each) * step + channel, sums[each], width);
        }
    }
}

FOR_EACH_PROCESSOR
void write_inputs(const Meeting *meetings, int64_t count, int64_t channels, int64_t tap_step, int64_t length, float *result,
                  int64_t step) {
    int64_t z = 0;
    for (; z + ROWS <= length; z += ROWS) {
        sum_inputs<ROWS>(meetings, count, channels, tap_step, z, result, step);
    }
    for (; z < length; ++z) {
        sum_inputs<1>(meetings, count, channels, tap_step, z, result, step);
    }
}

// Adds the gradient of a meeting's weights: of each tap the sum over z of output's gradient times
// input.
FOR_EACH_PROCESSOR
void add_weights(const float *x, int64_t step, const float *row, int64_t channels, int64_t length, float *taps,
                 int64_t tap_step) {
    for (int64_t channel = 0; channel < channels; channel += simd::COUNT) {
        const int64_t width = std::min(simd::COUNT, channels - channel);
        Floats sums[2][3] = {};
        for (int64_t z = 0; z < length; ++z) {
            const Floats values = simd::load(x + z * step + channel, width);
            for (int64_t tap = 0; tap < 3; ++tap) {
                sums[z & 1][tap] += row[2 * z + tap] * values;
            }
        }
        for (int64_t tap = 0; tap < 3; ++tap) {
            float *target = taps + tap * tap_step + channel;
            simd::store(target, simd::load(target, width) + sums[0][tap] + sums[1][tap], width);
        }
    }
}

// Where an output of each parity meets inputs on one axis: how many inputs further on, and by which
// tap.
struct Source {
    int64_t ahead, tap;
};
constexpr Source SOURCES[2][2] = {{{0, 1}, {0, 1}}, {{0, 2}, {1, 0}}};
constexpr int64_t sources_of(int64_t parity) { return 1 + parity; }

// The sizes on both sides, and the weights as (3, 3, 3, O, C).
struct Up {
    int64_t items, inputs, outputs, x, y, z, step;
    at::Tensor taps;

    Up(const at::Tensor &input, const at::Tensor &weight)
        : items(input.size(0)), inputs(input.size(1)), outputs(weight.size(1)), x(input.size(2)), y(input.size(3)),
          z(input.size(4)), step(inputs), taps(weight.permute({2, 3, 4, 1, 0}).contiguous()) {}

    // The first of a channel's three weights along z.
    int64_t tap(int64_t a, int64_t b, int64_t output) const { return ((a * 3 + b) * 3 * outputs + output) * inputs; }
    int64_t tap_step() const { return outputs * inputs; }
    int64_t row_of_input(int64_t item, int64_t i, int64_t j) const { return ((item * x + i) * y + j) * z * step; }
    int64_t row_of_output(int64_t item, int64_t output, int64_t i, int64_t j) const {
        return (((item * outputs + output) * 2 * x + i) * 2 * y + j) * 2 * z;
    }

    template <typename Work>
    void each_plane(const Work &work) const {
        at::parallel_for(0, items * x, 1, [&](int64_t begin, int64_t end) {
            for (int64_t plane = begin; plane < end; ++plane) {
                work(plane, plane / x, plane % x);
            }
        });
    }
};

// The two planes of outputs that begin at input plane i, of one item.
void write_planes(const Up &up, const float *in, const float *bias, float *out, int64_t item, int64_t i) {
    const int64_t vectors = (up.z + simd::COUNT - 1) / simd::COUNT, padded = vectors * simd::COUNT, stride = padded + 1;
    const float *taps = up.taps.const_data_ptr<float>();
    // Turned rows: of planes i and i + 1, of rows j and j + 1; what is beyond the input is 0.
    std::vector<float> turned[2][2];
    for (auto &rows : turned) {
        std::fill(std::begin(rows), std::end(rows), std::vector<float>(up.inputs * stride, 0.0f));
    }
    std::vector<float> even(padded), odd(padded);
    const auto turn = [&](int64_t ahead, int64_t j) {
        if (i + ahead < up.x && j < up.y) {
            const float *from = in + up.row_of_input(item, i + ahead, j);
            turn_row(from, up.step, up.inputs, up.z, turned[ahead][j % 2].data(), stride);
        }
    };
    turn(0, 0), turn(1, 0);
    for (int64_t j = 0; j < up.y; ++j) {
        turn(0, j + 1), turn(1, j + 1);
        for (int64_t place = 0; place < 4 * up.outputs; ++place) {
            const int64_t output = place / 4, px = place / 2 % 2, py = place % 2;
            std::fill(even.begin(), even.end(), bias[output]);
            std::fill(odd.begin(), odd.end(), bias[output]);
            for (int64_t at = 0; at < sources_of(px) * sources_of(py); ++at) {
                const Source a = SOURCES[px][at / sources_of(py)], b = SOURCES[py][at % sources_of(py)];
                if (i + a.ahead < up.x && j + b.ahead < up.y) {
                    const float *rows = turned[a.ahead][(j + b.ahead) % 2].data();
                    add_outputs(rows, stride, taps + up.tap(a.tap, b.tap, output), up.tap_step(), up.inputs, vectors,
                                even.data(), odd.data());
                }
            }
            float *to = out + up.row_of_output(item, output, 2 * i + px, 2 * j + py);
            for (int64_t z = 0; z < up.z; ++z) {
                to[2 * z] = even[z];
                to[2 * z + 1] = odd[z];
            }
        }
    }
}

at::Tensor convolve(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias) {
    const Up up(input, weight);
    at::Tensor output = at::empty({up.items, up.outputs, 2 * up.x, 2 * up.y, 2 * up.z}, input.options(),
                                  at::MemoryFormat::Contiguous);
    const float *in = input.const_data_ptr<float>(), *offsets = bias.const_data_ptr<float>();
    float *out = output.data_ptr<float>();
    up.each_plane([&](int64_t, int64_t item, int64_t i) { write_planes(up, in, offsets, out, item, i); });
    return output;
}

// The rows of the output's gradient that meet input row (i, j), copied behind a 0 into `desk`;
// gives for each the offset of its weights.
class Rows {
  public:
    explicit Rows(const Up &up) : up_(up), length_(2 * up.z + 1), desk_(9 * up.outputs * length_, 0.0f) {}

    void gather(const float *gradient, int64_t item, int64_t i, int64_t j) {
        taps.clear();
        for (int64_t place = 0; place < 9 * up_.outputs; ++place) {
            const int64_t output = place / 9, a = place / 3 % 3, b = place % 3;
            const int64_t to_x = 2 * i + a - 1, to_y = 2 * j + b - 1;
            if (to_x >= 0 && to_y >= 0) {
                const float *row = gradient + up_.row_of_output(item, output, to_x, to_y);
                std::copy_n(row, 2 * up_.z, desk_.data() + taps.size() * length_ + 1);
                taps.push_back(up_.tap(a, b, output));
            }
        }
    }

    const float *row(size_t at) const { return desk_.data() + at * length_; }

    std::vector<int64_t> taps;

  private:
    const Up &up_;
    const int64_t length_;
    std::vector<float> desk_;
};

at::Tensor gradient_of_input(const Up &up, const at::Tensor &input, const at::Tensor &gradient) {
    at::Tensor result = at::empty_like(input);
    const float *grad = gradient.const_data_ptr<float>(), *taps = up.taps.const_data_ptr<float>();
    float *out = result.data_ptr<float>();
    up.each_plane([&](int64_t, int64_t item, int64_t i) {
        Rows rows(up);
        std::vector<Meeting> meetings;
        for (int64_t j = 0; j < up.y; ++j) {
            rows.gather(grad, item, i, j);
            meetings.clear();
            for (size_t at = 0; at < rows.taps.size(); ++at) {
                meetings.push_back({rows.row(at), taps + rows.taps[at]});
            }
            write_inputs(meetings.data(), meetings.size(), up.inputs, up.tap_step(), up.z,
                         out + up.row_of_input(item, i, j), up.step);
        }
    });
    return result;
}

at::Tensor gradient_of_weight(const Up &up, const at::Tensor &input, const at::Tensor &gradient) {
    const float *grad = gradient.const_data_ptr<float>(), *in = input.const_data_ptr<float>();
    const at::Tensor planes = at::zeros({up.items * up.x, 3, 3, 3, up.outputs, up.inputs}, input.options());
    float *sums = planes.data_ptr<float>();
    up.each_plane([&](int64_t plane, int64_t item, int64_t i) {
        Rows rows(up);
        for (int64_t j = 0; j < up.y; ++j) {
            rows.gather(grad, item, i, j);
            for (size_t at = 0; at < rows.taps.size(); ++at) {
                float *taps = sums + plane * 27 * up.tap_step() + rows.taps[at];
                add_weights(in + up.row_of_input(item, i, j), up.step, rows.row(at), up.inputs, up.z, taps, up.tap_step());
            }
        }
    });
    const int64_t values = 27 * up.tap_step();
    at::Tensor result = at::empty_like(up.taps);
    float *out = result.data_ptr<float>();
    for (int64_t value = 0; value < values; ++value) {
        double sum = 0.0;
        for (int64_t plane = 0; plane < up.items * up.x; ++plane) {
            sum += sums[plane * values + value];
        }
        out[value] = static_cast<float>(sum);
    }
    return result.permute({4, 3, 0, 1, 2}).contiguous();
}

struct FewUp : torch::autograd::Function<FewUp> {
    static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                              const at::Tensor &weight, const at::Tensor &bias) {
        const at::Tensor laid = input.permute({0, 2, 3, 4, 1}).contiguous().permute({0, 4, 1, 2, 3});
        context->save_for_backward({laid, weight});
        return convolve(laid, weight, bias.contiguous());
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                   torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &input = saved[0], &weight = saved[1];
        const at::Tensor gradient = gradients[0].contiguous();
        const Up up(input, weight);
        at::Tensor of_input, of_weight, of_bias;
        if (context->needs_input_grad(0)) {
            of_input = gradient_of_input(up, input, gradient);
        }
        if (context->needs_input_grad(1)) {
            of_weight = gradient_of_weight(up, input, gradient);
        }
        if (context->needs_input_grad(2)) {
            of_bias = gradient.sum({0, 2, 3, 4});
        }
        return {of_input, of_weight, of_bias};
    }
};

}  // namespace

// Gives a new tensor, or null where libtorch refused.
extern "C" at::Tensor *voxflow_small_conv_transposed(const at::Tensor *input, const at::Tensor *weight,
                                              const at::Tensor *bias) noexcept {
    try {
        return new at::Tensor(FewUp::apply(*input, *weight, *bias));
    } catch (...) {
        voxflow::keep_error();
        return nullptr;
    }
}

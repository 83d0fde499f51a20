// A norm, its PReLU and what is added to both in one, on the processor, with gradients.
//
// libtorch goes over memory once for each and keeps what is between them for the gradients. Here
// one pass takes each channel's mean and variance and one writes prelu(scale · x + shift) + added;
// the gradients read x and the output's gradient twice.
//
// Sizes: x and added (N, C, X, Y, Z) in fp32 or bf16; weight, bias and running statistics (C) and
// slope (1) in fp32. Sums are kept for each block and added in a fixed order in fp64, so that
// results do not depend on the number of threads. Every function catches everything: an exception
// must not reach Rust.
#include "errors.h"

#include "blocks.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using simd::Floats;

// Rows of a tile in the tensors that a loop reads and writes; what it does not need is null.
template <typename Number>
struct Rows {
    const Number *x, *other;
    Number *result;
    int64_t x_step, other_step, result_step, count, width;
};

// What a voxel's way through norm and activation is made of, lane by lane, and the way back.
struct Way {
    Floats scale, shift, slope, mean, level, tilt;

    INLINE Floats normalised(const Floats &x) const { return scale * x + shift; }
    INLINE Floats activated(const Floats &z) const { return z > 0 ? z : slope * z; }
    INLINE Floats back(const Floats &z, const Floats &gradient) const { return z > 0 ? gradient : slope * gradient; }
};

// The loops. WIDTH is that of the rows where it is known beforehand, else 0.

template <int64_t WIDTH, typename Number>
INLINE void sum_values_of(const Rows<Number> &rows, const Way &, Floats *sums) {
    const int64_t width = WIDTH ? WIDTH : rows.width;
    Floats total = {};
    for (int64_t row = 0; row < rows.count; ++row) {
        total += simd::load(rows.x + row * rows.x_step, width);
    }
    sums[0] = total;
}

// Of what is left of x without the mean.
template <int64_t WIDTH, typename Number>
INLINE void sum_squares_of(const Rows<Number> &rows, const Way &way, Floats *sums) {
    const int64_t width = WIDTH ? WIDTH : rows.width;
    Floats total = {};
    for (int64_t row = 0; row < rows.count; ++row) {
        const Floats off = simd::load(rows.x + row * rows.x_step, width) - way.mean;
        total += off * off;
    }
    sums[0] = total;
}

// prelu(scale · x + shift), with `other` added where there is one.
template <int64_t WIDTH, typename Number>
INLINE void write_values_of(const Rows<Number> &rows, const Way &way, Floats *) {
    const int64_t width = WIDTH ? WIDTH : rows.width;
    for (int64_t row = 0; row < rows.count; ++row) {
        Floats found = way.activated(way.normalised(simd::load(rows.x + row * rows.x_step, width)));
        if (rows.other != nullptr) {
            found += simd::load(rows.other + row * rows.other_step, width);
        }
        simd::store(rows.result + row * rows.result_step, found, width);
    }
}

// `other` is the output's gradient. Sums of the normalised value's gradient, of that times x -
// mean, and of the slope's gradient.
template <int64_t WIDTH, typename Number>
INLINE void sum_gradients_of(const Rows<Number> &rows, const Way &way, Floats *sums) {
    const int64_t width = WIDTH ? WIDTH : rows.width;
    Floats plain = {}, along = {}, of_slope = {};
    for (int64_t row = 0; row < rows.count; ++row) {
        const Floats x = simd::load(rows.x + row * rows.x_step, width), z = way.normalised(x);
        const Floats given = simd::load(rows.other + row * rows.other_step, width), gradient = way.back(z, given);
        plain += gradient;
        along += gradient * (x - way.mean);
        of_slope += z > 0 ? Floats{} : z * given;
    }
    sums[0] = plain, sums[1] = along, sums[2] = of_slope;
}

// scale · (gradient - level - (x - mean) · tilt)
template <int64_t WIDTH, typename Number>
INLINE void write_gradients_of(const Rows<Number> &rows, const Way &way, Floats *) {
    const int64_t width = WIDTH ? WIDTH : rows.width;
    for (int64_t row = 0; row < rows.count; ++row) {
        const Floats x = simd::load(rows.x + row * rows.x_step, width);
        const Floats gradient = way.back(way.normalised(x), simd::load(rows.other + row * rows.other_step, width));
        const Floats found = way.scale * (gradient - way.level - (x - way.mean) * way.tilt);
        simd::store(rows.result + row * rows.result_step, found, width);
    }
}

// A loop for each processor and each type of numbers.
#define LOOP(name, Number)                                                                 \
    FOR_EACH_PROCESSOR void name(const Rows<Number> &rows, const Way &way, Floats *sums) { \
        if (rows.width == simd::COUNT) {                                                  \
            name##_of<simd::COUNT>(rows, way, sums);                                      \
        } else {                                                                           \
            name##_of<0>(rows, way, sums);                                                 \
        }                                                                                  \
    }
#define LOOPS(name) LOOP(name, float) LOOP(name, c10::BFloat16)
LOOPS(sum_values)
LOOPS(sum_squares)
LOOPS(write_values)
LOOPS(sum_gradients)
LOOPS(write_gradients)
#undef LOOPS
#undef LOOP

// Each channel's numbers in each group: what it takes to normalise and to come back.
struct Course {
    Table mean, inverse, scale, shift, level, tilt;
    float slope;

    // `inverse` is 1 / the standard deviation; level and tilt are 0 at first.
    Course(const Table &mean, const Table &inverse, const at::Tensor &weight, const at::Tensor &bias, const at::Tensor &slope)
        : mean(mean), inverse(inverse), scale(inverse.tensor().clone()), shift(at::zeros_like(mean.tensor())),
          level(at::zeros_like(mean.tensor())), tilt(at::zeros_like(mean.tensor())), slope(*slope.const_data_ptr<float>()) {
        const int64_t channels = mean.tensor().size(1);
        for (int64_t group = 0; group < mean.tensor().size(0); ++group) {
            for (int64_t channel = 0; channel < channels; ++channel) {
                float *factor = scale[group] + channel;
                *factor *= weight.defined() ? weight.const_data_ptr<float>()[channel] : 1.0f;
                const float offset = bias.defined() ? bias.const_data_ptr<float>()[channel] : 0.0f;
                shift[group][channel] = offset - mean[group][channel] * *factor;
            }
        }
    }

    Way way(const Blocks &blocks, int64_t group, const Tile &tile) const {
        const auto of = [&](const Table &table) { return blocks.of(table[group], tile); };
        return {of(scale), of(shift), simd::all(slope), of(mean), of(level), of(tilt)};
    }
};

// A tensor that is known to lie in memory as its layout says; none where it is not defined.
struct Laid {
    at::Tensor tensor;
    Layout layout;

    // As wanted, by a copy where need be.
    static Laid out(const at::Tensor &t, bool channels_last) {
        const auto found = t.defined() ? Layout::of(t) : std::optional(Layout{channels_last, 0});
        if (found && found->channels_last == channels_last) {
            return {t, *found};
        }
        return channels_last ? Laid{t.contiguous(at::MemoryFormat::ChannelsLast3d), {true, t.size(1)}}
                             : Laid{t.contiguous(), {false, simd::COUNT}};
    }

    static Laid like(const Laid &other) {
        const bool last = other.layout.channels_last;
        const auto format = last ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
        return {at::empty_like(other.tensor, format), {last, last ? other.tensor.size(1) : simd::COUNT}};
    }

    template <typename Number>
    Number *at(const Tile &tile) const {
        if (!tensor.defined()) {
            return nullptr;
        }
        Number *data = static_cast<Number *>(tensor.data_ptr());
        return layout.channels_last ? data + tile.first * layout.step + tile.channel : data + tile.first;
    }
};

// The passes over x's memory; Number is what it holds.
template <typename Number>
class Passes {
  public:
    Passes(const Laid &x, bool each_item) : x_(x), blocks_(x.tensor, x.layout.channels_last, each_item) {}

    Table table() const { return Table(blocks_.groups, blocks_.channels); }

    // Means and variances: of each block about its own mean, put together in their order (Chan et
    // al. 1979).
    void measure(const Table &mean, const Table &variance) const {
        const Table means(blocks_.count(), blocks_.channels), squares(blocks_.count(), blocks_.channels);
        each_block([&](int64_t block) {
            each_rows(block, {}, {}, [&](const Tile &tile, const Rows<Number> &rows) {
                Floats sums;
                sum_values(rows, Way{}, &sums);
                blocks_.add(means[block], sums, tile);
            });
            for (int64_t channel = 0; channel < blocks_.channels; ++channel) {
                means[block][channel] /= std::max<int64_t>(blocks_.voxels(block, channel), 1);
            }
            each_rows(block, {}, {}, [&](const Tile &tile, const Rows<Number> &rows) {
                Way way{};
                way.mean = blocks_.of(means[block], tile);
                Floats sums;
                sum_squares(rows, way, &sums);
                blocks_.add(squares[block], sums, tile);
            });
        });
        each_channel([&](int64_t group, int64_t channel) {
            double voxels = 0.0, middle = 0.0, spread = 0.0;
            each_block_of(group, [&](int64_t block) {
                const double more = blocks_.voxels(block, channel), all = voxels + more;
                if (more > 0.0) {
                    const double off = means[block][channel] - middle;
                    middle += off * more / all;
                    spread += squares[block][channel] + off * off * voxels * more / all;
                    voxels = all;
                }
            });
            mean[group][channel] = static_cast<float>(middle);
            variance[group][channel] = static_cast<float>(spread / voxels);
        });
    }

    // prelu(scale · x + shift), and `added` where it is defined.
    at::Tensor write(const Course &course, const at::Tensor &added) const {
        const Laid other = Laid::out(added, x_.layout.channels_last), result = Laid::like(x_);
        each_block([&](int64_t block) {
            each_rows(block, other, result, [&](const Tile &tile, const Rows<Number> &rows) {
                write_values(rows, course.way(blocks_, blocks_.group(block), tile), nullptr);
            });
        });
        return result.tensor;
    }

    // Sums of the normalised values' gradients and of those times x - mean; gives the slope's
    // gradient.
    float gather(const Course &course, const Laid &gradient, const Table &plain, const Table &along) const {
        const Table blocks[3] = {Table(blocks_.count(), blocks_.channels), Table(blocks_.count(), blocks_.channels),
                                 Table(blocks_.count(), blocks_.channels)};
        each_block([&](int64_t block) {
            each_rows(block, gradient, {}, [&](const Tile &tile, const Rows<Number> &rows) {
                Floats sums[3];
                sum_gradients(rows, course.way(blocks_, blocks_.group(block), tile), sums);
                for (int kind = 0; kind < 3; ++kind) {
                    blocks_.add(blocks[kind][block], sums[kind], tile);
                }
            });
        });
        double of_slope = 0.0;
        each_channel([&](int64_t group, int64_t channel) {
            double sums[2] = {};
            each_block_of(group, [&](int64_t block) {
                sums[0] += blocks[0][block][channel];
                sums[1] += blocks[1][block][channel];
                of_slope += blocks[2][block][channel];
            });
            plain[group][channel] = static_cast<float>(sums[0]);
            along[group][channel] = static_cast<float>(sums[1]);
        });
        return static_cast<float>(of_slope);
    }

    // x's gradient.
    at::Tensor back(const Course &course, const Laid &gradient) const {
        const Laid result = Laid::like(x_);
        each_block([&](int64_t block) {
            each_rows(block, gradient, result, [&](const Tile &tile, const Rows<Number> &rows) {
                write_gradients(rows, course.way(blocks_, blocks_.group(block), tile), nullptr);
            });
        });
        return result.tensor;
    }

    // The number of voxels of a channel in each group.
    double voxels() const { return static_cast<double>(x_.tensor.numel()) / blocks_.channels / blocks_.groups; }

  private:
    const Laid x_;
    const Blocks blocks_;

    template <typename Work>
    void each_block(const Work &work) const {
        at::parallel_for(0, blocks_.count(), 1, [&](int64_t begin, int64_t end) {
            for (int64_t block = begin; block < end; ++block) {
                work(block);
            }
        });
    }

    template <typename Work>
    void each_rows(int64_t block, const Laid &other, const Laid &result, const Work &work) const {
        blocks_.each_tile(block, [&](const Tile &tile) {
            work(tile, Rows<Number>{x_.at<Number>(tile), other.at<Number>(tile), result.at<Number>(tile), x_.layout.step,
                                    other.layout.step, result.layout.step, tile.rows, tile.width});
        });
    }

    template <typename Work>
    void each_channel(const Work &work) const {
        for (int64_t group = 0; group < blocks_.groups; ++group) {
            for (int64_t channel = 0; channel < blocks_.channels; ++channel) {
                work(group, channel);
            }
        }
    }

    template <typename Work>
    void each_block_of(int64_t group, const Work &work) const {
        const int64_t each = blocks_.count() / blocks_.groups;
        for (int64_t block = group * each; block < (group + 1) * each; ++block) {
            work(block);
        }
    }
};

// Calls work(passes) with the passes over numbers of x's kind.
template <typename Work>
auto with_passes(const Laid &x, bool each_item, const Work &work) {
    return x.tensor.scalar_type() == at::kBFloat16 ? work(Passes<c10::BFloat16>(x, each_item))
                                                   : work(Passes<float>(x, each_item));
}

// How a norm is made: of the statistics of what it is given, or of running ones; for each item, or
// for all.
struct Norm {
    bool measured, each_item;
    double momentum, eps;
};

// Moves running statistics towards measured ones; the variance is that of a sample.
void follow(const at::Tensor &running_mean, const at::Tensor &running_variance, const Table &mean, const Table &variance,
            double voxels, double momentum) {
    const double unbiased = voxels / std::max(voxels - 1.0, 1.0);
    float *means = running_mean.data_ptr<float>(), *variances = running_variance.data_ptr<float>();
    for (int64_t channel = 0; channel < running_mean.numel(); ++channel) {
        means[channel] = static_cast<float>((1.0 - momentum) * means[channel] + momentum * mean[0][channel]);
        variances[channel] =
            static_cast<float>((1.0 - momentum) * variances[channel] + momentum * unbiased * variance[0][channel]);
    }
}

using Maybe = std::optional<at::Tensor>;

at::Tensor given(const Maybe &tensor) { return tensor.value_or(at::Tensor()); }

struct Activation : torch::autograd::Function<Activation> {
    static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &x, const Maybe &maybe_added,
                              const Maybe &maybe_weight, const Maybe &maybe_bias, const at::Tensor &slope,
                              const Maybe &maybe_mean, const Maybe &maybe_variance, const Norm &norm) {
        const at::Tensor added = given(maybe_added), weight = given(maybe_weight), bias = given(maybe_bias);
        const at::Tensor running_mean = given(maybe_mean), running_variance = given(maybe_variance);
        const Laid laid = Laid::out(x, is_last(x));
        return with_passes(laid, norm.each_item, [&](const auto &passes) {
            const Table mean = norm.measured ? passes.table() : Table(running_mean.unsqueeze(0).clone());
            const Table inverse = norm.measured ? passes.table() : Table(running_variance.unsqueeze(0).clone());
            if (norm.measured) {
                passes.measure(mean, inverse);
                if (running_mean.defined()) {
                    follow(running_mean, running_variance, mean, inverse, passes.voxels(), norm.momentum);
                }
            }
            inverse.tensor().add_(norm.eps).rsqrt_();
            context->save_for_backward({laid.tensor, weight, bias, slope, mean.tensor(), inverse.tensor()});
            context->saved_data["measured"] = norm.measured;
            context->saved_data["each_item"] = norm.each_item;
            context->saved_data["added"] = added.defined();
            return passes.write(Course(mean, inverse, weight, bias, slope), added);
        });
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                   torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &weight = saved[1], &bias = saved[2], &slope = saved[3];
        const Laid x = Laid::out(saved[0], is_last(saved[0]));
        const Laid gradient = Laid::out(gradients[0], x.layout.channels_last);
        const Course course{Table(saved[4]), Table(saved[5]), weight, bias, slope};
        return with_passes(x, context->saved_data["each_item"].toBool(), [&](const auto &passes) {
            const Table plain = passes.table(), along = passes.table();
            const at::Tensor of_slope = at::full_like(slope, passes.gather(course, gradient, plain, along));
            if (context->saved_data["measured"].toBool()) {
                const at::Tensor &inverse = saved[5];
                course.level.tensor().copy_(plain.tensor() / passes.voxels());
                course.tilt.tensor().copy_(along.tensor() * inverse * inverse / passes.voxels());
            }
            at::Tensor of_x, of_weight, of_bias;
            const at::Tensor of_added = context->saved_data["added"].toBool() ? gradients[0] : at::Tensor();
            if (context->needs_input_grad(0)) {
                of_x = passes.back(course, gradient);
            }
            if (weight.defined()) {
                of_weight = (along.tensor() * saved[5]).sum(0);
                of_bias = plain.tensor().sum(0);
            }
            return torch::autograd::variable_list{of_x,     of_added,     of_weight,    of_bias,
                                                  of_slope, at::Tensor(), at::Tensor(), at::Tensor()};
        });
    }

    // Whether x is taken to lie with its channels last.
    static bool is_last(const at::Tensor &x) {
        const auto layout = Layout::of(x);
        return layout ? layout->channels_last : x.suggest_memory_format() == at::MemoryFormat::ChannelsLast3d;
    }
};

Maybe maybe(const at::Tensor *tensor) { return tensor == nullptr ? Maybe() : Maybe(*tensor); }

}  // namespace

// Gives a new tensor, or null where libtorch refused. `added`, the norm's four tensors may be null.
extern "C" at::Tensor *voxflow_norm_act(const at::Tensor *x, const at::Tensor *added, const at::Tensor *weight,
                                          const at::Tensor *bias, const at::Tensor *slope, const at::Tensor *mean,
                                          const at::Tensor *variance, int measured, int each_item, double momentum,
                                          double eps) noexcept {
    try {
        const Norm norm{measured != 0, each_item != 0, momentum, eps};
        return new at::Tensor(Activation::apply(*x, maybe(added), maybe(weight), maybe(bias), *slope, maybe(mean),
                                                maybe(variance), norm));
    } catch (...) {
        voxflow::keep_error();
        return nullptr;
    }
}

// Operations on whole lists of tensors, which an accelerator does in a few kernels where a loop
// would start one for each tensor. On the processor they are loops. No gradients are recorded
// through them. Every function catches everything: an exception must not reach Rust. Zero means
// done.
#include "errors.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

namespace {

using List = std::vector<at::Tensor>;

List list(at::Tensor *const *tensors, size_t count) {
    List made;
    made.reserve(count);
    for (size_t index = 0; index < count; ++index) {
        made.push_back(*tensors[index]);
    }
    return made;
}

// Calls work with a factor as a number where it lies on the processor, else as a tensor of the
// list's own numbers: only so do all tensors go in one kernel.
template <typename Work>
auto by(const List &tensors, const at::Tensor &factor, const Work &work) {
    return factor.is_cpu() ? work(tensors, factor.item()) : work(tensors, factor.to(tensors.front().scalar_type()));
}

// Copies of each tensor in numbers of a kind.
List in_kind(const List &tensors, at::ScalarType kind) {
    List made;
    for (const at::Tensor &tensor : tensors) {
        made.push_back(at::empty_like(tensor, tensor.options().dtype(kind)));
    }
    at::_foreach_copy_(made, tensors);
    return made;
}

// The tensor with the strides of another of its shape, if only those of sides of 1 differ: lists go
// by one kernel only where all strides are the same.
at::Tensor with_strides_of(const at::Tensor &tensor, const at::Tensor &other) {
    for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
        if (tensor.size(axis) != 1 && tensor.stride(axis) != other.stride(axis)) return tensor;
    }
    return tensor.as_strided(other.sizes(), other.strides());
}

// Casts a list with gradients: one kernel forwards, and one for all gradients.
struct Cast : torch::autograd::Function<Cast> {
    static List forward(torch::autograd::AutogradContext *graph, at::TensorList tensors, int64_t kind) {
        graph->save_for_backward(tensors.vec());
        graph->set_materialize_grads(false);
        return in_kind(tensors.vec(), static_cast<at::ScalarType>(kind));
    }

    static List backward(torch::autograd::AutogradContext *graph, List gradients) {
        const List tensors = graph->get_saved_variables();
        List given;
        for (size_t index = 0; index < gradients.size(); ++index) {
            if (gradients[index].defined()) given.push_back(with_strides_of(gradients[index], tensors[index]));
        }
        if (given.empty()) return List(gradients.size() + 1);
        List cast = in_kind(given, tensors.front().scalar_type()), made;
        size_t next = 0;
        for (const at::Tensor &gradient : gradients) {
            made.push_back(gradient.defined() ? std::move(cast[next++]) : at::Tensor());
        }
        // The kind has no gradient.
        made.emplace_back();
        return made;
    }
};

void give(const List &tensors, at::Tensor **made) {
    for (size_t index = 0; index < tensors.size(); ++index) {
        made[index] = new at::Tensor(tensors[index]);
    }
}

// A dense tensor's numbers in the order of its memory.
at::Tensor in_order(const at::Tensor &tensor) {
    return tensor.as_strided({tensor.numel()}, {1}, tensor.storage_offset());
}

// Each tensor divided by a number of its own. A list of tensors goes by one kernel only where the
// other list has tensors of the same shapes: so all are laid end to end, with their numbers as
// often as they have elements. Other lists, and those of the processor, go one by one.
List divided(const List &tensors, const List &numbers) {
    bool together = !tensors.empty() && tensors.front().is_cuda();
    for (size_t index = 0; together && index < tensors.size(); ++index) {
        const at::Tensor &tensor = tensors[index], &number = numbers[index];
        together = tensor.is_non_overlapping_and_dense() && number.numel() == 1 &&
                   tensor.scalar_type() == number.scalar_type() && tensor.device() == number.device();
    }
    if (!together) return at::_foreach_div(tensors, numbers);
    List values, repeated;
    for (size_t index = 0; index < tensors.size(); ++index) {
        values.push_back(in_order(tensors[index]));
        repeated.push_back(numbers[index].reshape({1}).expand({tensors[index].numel()}));
    }
    const at::Tensor quotients = at::cat(values).div_(at::cat(repeated));
    List made;
    int64_t first = 0;
    for (const at::Tensor &tensor : tensors) {
        made.push_back(quotients.as_strided(tensor.sizes(), tensor.strides(), first));
        first += tensor.numel();
    }
    return made;
}

template <typename Work>
int done(const Work &work) noexcept {
    try {
        const c10::NoGradGuard guard;
        work();
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

}  // namespace

extern "C" {

// Each tensor *= factor, a tensor without sides, on the tensors' device or on the processor.
int voxflow_each_scale(at::Tensor *const *tensors, size_t count, const at::Tensor *factor) noexcept {
    return done([&] {
        by(list(tensors, count), *factor, [](auto &targets, const auto &value) { at::_foreach_mul_(targets, value); });
    });
}

// The products of tensors and a factor.
int voxflow_each_scaled(at::Tensor *const *tensors, size_t count, const at::Tensor *factor,
                        at::Tensor **made) noexcept {
    return done([&] {
        const auto multiply = [](auto &sources, const auto &value) { return at::_foreach_mul(sources, value); };
        give(by(list(tensors, count), *factor, multiply), made);
    });
}

// Each tensor /= factor.
int voxflow_each_divide(at::Tensor *const *tensors, size_t count, const at::Tensor *factor) noexcept {
    return done([&] {
        by(list(tensors, count), *factor, [](auto &targets, const auto &value) { at::_foreach_div_(targets, value); });
    });
}

// Each tensor += number.
int voxflow_each_add_scalar(at::Tensor *const *tensors, size_t count, double number) noexcept {
    return done([&] {
        const List all = list(tensors, count);
        // Whole numbers take no fraction, not even 1.0.
        const bool whole = at::isIntegralType(all.front().scalar_type(), false);
        at::_foreach_add_(all, whole ? at::Scalar(static_cast<int64_t>(number)) : at::Scalar(number));
    });
}

// Each tensor += the other of its place.
int voxflow_each_add(at::Tensor *const *tensors, size_t count, at::Tensor *const *others) noexcept {
    return done([&] { at::_foreach_add_(list(tensors, count), list(others, count)); });
}

// Each tensor -= the other of its place.
int voxflow_each_subtract(at::Tensor *const *tensors, size_t count, at::Tensor *const *others) noexcept {
    return done([&] { at::_foreach_sub_(list(tensors, count), list(others, count)); });
}

// Each tensor becomes the other of its place.
int voxflow_each_copy(at::Tensor *const *tensors, size_t count, at::Tensor *const *others) noexcept {
    return done([&] { at::_foreach_copy_(list(tensors, count), list(others, count)); });
}

// Each tensor goes towards the other of its place by this share of the way.
int voxflow_each_lerp(at::Tensor *const *tensors, size_t count, at::Tensor *const *others, double share) noexcept {
    return done([&] { at::_foreach_lerp_(list(tensors, count), list(others, count), share); });
}

// The same with a share on the tensors' device.
int voxflow_each_lerp_by(at::Tensor *const *tensors, size_t count, at::Tensor *const *others,
                         const at::Tensor *share) noexcept {
    return done([&] {
        const List targets = list(tensors, count);
        const at::Tensor part = share->to(targets.front().scalar_type());
        if (!part.is_cuda()) return at::_foreach_lerp_(targets, list(others, count), List(count, part));
        // libtorch takes a share from the device for one tensor after the other only.
        List way = at::_foreach_sub(list(others, count), targets);
        at::_foreach_mul_(way, part);
        at::_foreach_add_(targets, way);
    });
}

// The quotients of tensors and what stands in their places, which may be single numbers.
int voxflow_each_divided(at::Tensor *const *tensors, size_t count, at::Tensor *const *others,
                         at::Tensor **made) noexcept {
    return done([&] { give(divided(list(tensors, count), list(others, count)), made); });
}

// The products of tensors and what stands in their places.
int voxflow_each_multiplied(at::Tensor *const *tensors, size_t count, at::Tensor *const *others,
                            at::Tensor **made) noexcept {
    return done([&] { give(at::_foreach_mul(list(tensors, count), list(others, count)), made); });
}

// The square roots.
int voxflow_each_root(at::Tensor *const *tensors, size_t count, at::Tensor **made) noexcept {
    return done([&] { give(at::_foreach_sqrt(list(tensors, count)), made); });
}

// The Euclidean norms.
int voxflow_each_norm(at::Tensor *const *tensors, size_t count, at::Tensor **made) noexcept {
    return done([&] { give(at::_foreach_norm(list(tensors, count)), made); });
}

// Each fp32 tensor becomes zero where `taken` is false, also what is no number, and stays to the
// bit where it is true: its bits are multiplied by 0 or 1 as whole numbers.
int voxflow_each_zero_unless(at::Tensor *const *tensors, size_t count, const at::Tensor *taken) noexcept {
    return done([&] {
        List bits;
        for (const at::Tensor &tensor : list(tensors, count)) {
            TORCH_CHECK(tensor.scalar_type() == at::kFloat, "only fp32 is silenced");
            bits.push_back(tensor.view(at::kInt));
        }
        at::_foreach_mul_(bits, taken->to(at::kInt));
    });
}

// Drops the gradients: the next ones are taken as they come instead of being added to zeros.
// New tensors with the numbers of each, in the kind of numbers of `like`. Gradients are recorded.
int voxflow_each_cast(at::Tensor *const *tensors, size_t count, const at::Tensor *like, at::Tensor **made) noexcept {
    try {
        const List all = list(tensors, count);
        give(Cast::apply(at::TensorList(all), static_cast<int64_t>(like->scalar_type())), made);
        return 0;
    } catch (...) {
        voxflow::keep_error();
        return 1;
    }
}

int voxflow_each_zero_grad(at::Tensor *const *tensors, size_t count) noexcept {
    return done([&] {
        for (size_t index = 0; index < count; ++index) {
            tensors[index]->mutable_grad().reset();
        }
    });
}
}

// A sum over processes with gradients: forwards the sum of all ranks' tensors, backwards the sum of
// all ranks' gradients. The sum itself is Rust's.
#include "errors.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cstdio>
#include <stdexcept>

namespace {

constexpr size_t WORDS = 512;

using Reduce = int (*)(const void *context, at::Tensor *tensor, char *words);

// The sum over all ranks; the tensor stays.
at::Tensor summed(const at::Tensor &tensor, Reduce reduce, const void *context) {
    at::Tensor sum = tensor.detach().contiguous().clone();
    char words[WORDS] = "";
    if (reduce(context, &sum, words) != 0) {
        throw std::runtime_error(words);
    }
    return sum;
}

struct Sum : torch::autograd::Function<Sum> {
    static at::Tensor forward(torch::autograd::AutogradContext *graph, const at::Tensor &tensor, int64_t reduce,
                              int64_t context) {
        graph->saved_data["reduce"] = reduce;
        graph->saved_data["context"] = context;
        return summed(tensor, reinterpret_cast<Reduce>(reduce), reinterpret_cast<const void *>(context));
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext *graph,
                                                   torch::autograd::variable_list gradients) {
        const auto reduce = reinterpret_cast<Reduce>(graph->saved_data["reduce"].toInt());
        const auto context = reinterpret_cast<const void *>(graph->saved_data["context"].toInt());
        return {summed(gradients[0], reduce, context), at::Tensor(), at::Tensor()};
    }
};

}  // namespace

extern "C" {

// A new tensor, or null. Gradients are recorded.
at::Tensor *voxflow_differentiable_sum(const at::Tensor *tensor, Reduce reduce, const void *context) noexcept {
    try {
        return new at::Tensor(
            Sum::apply(*tensor, reinterpret_cast<int64_t>(reduce), reinterpret_cast<int64_t>(context)));
    } catch (...) {
        voxflow::keep_error();
        return nullptr;
    }
}
}

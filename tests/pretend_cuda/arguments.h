// Checks of an operation's arguments, as CUDA makes them, and what is counted about them.
#pragma once

#include "tensors.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>
#include <ATen/core/stack.h>

#include <unordered_set>

namespace pretend {

using c10::IValue;
using Arguments = std::vector<IValue>;

// Calls `visit` with every tensor of an argument.
template <typename Visit>
void each_tensor(const IValue &argument, const Visit &visit) {
    if (argument.isTensor()) {
        if (argument.toTensor().defined())
            visit(argument.toTensor());
    } else if (argument.isTensorList()) {
        for (const Tensor &tensor : argument.toTensorVector())
            visit(tensor);
    } else if (argument.isList()) {
        for (const IValue &item : argument.toListRef())
            each_tensor(item, visit);
    }
}

// The device of the first tensor on one, else the device that is named, else the current one.
inline int device_of_call(const Arguments &arguments) {
    int found = -1;
    for (const IValue &argument : arguments) {
        each_tensor(argument, [&](const Tensor &tensor) {
            if (found < 0 && tensor.is_cuda())
                found = tensor.get_device();
        });
    }
    for (const IValue &argument : arguments) {
        if (found < 0 && argument.isDevice() && argument.toDevice().has_index())
            found = argument.toDevice().index();
    }
    return found < 0 ? current_device : found;
}

// Element-wise operations take numbers of the processor; libtorch says of each operation whether it
// is one. Indexing takes index tensors from there, and copies them.
inline void check_devices(const c10::OperatorHandle &op, const Arguments &arguments, int device) {
    const std::string &name = op.schema().name();
    const bool pointwise =
        op.hasTag(at::Tag::pointwise) && name.find("_foreach") == std::string::npos;
    const bool indexing = name.rfind("aten::index", 0) == 0 || name == "aten::_index_put_impl_";
    for (size_t at = 0; at < arguments.size(); ++at) {
        each_tensor(arguments[at], [&](const Tensor &tensor) {
            if (tensor.is_cuda() && tensor.get_device() == device)
                return;
            const bool number = tensor.is_cpu() && tensor.dim() == 0;
            const bool fill = name == "aten::fill_" || name == "aten::masked_fill" ||
                              name == "aten::masked_fill_";
            if (number && (pointwise || fill)) {
                // `where` brings numbers to the device first.
                if (name == "aten::where")
                    note("wait", "a number of the processor in " + name, 1, true);
                return;
            }
            if (indexing && tensor.is_cpu() && arguments[at].isList()) {
                // `index` copied it before it came here.
                if (name != "aten::index")
                    waits("an index of the processor");
                return;
            }
            TORCH_CHECK(false, "Expected all tensors to be on the same device, but got ",
                        op.schema().arguments()[at].name(), " is on ", tensor.device(),
                        ", different from other tensors on ", device_at(device),
                        " (when checking argument in method wrapper_CUDA_", name, ")");
        });
    }
}

// Refused by CUDA under deterministic algorithms (PyTorch's documentation of
// `torch.use_deterministic_algorithms`).
inline bool is_never_deterministic(const std::string &name) {
    static const std::unordered_set<std::string> names = {"aten::adaptive_avg_pool2d_backward",
                                                          "aten::_adaptive_avg_pool2d_backward",
                                                          "aten::_adaptive_avg_pool3d_backward",
                                                          "aten::adaptive_max_pool2d_backward",
                                                          "aten::avg_pool3d_backward",
                                                          "aten::fractional_max_pool2d_backward",
                                                          "aten::fractional_max_pool3d_backward",
                                                          "aten::max_pool3d_with_indices_backward",
                                                          "aten::max_unpool2d",
                                                          "aten::max_unpool3d",
                                                          "aten::grid_sampler_2d_backward",
                                                          "aten::grid_sampler_3d_backward",
                                                          "aten::reflection_pad1d_backward",
                                                          "aten::reflection_pad2d_backward",
                                                          "aten::reflection_pad3d_backward",
                                                          "aten::replication_pad1d_backward",
                                                          "aten::replication_pad2d_backward",
                                                          "aten::replication_pad3d_backward",
                                                          "aten::upsample_linear1d_backward",
                                                          "aten::upsample_bilinear2d_backward",
                                                          "aten::upsample_bicubic2d_backward",
                                                          "aten::upsample_trilinear3d_backward",
                                                          "aten::nll_loss2d_forward",
                                                          "aten::_ctc_loss_backward",
                                                          "aten::histc",
                                                          "aten::kthvalue",
                                                          "aten::median",
                                                          "aten::put_",
                                                          "aten::_embedding_bag_backward"};
    return names.count(name) != 0;
}

// A list goes in few kernels where its tensors match those of the other lists in shape, strides,
// numbers and device; else each tensor has a kernel of its own. A copy may change the numbers, if
// all tensors of a list have the same.
inline void count_lists(const std::string &name, const Arguments &arguments) {
    std::vector<std::vector<Tensor>> lists;
    const bool is_copy = name == "aten::_foreach_copy_";
    bool together = true;
    for (const IValue &argument : arguments) {
        if (argument.isTensorList()) {
            lists.push_back(argument.toTensorVector());
        } else if (argument.isTensor() && argument.toTensor().defined() && !lists.empty() &&
                   !lists[0].empty()) {
            const Tensor &factor = argument.toTensor();
            together =
                together && factor.is_cuda() && factor.scalar_type() == lists[0][0].scalar_type();
        }
    }
    for (const auto &list : lists) {
        together = together && list.size() == lists[0].size();
        for (size_t at = 0; together && at < list.size(); ++at) {
            const Tensor &one = lists[0][at], &other = list[at];
            together = one.sizes() == other.sizes() && one.strides() == other.strides() &&
                       (is_copy ? list[0] : one).scalar_type() == other.scalar_type() &&
                       one.device() == other.device();
        }
    }
    if (!together)
        note("slow list", name, lists.empty() ? 1 : lists[0].size());
}

// True if the shape of the result depends on values, which are read first. libtorch says so of each
// operation; of indexing it is true for masks alone.
inline bool depends_on_values(const c10::OperatorHandle &op, const Arguments &arguments) {
    if (op.schema().name() == "aten::index") {
        bool has_mask = false;
        each_tensor(arguments[1], [&](const Tensor &index) {
            has_mask =
                has_mask || index.scalar_type() == at::kBool || index.scalar_type() == at::kByte;
        });
        return has_mask;
    }
    return op.hasTag(at::Tag::dynamic_output_shape) || op.hasTag(at::Tag::data_dependent_output);
}

inline void count_operation(const c10::OperatorHandle &op, const Arguments &arguments) {
    const std::string &name = op.schema().name(), &overload = op.schema().overload_name();
    note("operation", overload.empty() ? name : name + "." + overload);
    if (name.rfind("aten::_foreach", 0) == 0)
        count_lists(name, arguments);
    if (depends_on_values(op, arguments))
        waits(name);
}

// What the program allows cuDNN for a convolution, which the processor's kernels do not heed.
inline void note_convolution(const std::string &name) {
    if (name != "aten::convolution")
        return;
    const auto &context = at::globalContext();
    if (context.allowTF32CuDNN())
        note("convolution", "tf32");
    if (context.benchmarkCuDNN())
        note("convolution", "search");
    if (context.deterministicCuDNN())
        note("convolution", "deterministic");
}

inline void check_deterministic(const std::string &name) {
    if (at::globalContext().deterministicAlgorithms() && is_never_deterministic(name)) {
        at::globalContext().alertNotDeterministic(name);
    }
}

}  // namespace pretend

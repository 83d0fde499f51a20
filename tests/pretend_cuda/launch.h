// Operations. The first of a shape is done while the host waits, as its results' shapes must be
// learnt; those that follow are put into the stream, and the host goes on with results that are not
// there yet. Random draws and operations whose results depend on values are done at once always.
#pragma once

#include "arguments.h"

#include <ATen/native/CPUFallback.h>

namespace pretend {

// ---- arguments as kernels see them

inline Tensor number_copy(const Tensor &tensor) {
    if (!tensor.is_cpu() || tensor.dim() != 0)
        return tensor;
    Tensor copy = tensor.clone();
    copy.unsafeGetTensorImpl()->set_wrapped_number(
        tensor.unsafeGetTensorImpl()->is_wrapped_number());
    return copy;
}

inline Tensor kernel_view(const Tensor &tensor) {
    if (!tensor.defined())
        return tensor;
    return tensor.is_cuda() ? kernel_alias(tensor) : number_copy(tensor);
}

inline IValue kernel_view(const IValue &argument) {
    if (argument.isTensor())
        return kernel_view(argument.toTensor());
    if (argument.isDevice())
        return c10::Device(c10::kCPU);
    if (argument.isTensorList()) {
        c10::List<Tensor> views;
        for (const Tensor &tensor : argument.toTensorVector())
            views.push_back(kernel_view(tensor));
        return views;
    }
    if (argument.isOptionalTensorList()) {
        c10::List<std::optional<Tensor>> views;
        for (const IValue &item : argument.toListRef()) {
            views.push_back(item.isTensor() ? std::optional<Tensor>(kernel_view(item.toTensor()))
                                            : std::nullopt);
        }
        return views;
    }
    return argument;
}

inline Arguments kernel_views(const Arguments &arguments) {
    Arguments views;
    for (const IValue &argument : arguments)
        views.push_back(kernel_view(argument));
    return views;
}

// ---- kernels

inline bool is_short(const IValue &value) {
    if (!value.isTensor() || !value.toTensor().defined())
        return false;
    const auto kind = value.toTensor().scalar_type();
    return kind == at::kHalf || kind == at::kBFloat16;
}

// Convolutions of 16 bits multiply short numbers and sum in fp32, as tensor cores do; processors
// may have no such kernels. `kind` stays unset for other operations.
inline std::optional<c10::ScalarType> widen(const std::string &name, Arguments &arguments) {
    if (name != "aten::convolution" && name != "aten::convolution_backward")
        return std::nullopt;
    std::optional<c10::ScalarType> kind;
    for (const IValue &argument : arguments) {
        if (is_short(argument))
            kind = argument.toTensor().scalar_type();
    }
    if (!kind)
        return std::nullopt;
    for (IValue &argument : arguments) {
        if (!argument.isTensor() || !argument.toTensor().defined())
            continue;
        const auto found = argument.toTensor().scalar_type();
        TORCH_CHECK(found == *kind, "Input type (", *kind, ") and weight type (", found,
                    ") should be the same");
        argument = argument.toTensor().to(at::kFloat);
    }
    return kind;
}

// Runs the processor's kernel on views of the device's memory.
inline Arguments run_kernel(const c10::OperatorHandle &op, Arguments arguments) {
    const auto kind = widen(op.schema().name(), arguments);
    op.callBoxed(&arguments);
    if (kind) {
        for (IValue &result : arguments) {
            if (result.isTensor() && result.toTensor().defined())
                result = result.toTensor().to(*kind);
        }
    }
    return arguments;
}

// ---- results

// A tensor of a result: a new one, or a view of a device tensor among the arguments.
struct Shape {
    std::vector<int64_t> size, stride;
    c10::ScalarType type = c10::ScalarType::Undefined;

    explicit Shape(const Tensor &tensor) {
        if (!tensor.defined())
            return;
        type = tensor.scalar_type();
        size = tensor.sizes().vec();
        const bool dense = tensor.is_non_overlapping_and_dense();
        const auto packed = c10::contiguous_strides(tensor.sizes());
        stride =
            dense ? tensor.strides().vec() : std::vector<int64_t>(packed.begin(), packed.end());
    }
    Tensor on(int device) const {
        return type == c10::ScalarType::Undefined ? Tensor()
                                                  : make(size, stride, type, device_at(device));
    }
};

// The results of a call of one shape: for each, its tensors; a list has several.
struct Results {
    struct One {
        bool is_list = false;
        std::vector<Shape> tensors;
    };
    std::vector<One> each;
};

// The shapes of calls by operation and arguments; null for calls that cannot be done later.
inline std::unordered_map<std::string, std::optional<Results>> &known_calls() {
    static auto &known = *new std::unordered_map<std::string, std::optional<Results>>;
    return known;
}
inline std::mutex &known_mutex() {
    static auto &mutex = *new std::mutex;
    return mutex;
}

inline void describe(const Tensor &tensor, std::string &words) {
    words += tensor.defined() ? c10::toString(tensor.scalar_type()) : "none";
    if (!tensor.defined())
        return;
    words += tensor.is_cuda() ? '@' : '#';
    for (const auto side : tensor.sizes())
        words += std::to_string(side) + ",";
    words += '/';
    for (const auto stride : tensor.strides())
        words += std::to_string(stride) + ",";
}

// All that decides the shapes of a call's results. Real numbers do not.
inline std::string describe(const c10::OperatorHandle &op, const Arguments &arguments) {
    std::string words = op.schema().name() + "." + op.schema().overload_name();
    for (const IValue &argument : arguments) {
        words += '|';
        if (argument.isTensor()) {
            describe(argument.toTensor(), words);
        } else if (argument.isTensorList()) {
            for (const Tensor &tensor : argument.toTensorVector())
                describe(tensor, words);
        } else if (argument.isInt()) {
            words += std::to_string(argument.toInt());
        } else if (argument.isBool()) {
            words += argument.toBool() ? "true" : "false";
        } else if (argument.isDouble()) {
            words += "real";
        } else if (argument.isIntList()) {
            for (const auto number : argument.toIntVector())
                words += std::to_string(number) + ",";
        } else if (argument.isList()) {
            for (const IValue &item : argument.toListRef()) {
                if (item.isTensor())
                    describe(item.toTensor(), words);
                else if (item.isBool())
                    words += item.toBool() ? "true," : "false,";
                else if (item.isDouble())
                    words += std::to_string(item.toDouble()) + ",";
                else
                    words += item.tagKind();
            }
        } else {
            words += argument.tagKind();
        }
    }
    return words;
}

}  // namespace pretend

// The path of an operation: checked, counted, and done now or later.
#pragma once

#include "launch.h"

namespace pretend {

// True if a result of this place is an argument that the operation changes.
inline const IValue *changed_argument(const c10::FunctionSchema &schema, const Arguments &arguments,
                                      size_t place) {
    const auto *result = schema.returns()[place].alias_info();
    if (!result || !result->isWrite())
        return nullptr;
    for (size_t at = 0; at < arguments.size(); ++at) {
        const auto *argument = schema.arguments()[at].alias_info();
        if (argument && argument->isWrite() && argument->beforeSets() == result->beforeSets())
            return &arguments[at];
    }
    return nullptr;
}

inline bool can_be_late(const c10::OperatorHandle &op, const Arguments &arguments) {
    if (op.hasTag(at::Tag::nondeterministic_seeded) || depends_on_values(op, arguments))
        return false;
    for (const IValue &argument : arguments) {
        if (argument.isGenerator())
            return false;
    }
    return true;
}

// A result of a kernel as a tensor of the device; views of the device's memory become views.
inline Tensor adopt(const Tensor &result, const Arguments &arguments, int device, bool *is_view) {
    if (!result.defined())
        return result;
    const void *place = result.numel() ? result.const_data_ptr() : nullptr;
    if (place && device_of_shadow(place) >= 0) {
        *is_view = true;
        Tensor view;
        for (const IValue &argument : arguments) {
            each_tensor(argument, [&](const Tensor &tensor) {
                if (view.defined() || !tensor.is_cuda() || tensor.itemsize() != result.itemsize())
                    return;
                const char *first = shadow_of(tensor.storage().data());
                const auto *last = first + tensor.storage().nbytes();
                if (place < first || place >= last)
                    return;
                const auto offset =
                    (static_cast<const char *>(place) - first) / int64_t(tensor.itemsize());
                view = strided_view(tensor, result.sizes(), result.strides(), offset);
            });
        }
        TORCH_CHECK(view.defined(), "pretend CUDA: a result lies in memory of no argument");
        return view;
    }
    const Tensor made = Shape(result).on(device);
    kernel_alias(made).copy_(result);
    return made;
}

// Gives arguments that the kernel resized, as it may an `out`, their new size and values. True if
// there was one.
inline bool resize_changed(const Arguments &arguments, const Arguments &views) {
    bool resized = false;
    for (size_t at = 0; at < arguments.size(); ++at) {
        if (!arguments[at].isTensor() || !views[at].isTensor())
            continue;
        const Tensor &own = arguments[at].toTensor(), &seen = views[at].toTensor();
        if (!own.defined() || !own.is_cuda() || own.sizes() == seen.sizes())
            continue;
        resize_to(own, seen.sizes(), std::nullopt);
        current_queue(own.get_device()).drain();
        kernel_alias(own).copy_(seen);
        resized = true;
    }
    return resized;
}

// Does an operation while the host waits, and learns the shapes of its results where it can be done
// later the next time.
inline Arguments run_now(const c10::OperatorHandle &op, const Arguments &arguments, int device,
                         const std::string *call) {
    current_queue(device).drain();
    check_broken();
    const Arguments views = kernel_views(arguments), made = run_kernel(op, views);
    Arguments results;
    std::optional<Results> shapes = Results{};
    if (resize_changed(arguments, views))
        shapes.reset();
    for (size_t place = 0; place < made.size(); ++place) {
        bool is_view = false, is_known = true;
        Results::One one;
        if (const IValue *changed = changed_argument(op.schema(), arguments, place)) {
            results.push_back(*changed);
        } else if (made[place].isTensor()) {
            one.tensors.emplace_back(made[place].toTensor());
            results.push_back(adopt(made[place].toTensor(), arguments, device, &is_view));
        } else if (made[place].isTensorList()) {
            one.is_list = true;
            c10::List<Tensor> list;
            for (const Tensor &tensor : made[place].toTensorVector()) {
                one.tensors.emplace_back(tensor);
                list.push_back(adopt(tensor, arguments, device, &is_view));
            }
            results.push_back(list);
        } else {
            is_known = false;
            results.push_back(made[place]);
        }
        if (is_view || !is_known)
            shapes.reset();
        if (shapes)
            shapes->each.push_back(one);
    }
    if (call) {
        const std::lock_guard<std::mutex> guard(known_mutex());
        known_calls()[*call] = shapes;
    }
    return results;
}

// Copies what a kernel made to where the host's tensors say that it lies.
inline void deliver(const Arguments &made, const std::vector<std::vector<Tensor>> &targets) {
    for (size_t place = 0; place < targets.size(); ++place) {
        const auto &wanted = targets[place];
        if (wanted.empty())
            continue;
        const auto found = made[place].isTensor() ? std::vector<Tensor>{made[place].toTensor()}
                                                  : made[place].toTensorVector();
        for (size_t at = 0; at < wanted.size(); ++at) {
            if (!wanted[at].defined())
                continue;
            TORCH_CHECK(found[at].defined() && found[at].sizes() == wanted[at].sizes() &&
                            found[at].scalar_type() == wanted[at].scalar_type(),
                        "pretend CUDA: an operation gave another shape than before");
            wanted[at].copy_(found[at]);
        }
    }
}

// Puts an operation into the stream; the results' memory is taken, and filled later.
inline Arguments run_later(const c10::OperatorHandle &op, const Arguments &arguments, int device,
                           const Results &shapes) {
    Arguments results;
    std::vector<std::vector<Tensor>> targets(shapes.each.size());
    for (size_t place = 0; place < shapes.each.size(); ++place) {
        if (const IValue *changed = changed_argument(op.schema(), arguments, place)) {
            results.push_back(*changed);
            continue;
        }
        c10::List<Tensor> list;
        for (const Shape &shape : shapes.each[place].tensors) {
            list.push_back(shape.on(device));
            targets[place].push_back(kernel_alias(list.get(list.size() - 1)));
        }
        if (shapes.each[place].is_list) {
            results.push_back(list);
        } else {
            results.push_back(list.get(0));
        }
    }
    current_queue(device).push([op, views = kernel_views(arguments), targets] {
        deliver(run_kernel(op, views), targets);
    });
    return results;
}

inline Arguments dispatch(const c10::OperatorHandle &op, const Arguments &arguments) {
    const int device = device_of_call(arguments);
    check_broken();
    const bool breaks = must_break(op.schema().name(), device);
    check_devices(op, arguments, device);
    count_operation(op, arguments);
    note_convolution(op.schema().name());
    check_deterministic(op.schema().name());
    const OnDevice on(device);
    if (breaks)
        current_queue(device).push([] { break_device("unspecified launch failure"); });
    if (!can_be_late(op, arguments))
        return run_now(op, arguments, device, nullptr);
    const std::string call = describe(op, arguments);
    std::optional<Results> known;
    {
        const std::lock_guard<std::mutex> guard(known_mutex());
        const auto found = known_calls().find(call);
        if (found != known_calls().end())
            known = found->second;
    }
    return known ? run_later(op, arguments, device, *known) : run_now(op, arguments, device, &call);
}

inline void fallback(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
    const auto arguments = torch::jit::last(*stack, op.schema().arguments().size()).vec();
    const at::AutoDispatchBelowADInplaceOrView below;
    Arguments results = dispatch(op, arguments);
    torch::jit::drop(*stack, arguments.size());
    for (IValue &result : results)
        stack->push_back(std::move(result));
}

}  // namespace pretend

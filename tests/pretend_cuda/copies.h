// Copies between the host and devices. Those that were asked not to wait, and need not, are done by
// the stream later: the host's memory must stay as it is until then.
#pragma once

#include "tensors.h"

namespace pretend {

// A number for the bytes of a tensor of the processor that has no gaps.
inline uint64_t checksum(const char *place, size_t bytes) {
    uint64_t sum = 1469598103934665603ull;
    for (size_t at = 0; at < bytes; ++at) {
        sum = (sum ^ static_cast<unsigned char>(place[at])) * 1099511628211ull;
    }
    return sum;
}

// A tensor of the processor by its address alone: nothing keeps its memory, as nothing does in
// CUDA.
inline Tensor unowned(const Tensor &tensor) {
    return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options());
}

inline void copy_later_from_host(const Tensor &to, const Tensor &from, Queue &queue) {
    const auto bytes = from.nbytes();
    const auto *place = static_cast<const char *>(from.const_data_ptr());
    const auto before = checksum(place, bytes);
    const Ticket ticket =
        queue.push([target = kernel_alias(to), source = unowned(from), place, bytes, before] {
            target.copy_(source);
            if (checksum(place, bytes) == before)
                return;
            note("race", "host memory was written to while a copy read it");
            break_device("host memory was written to while a non-blocking copy read it");
        });
    pinned_memory().used_until(place, {&queue, ticket});
}

inline void from_host(const Tensor &to, const Tensor &from, bool non_blocking, Queue &queue) {
    note("copy", "host to device");
    const bool direct = from.scalar_type() == to.scalar_type() && from.is_contiguous() &&
                        to.sizes() == from.sizes();
    const bool late =
        non_blocking && direct && from.numel() && pinned_memory().holds(from.const_data_ptr());
    if (late)
        return copy_later_from_host(to, from, queue);
    if (non_blocking) {
        // CUDA keeps what it copies from pageable memory first, and the host waits for that.
        note("soft wait", "copy from pageable memory", 1, true);
        queue.push([target = kernel_alias(to), source = from.clone()] { target.copy_(source); });
        return;
    }
    waits("copy from the host");
    queue.wait(queue.push([target = kernel_alias(to), source = from] { target.copy_(source); }));
    check_broken();
}

inline void to_host(const Tensor &to, const Tensor &from, bool non_blocking, Queue &queue) {
    note("copy", "device to host");
    const bool late = non_blocking && to.numel() && to.is_non_overlapping_and_dense() &&
                      pinned_memory().holds(to.const_data_ptr());
    if (late) {
        fill_with_nan(static_cast<char *>(to.mutable_data_ptr()), to.nbytes());
        const Ticket ticket = queue.push(
            [target = unowned(to), source = kernel_alias(from)] { target.copy_(source); });
        pinned_memory().used_until(to.const_data_ptr(), {&queue, ticket});
        return;
    }
    if (non_blocking) {
        note("soft wait", "copy to pageable memory", 1, true);
    } else {
        waits("copy to the host");
    }
    queue.wait(queue.push([target = to, source = kernel_alias(from)] { target.copy_(source); }));
    check_broken();
}

// Between devices the work is that of the source's stream; the target's waits for it, and it for
// the target's.
inline void between_devices(const Tensor &to, const Tensor &from) {
    note("copy", "device to device");
    Queue &source = current_queue(from.get_device()), &target = current_queue(to.get_device());
    source.push([&target, ticket = target.last()] { target.wait(ticket); });
    const Ticket ticket = source.push(
        [target = kernel_alias(to), values = kernel_alias(from)] { target.copy_(values); });
    target.push([&source, ticket] { source.wait(ticket); });
}

inline Tensor &copy(Tensor &self, const Tensor &other, bool non_blocking) {
    check_broken();
    const auto &at = self.is_cuda() ? self : other;
    const bool breaks = must_break("aten::copy_", at.get_device());
    Queue &queue = current_queue(at.get_device());
    if (breaks)
        queue.push([] { break_device("unspecified launch failure"); });
    const Tensor from = other.sizes() == self.sizes() ? other : other.expand(self.sizes());
    if (self.is_cuda() && from.is_cuda() && self.device() != from.device()) {
        between_devices(self, from);
    } else if (self.is_cuda() && from.is_cuda()) {
        note("operation", "aten::copy_");
        queue.push(
            [target = kernel_alias(self), source = kernel_alias(from)] { target.copy_(source); });
    } else if (self.is_cuda()) {
        from_host(self, from, non_blocking, queue);
    } else {
        to_host(self, from, non_blocking, queue);
    }
    return self;
}

inline Tensor copy_from(const Tensor &self, const Tensor &target, bool non_blocking) {
    Tensor to = target;
    return copy(to, self, non_blocking);
}

inline Tensor copy_and_resize(const Tensor &self, const Tensor &target) {
    resize_to(target, self.sizes(), std::nullopt);
    return copy_from(self, target, false);
}

inline at::Scalar item(const Tensor &self) {
    waits("item");
    check_broken();
    if (must_break("aten::_local_scalar_dense", self.get_device()))
        break_device("unspecified launch failure");
    current_queue(self.get_device()).drain();
    check_broken();
    return at::_local_scalar_dense(kernel_alias(self));
}

}  // namespace pretend

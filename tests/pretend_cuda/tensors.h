// Tensors of a device: how they are made, viewed and resized, and as what kernels see them.
#pragma once

#include "hooks.h"

#include <ATen/ATen.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>

namespace pretend {

using at::Tensor;

// The same bytes as a tensor of the processor, for kernels; other tensors as they are.
inline Tensor kernel_alias(const Tensor &tensor) {
    if (!tensor.defined() || !tensor.is_cuda())
        return tensor;
    const auto options = at::TensorOptions().dtype(tensor.dtype()).device(c10::kCPU);
    if (tensor.numel() == 0)
        return at::empty_strided(tensor.sizes(), tensor.strides(), options);
    char *place = shadow_of(tensor.storage().data());
    place += tensor.storage_offset() * static_cast<int64_t>(tensor.itemsize());
    return at::from_blob(place, tensor.sizes(), tensor.strides(), options);
}

inline Tensor make(c10::IntArrayRef size, c10::IntArrayRef stride, c10::ScalarType type,
                   std::optional<c10::Device> device) {
    const int index = device && device->has_index() ? device->index() : current_device;
    const OnDevice on(index);
    check_ordinal(index);
    const size_t bytes = at::detail::computeStorageNbytes(size, stride, c10::elementSize(type));
    auto storage = c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), bytes, c10::GetAllocator(CUDA)->allocate(bytes),
        c10::GetAllocator(CUDA), /*resizable=*/true);
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(
        std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA),
        c10::scalarTypeToTypeMeta(type));
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
    return tensor;
}

inline Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                            std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
                            std::optional<c10::Device> device, std::optional<bool>) {
    return make(size, stride, c10::dtype_or_default(type), device);
}

inline Tensor make_empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type,
                         std::optional<c10::Layout>, std::optional<c10::Device> device,
                         std::optional<bool>, std::optional<c10::MemoryFormat> format) {
    auto tensor = make(size, c10::contiguous_strides(size), c10::dtype_or_default(type), device);
    if (format && *format != c10::MemoryFormat::Contiguous) {
        tensor.unsafeGetTensorImpl()->empty_tensor_restride(*format);
    }
    return tensor;
}

inline Tensor strided_view(const Tensor &self, c10::IntArrayRef size, c10::IntArrayRef stride,
                           std::optional<int64_t> offset) {
    auto view = at::detail::make_tensor<c10::TensorImpl>(
        c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
    auto *impl = view.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(size, stride);
    impl->set_storage_offset(offset.value_or(self.storage_offset()));
    return view;
}

inline Tensor reshape_alias(const Tensor &self, c10::IntArrayRef size, c10::IntArrayRef stride) {
    return strided_view(self, size, stride, std::nullopt);
}

inline Tensor view_of_size(const Tensor &self, c10::IntArrayRef size) {
    const auto wanted = at::infer_size(size, self.numel());
    const auto strides = at::detail::computeStride(self.sizes(), self.strides(), wanted);
    TORCH_CHECK(
        strides,
        "view size is not compatible with input tensor's size and stride (at least one dimension "
        "spans across two contiguous subspaces). Use .reshape(...) instead.");
    return strided_view(self, wanted, *strides, std::nullopt);
}

inline const Tensor &resize_to(const Tensor &self, c10::IntArrayRef size,
                               std::optional<c10::MemoryFormat> format) {
    if (self.sizes() == size)
        return self;
    const auto larger = make_empty(size, self.scalar_type(), {}, self.device(), {}, format);
    auto *impl = self.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(larger.storage());
    impl->set_sizes_and_strides(larger.sizes(), larger.strides());
    impl->set_storage_offset(0);
    return self;
}

inline Tensor &set_storage(Tensor &self, at::Storage source, int64_t offset, c10::IntArrayRef size,
                           c10::IntArrayRef stride) {
    auto *impl = self.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(std::move(source));
    impl->set_sizes_and_strides(size, stride);
    impl->set_storage_offset(offset);
    return self;
}

}  // namespace pretend

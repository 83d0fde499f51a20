// A pretend CUDA device: built as libtorch_cuda.so, it gives a program that loads CUDA by dlopen
// devices whose kernels are the processor's. Pretended is what goes wrong around kernels; see
// docs/gpu.md.
#include "copies.h"
#include "dispatch.h"

#include <torch/library.h>

namespace pretend {
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

namespace {
struct Install {
    Install() { install_memory(); }
} install;
}  // namespace
}  // namespace pretend

// libtorch asks the registry for this name.
namespace at {
using CUDAHooks = pretend::Hooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

// How often something was counted in this process so far, for programs that have no report.
extern "C" uint64_t pretend_cuda_counted(const char *kind, const char *name) {
    return pretend::counted(kind, name);
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&pretend::fallback>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
    library.impl("empty.memory_format", pretend::make_empty);
    library.impl("empty_strided", pretend::empty_strided);
    library.impl("as_strided", pretend::strided_view);
    library.impl("view", pretend::view_of_size);
    library.impl("_reshape_alias", pretend::reshape_alias);
    library.impl("resize_", pretend::resize_to);
    library.impl("set_.source_Storage_storage_offset", pretend::set_storage);
    library.impl("copy_", pretend::copy);
    library.impl("_copy_from", pretend::copy_from);
    library.impl("_copy_from_and_resize", pretend::copy_and_resize);
    library.impl("_local_scalar_dense", pretend::item);
    // libtorch writes these for every device by way of kernels that only a real device has.
    for (const auto *name : {"convolution", "convolution_backward"}) {
        library.impl(name, torch::CppFunction::makeFromBoxedFunction<&pretend::fallback>());
    }
    // Lists of tensors would be taken apart before they came here.
    for (const auto &op : c10::Dispatcher::singleton().getAllOpNames()) {
        if (op.name.rfind("aten::_foreach_", 0) != 0)
            continue;
        const std::string overload = op.overload_name.empty() ? "" : "." + op.overload_name;
        library.impl((op.name.substr(6) + overload).c_str(),
                     torch::CppFunction::makeFromBoxedFunction<&pretend::fallback>());
    }
}

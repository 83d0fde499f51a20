// Deliberate mistakes, of kinds that pass on the processor, and how the pretend device finds each.
// mistakes FOLDER [NAME], where FOLDER holds the library. Each is made in a process of its own.
#include "check.h"

#include <cstring>

static Tensor volumes() { return at::ones({2, 4, 3, 3, 3}, gpu); }

// ---- tensors in the wrong place

static std::string a_tensor_of_the_processor() {
    return refusal([] { volumes() + at::ones({3}); });
}
static std::string a_weight_on_the_processor() {
    return refusal([] { at::conv3d(volumes(), at::ones({4, 4, 3, 3, 3})); });
}
static std::string statistics_on_the_processor() {
    return refusal([] {
        at::batch_norm(volumes(), {}, {}, at::zeros(4), at::ones(4), true, 0.1, 1e-5, true);
    });
}
static std::string labels_on_the_processor() {
    return refusal([] { volumes().gather(1, at::zeros({2, 1, 3, 3, 3}, at::kLong)); });
}
static std::string a_tensor_of_another_device() {
    return refusal([] { volumes() + at::ones({3}, other); });
}
static std::string a_loss_scale_on_the_processor() {
    return refusal([] {
        auto scale = at::ones({1}, gpu),
             steady = at::zeros({1}, at::TensorOptions(gpu).dtype(at::kInt));
        at::_amp_update_scale_(scale, steady, at::zeros({1}), 2.0, 0.5, 10);
    });
}
static std::string a_pointer_followed() {
    return std::to_string(*volumes().const_data_ptr<float>());
}
static std::string halves_with_whole_weights() {
    return refusal([] { at::conv3d(volumes().to(at::kHalf), at::ones({4, 4, 3, 3, 3}, gpu)); });
}

// ---- waits

// How many of a kind ten rounds of some work cost.
static std::string in_ten_rounds(const char *kind, const std::function<void()> &work) {
    work();
    const auto before = counted(kind);
    for (int round = 0; round < 10; ++round)
        work();
    return std::to_string(counted(kind) - before) + " in ten rounds";
}
static std::string an_item_in_the_loop() {
    return in_ten_rounds("wait", [] { volumes().mean().item(); });
}
static std::string a_pageable_batch() {
    return in_ten_rounds("soft wait",
                         [] { at::ones({64}).to(gpu, at::kFloat, /*non_blocking=*/true); });
}
static std::string a_waiting_copy_of_a_batch() {
    const auto batch = at::ones({64}).pin_memory();
    return in_ten_rounds("wait", [&] { batch.to(gpu); });
}
static std::string a_size_that_depends_on_values() {
    return in_ten_rounds("wait", [] { volumes().nonzero(); });
}
static std::string an_index_on_the_processor() {
    const auto index = at::zeros({1}, at::kLong);
    return in_ten_rounds("wait", [&] { volumes().index({index}); });
}
static std::string a_synchronisation_in_the_loop() {
    return in_ten_rounds("wait", [] { streams().synchronizeDevice(0); });
}
static std::string a_list_one_by_one() {
    std::vector<Tensor> list{at::ones({3, 4}, gpu), at::ones({5}, gpu)};
    std::vector<Tensor> turned{at::ones({4, 3}, gpu).t(), at::ones({5}, gpu)};
    return in_ten_rounds("slow list", [&] { at::_foreach_add_(list, turned); });
}

// ---- order

static std::string values_or_not(const Tensor &tensor, double value) {
    return is_off(tensor, value) ? "wrong values" : "the right values";
}
static std::string a_side_stream_that_does_not_wait() {
    const auto three = late_three();
    Tensor doubled;
    c10::Event done(c10::kCUDA);
    {
        const OnStream side(side_stream());
        doubled = three * 2;
        done.record(streams().getStream(gpu));
    }
    done.block(main_stream());
    return values_or_not(doubled, 6.0);
}
static std::string an_event_before_the_work() {
    c10::Event event(c10::kCUDA);
    event.record(main_stream());
    const auto three = late_three();
    const OnStream side(side_stream());
    event.block(streams().getStream(gpu));
    return values_or_not(three * 2, 6.0);
}
static std::string a_result_read_too_early() {
    auto host = at::empty({64}, at::TensorOptions().pinned_memory(true));
    host.copy_(late_three(), /*non_blocking=*/true);
    return values_or_not(host, 3.0);
}
static std::string a_staging_buffer_overwritten() {
    auto staging = at::ones({64}).pin_memory();
    const auto batch = staging.to(gpu, at::kFloat, /*non_blocking=*/true);
    staging.fill_(2.0);
    return refusal([&] { batch.cpu(); });
}
static std::string two_staging_buffers_for_three_batches() {
    Tensor staging[] = {at::ones({64}).pin_memory(), at::ones({64}).pin_memory()};
    std::vector<Tensor> batches;
    for (int number = 0; number < 3; ++number) {
        staging[number % 2].fill_(number);
        batches.push_back(staging[number % 2].to(gpu, at::kFloat, /*non_blocking=*/true));
    }
    return refusal([&] { batches[2].cpu(); });
}
static std::string memory_reused_under_another_stream() {
    const auto ones = at::ones({64}, gpu);
    const auto sum = ones + 1;
    streams().synchronizeDevice(0);
    Tensor kept;
    auto lent = late_three();
    c10::Event ready(c10::kCUDA);
    ready.record(main_stream());
    {
        const OnStream side(side_stream());
        ready.block(streams().getStream(gpu));
        kept = lent.mul(1.0).mul(1.0);
        // Without `record_stream`, the main stream may have the memory again at once.
        auto once_more = lent.mul(1.0);
        lent.reset();
        streams().synchronizeStream(main_stream());
        kept = once_more;
        streams().synchronizeStream(streams().getStream(gpu));
    }
    return values_or_not(kept, 3.0);
}

// ---- memory, determinism, broken kernels

static std::string uninitialised_sums() {
    return values_or_not(at::empty({64}, gpu).add_(3.0), 3.0);
}
static std::string losses_kept_with_their_graphs() {
    std::vector<Tensor> losses;
    const auto in_use = [] {
        return c10::getDeviceAllocator(c10::kCUDA)->getDeviceStats(0).allocated_bytes[0].current;
    };
    const auto weight = at::ones({4, 4, 3, 3, 3}, gpu).requires_grad_();
    const auto step = [&] {
        losses.push_back(at::conv3d(at::ones({2, 4, 16, 16, 16}, gpu), weight).square().mean());
    };
    step();
    const auto before = in_use();
    for (int round = 0; round < 10; ++round)
        step();
    return std::to_string((in_use() - before) / 10 > 100000) + " memory grows with each step";
}
static std::string too_large_a_window() {
    return refusal([] { at::empty({1 << 30}, gpu); });
}
static std::string a_choice_that_cannot_be_repeated() {
    at::globalContext().setDeterministicAlgorithms(true, false);
    return refusal([] { at::histc(volumes(), 4); });
}
static std::string a_class_beyond_the_last() {
    const auto input = volumes();
    const auto labels = [](int64_t value) {
        return at::full({2, 1, 3, 3, 3}, value, at::TensorOptions(gpu).dtype(at::kLong));
    };
    const auto good = labels(1), bad = labels(7);
    input.gather(1, good);
    const auto found = input.gather(1, bad);
    return refusal([&] { found.cpu(); }) + "; " + refusal([&] { input + 1; });
}

struct Mistake {
    const char *name;
    std::string (*make)();
    const char *found;
};
#define MISTAKE(name, found) {#name, name, found}
static const Mistake MISTAKES[] = {
    MISTAKE(a_tensor_of_the_processor, "Expected all tensors to be on the same device"),
    MISTAKE(a_weight_on_the_processor, "weight is on cpu, different from other tensors on cuda:0"),
    MISTAKE(statistics_on_the_processor,
            "running_mean is on cpu, different from other tensors on cuda:0"),
    MISTAKE(labels_on_the_processor, "index is on cpu, different from other tensors on cuda:0"),
    MISTAKE(a_tensor_of_another_device, "found at least two devices, cuda:0 and cuda:1"),
    MISTAKE(a_loss_scale_on_the_processor,
            "found_inf is on cpu, different from other tensors on cuda:0"),
    MISTAKE(a_pointer_followed, "the processor touched memory of a device"),
    MISTAKE(halves_with_whole_weights,
            "Input type (Half) and weight type (Float) should be the same"),
    MISTAKE(an_item_in_the_loop, "10 in ten rounds"),
    MISTAKE(a_pageable_batch, "10 in ten rounds"),
    MISTAKE(a_waiting_copy_of_a_batch, "10 in ten rounds"),
    MISTAKE(a_size_that_depends_on_values, "10 in ten rounds"),
    MISTAKE(an_index_on_the_processor, "10 in ten rounds"),
    MISTAKE(a_synchronisation_in_the_loop, "10 in ten rounds"),
    MISTAKE(a_list_one_by_one, "20 in ten rounds"),
    MISTAKE(a_side_stream_that_does_not_wait, "wrong values"),
    MISTAKE(an_event_before_the_work, "wrong values"),
    MISTAKE(a_result_read_too_early, "wrong values"),
    MISTAKE(a_staging_buffer_overwritten,
            "host memory was written to while a non-blocking copy read it"),
    MISTAKE(two_staging_buffers_for_three_batches,
            "host memory was written to while a non-blocking copy"),
    MISTAKE(memory_reused_under_another_stream, "wrong values"),
    MISTAKE(uninitialised_sums, "wrong values"),
    MISTAKE(losses_kept_with_their_graphs, "1 memory grows with each step"),
    MISTAKE(too_large_a_window, "CUDA out of memory. Tried to allocate 4.00 GiB"),
    MISTAKE(a_choice_that_cannot_be_repeated, "does not have a deterministic implementation"),
    MISTAKE(a_class_beyond_the_last, "device-side assert triggered"),
};

int main(int count, char **words) {
    setenv("PRETEND_CUDA_DEVICES", "2", 1);
    setenv("PRETEND_CUDA_MEMORY", "256000000", 1);
    setenv("PRETEND_CUDA_LAG", "held", 1);
    int missed = 0;
    for (const Mistake &mistake : MISTAKES) {
        if (count > 2 && std::strcmp(words[2], mistake.name))
            continue;
        const std::string printed = in_a_process([&] {
            load(words[1]);
            return mistake.make();
        });
        const bool found = printed.find(mistake.found) != std::string::npos;
        std::printf("%s %s: %s\n", found ? "found " : "MISSED", mistake.name,
                    printed.substr(0, printed.find('\n')).c_str());
        missed += !found;
    }
    return missed != 0;
}

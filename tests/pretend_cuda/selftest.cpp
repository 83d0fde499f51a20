// Whether the pretend device does what a device does. selftest FOLDER, where the library lies.
#include "check.h"

static int wrong = 0;
static void says(const char *what, bool right) {
    std::printf("%s %s\n", right ? "ok   " : "WRONG", what);
    wrong += !right;
}

static bool near(const Tensor &device, const Tensor &processor, double most = 1e-6) {
    return (device.cpu() - processor).abs().max().item<double>() <= most;
}

static void values() {
    const auto a = at::randn({3, 4}), b = a.to(gpu), number = at::scalar_tensor(2.0f);
    says("what goes to the device comes back", b.cpu().equal(a));
    for (int round = 0; round < 3; ++round) {
        says("arithmetic is the processor's, now and late", (b * 2 + 1).cpu().equal(a * 2 + 1));
        says("numbers of the processor are taken", (b + number).cpu().equal(a + number));
    }
    says("a sum of integers stays one",
         (at::ones({3}, gpu).to(at::kLong) + 2).scalar_type() == at::kLong);
    Tensor view = b.clone();
    view.narrow(0, 1, 2).permute({1, 0}).add_(1);
    says("a change through a view is seen",
         view.cpu()[1].equal(a[1] + 1) && view.cpu()[0].equal(a[0]));
    std::vector<Tensor> list{b.clone(), b.clone()};
    for (int round = 0; round < 2; ++round)
        at::_foreach_mul_(list, 2.0);
    says("lists are changed in place", list[1].cpu().equal(a * 4));
    says("an empty tensor is one", (at::empty({0}, gpu) + 1).numel() == 0);
    says("a range has its length",
         at::arange(5, at::TensorOptions(gpu)).cpu().equal(at::arange(5)));
    says("cuda:1 is another device",
         (a.to(other) + 1).device() == other && b.to(other).cpu().equal(a));
    says("unfolded windows are views", b.unfold(1, 2, 1).cpu().equal(a.unfold(1, 2, 1)));
}

static void networks() {
    const auto x = at::randn({2, 3, 5, 5, 5}), w = at::randn({4, 3, 3, 3, 3});
    const auto options = at::TensorOptions().dtype(at::kFloat);
    auto mean = at::zeros({4}, options), spread = at::ones({4}, options);
    auto device_mean = mean.to(gpu), device_spread = spread.to(gpu);
    for (int round = 0; round < 2; ++round) {
        auto leaf = w.clone().requires_grad_(), device_leaf = w.to(gpu).requires_grad_();
        const auto pass = [](const Tensor &in, const Tensor &weight, Tensor &mean, Tensor &spread) {
            auto out = at::conv3d(in, weight, {}, 1, 1);
            return at::batch_norm(out, {}, {}, mean, spread, true, 0.1, 1e-5, true)
                .relu()
                .square()
                .mean();
        };
        auto loss = pass(x, leaf, mean, spread),
             device_loss = pass(x.to(gpu), device_leaf, device_mean, device_spread);
        loss.backward();
        device_loss.backward();
        says("loss and gradients are the processor's",
             near(device_loss, loss) && near(device_leaf.grad(), leaf.grad(), 1e-5));
        says("running statistics move", near(device_mean, mean) && near(device_spread, spread));
    }
    const auto half = at::conv3d(x.to(gpu).to(at::kHalf), w.to(gpu).to(at::kHalf), {}, 1, 1);
    says("a convolution of 16 bits is close",
         near(half.to(at::kFloat), at::conv3d(x, w, {}, 1, 1), 0.05));
    at::manual_seed(7);
    const auto drawn = at::randn({16}, gpu).cpu();
    at::manual_seed(7);
    says("draws repeat, and are the processor's", drawn.equal(at::randn({16})));
}

static void memory() {
    auto *allocator = c10::getDeviceAllocator(c10::kCUDA);
    const auto before = allocator->getDeviceStats(0).allocated_bytes[0].current;
    {
        const auto large = at::empty({1 << 20}, gpu);
        says("what is taken counts",
             allocator->getDeviceStats(0).allocated_bytes[0].current == before + (4 << 20));
        says("fresh memory holds no number", large.isnan().all().item<bool>());
    }
    const auto stats = allocator->getDeviceStats(0);
    says("what is freed is kept",
         stats.allocated_bytes[0].current == before && stats.reserved_bytes[0].current > 0);
    says("the peak stays", stats.allocated_bytes[0].peak >= before + (4 << 20));
    const auto [free, total] = allocator->getMemoryInfo(0);
    says("the driver sees what is kept as taken",
         total == 64000000 / 4096 * 4096 + (64000000 % 4096 ? 4096 : 0) &&
             free == total - stats.reserved_bytes[0].current);
    says("memory runs out in CUDA's words",
         refusal([] { at::empty({100000000}, gpu); })
                 .find("CUDA out of memory. Tried to allocate 381.47 MiB. GPU 0 has "
                       "a total capacity of 61.04 MiB of which") == 0);
    std::vector<Tensor> many;
    const auto words = refusal([&] {
        for (;;)
            many.push_back(at::empty({1 << 18}, gpu));
    });
    says("many small ones fill it", words.find("CUDA out of memory") == 0 && many.size() > 50);
    many.clear();
    says("and it is free again after it", refusal([] { at::empty({10 << 20}, gpu); }).empty());
    says("a device that is not there is refused",
         refusal([] {
             at::empty({1}, c10::Device(c10::kCUDA, 2));
         }).find("invalid device ordinal") != std::string::npos);
}

static void order() {
    const auto pinned = at::full({64}, 5.0f).pin_memory();
    says("pinned memory is known", pinned.is_pinned() && !at::ones({3}).is_pinned());
    const auto waits = counted("wait"), soft = counted("soft wait");
    const auto later = pinned.to(gpu, at::kFloat, /*non_blocking=*/true);
    says("a copy from pinned memory waits for nothing",
         counted("wait") == waits && counted("soft wait") == soft);
    says("and arrives", !is_off(later, 5.0));
    const auto three = late_three();
    c10::Event event(c10::kCUDA);
    event.record(main_stream());
    says("an event is not done before its work", !event.query());
    Tensor doubled;
    {
        const OnStream side(side_stream());
        event.block(streams().getStream(gpu));
        doubled = three * 2;
        event.record(streams().getStream(gpu));
    }
    event.block(main_stream());
    says("a stream waits for an event of another", !is_off(doubled, 6.0));
    auto host = at::empty({64}, at::TensorOptions().pinned_memory(true));
    host.copy_(late_three(), /*non_blocking=*/true);
    says("a late copy to the host is not there at once", !host.eq(3.0).any().item<bool>());
    streams().synchronizeStream(main_stream());
    says("and is there after a synchronisation", host.eq(3.0).all().item<bool>());
}

int main(int, char **words) {
    setenv("PRETEND_CUDA_DEVICES", "2", 1);
    setenv("PRETEND_CUDA_MEMORY", "64000000", 1);
    setenv("PRETEND_CUDA_LAG", "held", 1);
    load(words[1]);
    values();
    networks();
    memory();
    order();
    std::fflush(stdout);
    _exit(wrong != 0);
}

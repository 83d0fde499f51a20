// What libtorch asks an accelerator for: its current device, streams and events, and the hooks of
// CUDA, which are asked for by the name of their class.
#pragma once

#include "allocators.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace pretend {

inline void make_current(int device) {
    check_ordinal(device);
    current_device = device;
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
    c10::DeviceType type() const override { return CUDA; }
    c10::Device exchangeDevice(c10::Device device) const override {
        const auto before = getDevice();
        setDevice(device);
        return before;
    }
    c10::Device getDevice() const override { return device_at(current_device); }
    void setDevice(c10::Device device) const override {
        if (device.has_index())
            make_current(device.index());
    }
    void uncheckedSetDevice(c10::Device device) const noexcept override {
        if (device.has_index())
            current_device = device.index();
    }
    c10::DeviceIndex deviceCount() const noexcept override {
        return static_cast<c10::DeviceIndex>(device_count());
    }

    static c10::Stream stream_of(c10::Device device, c10::StreamId id) {
        return c10::Stream(c10::Stream::UNSAFE,
                           device.has_index() ? device : device_at(current_device), id);
    }
    static Queue &queue(const c10::Stream &stream) {
        return queue_of(stream.device_index(), stream.id());
    }
    c10::Stream getStream(c10::Device device) const override {
        const int index = device.has_index() ? device.index() : current_device;
        return stream_of(device_at(index), current_stream[index]);
    }
    c10::Stream getDefaultStream(c10::Device device) const override { return stream_of(device, 0); }
    c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
        static std::atomic<c10::StreamId> next{0};
        return stream_of(device, 1 + next++ % (STREAMS - 1));
    }
    c10::Stream getNewStream(c10::Device device, int) const override {
        return getStreamFromGlobalPool(device, false);
    }
    c10::Stream exchangeStream(c10::Stream stream) const override {
        const auto before = getStream(stream.device());
        current_stream[stream.device_index()] = stream.id();
        return before;
    }
    bool queryStream(const c10::Stream &stream) const override {
        check_broken();
        return queue(stream).passed(queue(stream).last());
    }
    void synchronizeStream(const c10::Stream &stream) const override {
        waits("synchronize a stream");
        queue(stream).drain();
        check_broken();
    }
    void synchronizeDevice(c10::DeviceIndex device) const override {
        waits("synchronize a device");
        drain_device(device < 0 ? current_device : device);
        check_broken();
    }
    void recordDataPtrOnStream(const c10::DataPtr &block,
                               const c10::Stream &stream) const override {
        const int device = device_of(block.get());
        if (device >= 0)
            memory_of(device).used_by(static_cast<const char *>(block.get()), queue(stream));
    }

    static Event &of(void *event) { return *static_cast<Event *>(event); }
    void record(void **event, const c10::Stream &stream, c10::DeviceIndex,
                c10::EventFlag) const override {
        if (!*event)
            *event = new Event;
        of(*event) = {&queue(stream), queue(stream).last()};
    }
    void block(void *event, const c10::Stream &stream) const override {
        if (!event || of(event).queue == &queue(stream))
            return;
        queue(stream).push([moment = of(event)] { moment.queue->wait(moment.ticket); });
    }
    bool queryEvent(void *event) const override {
        check_broken();
        return !event || of(event).queue->passed(of(event).ticket);
    }
    void synchronizeEvent(void *event) const override {
        if (!event)
            return;
        waits("synchronize an event");
        of(event).queue->wait(of(event).ticket);
        check_broken();
    }
    void destroyEvent(void *event, c10::DeviceIndex) const noexcept override {
        delete static_cast<Event *>(event);
    }
};

struct Hooks final : at::CUDAHooksInterface {
    explicit Hooks(at::CUDAHooksArgs) {}
    void init() const override {}
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return device_count() > 0; }
    bool hasCUDA() const override { return device_count() > 0; }
    bool hasCUDART() const override { return true; }
    long versionRuntimeCuDNN() const override { return 0; }
    c10::DeviceIndex deviceCount() const override {
        return static_cast<c10::DeviceIndex>(device_count());
    }
    int getNumGPUs() const override { return device_count(); }
    c10::DeviceIndex current_device() const override { return getCurrentDevice(); }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    void setCurrentDevice(c10::DeviceIndex device) const override { make_current(device); }
    c10::DeviceIndex getCurrentDevice() const override {
        return static_cast<c10::DeviceIndex>(pretend::current_device);
    }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
        const auto before = getCurrentDevice();
        if (device >= 0)
            make_current(device);
        return before;
    }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
        return exchangeDevice(device);
    }
    void deviceSynchronize(c10::DeviceIndex device) const override {
        waits("synchronize a device");
        drain_device(device);
        check_broken();
    }
    // The processor's generator: draws of a device can be compared with the processor's.
    const at::Generator &getDefaultGenerator(c10::DeviceIndex) const override {
        return at::detail::getDefaultCPUGenerator();
    }
    at::Generator getNewGenerator(c10::DeviceIndex) const override {
        return at::detail::createCPUGenerator();
    }
    c10::Device getDeviceFromPtr(void *place) const override {
        const int device = device_of(place);
        TORCH_CHECK(device >= 0, "pretend CUDA: no device has this address");
        return device_at(device);
    }
    bool isPinnedPtr(const void *place) const override { return pinned_memory().holds(place); }
    c10::Allocator *getPinnedMemoryAllocator() const override {
        static auto &allocator = *new PinnedAllocator;
        return &allocator;
    }
    c10::Allocator *getCUDADeviceAllocator() const override { return c10::GetAllocator(CUDA); }
};

}  // namespace pretend

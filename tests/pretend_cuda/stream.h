// Streams: queues of work, each with a thread that does it later and in order; and events, by which
// a stream or the host waits for the work of another.
#pragma once

#include "failure.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/Stream.h>
#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>

namespace pretend {

// A place in a queue; work before it has a smaller number.
using Ticket = uint64_t;

class Queue {
public:
    explicit Queue(int device) : device(device) {
        std::thread([this] { work(); }).detach();
    }

    const int device;

    Ticket push(std::function<void()> item) {
        const std::lock_guard<std::mutex> guard(mutex);
        items.push_back(std::move(item));
        ++pushed;
        // A full queue: what lies far behind is done.
        if (items.size() > LONGEST)
            want(pushed - LONGEST / 2);
        if (items.size() == 1)
            has_work.notify_one();
        return pushed;
    }

    Ticket last() {
        const std::lock_guard<std::mutex> guard(mutex);
        return pushed;
    }

    // Waits until all work up to a ticket is done.
    void wait(Ticket ticket) {
        std::unique_lock<std::mutex> guard(mutex);
        want(ticket);
        has_done.wait(guard, [&] { return done >= ticket; });
    }

    void drain() { wait(last()); }

    // True if the work up to a ticket is done. Who asks will ask again, so the work begins.
    bool passed(Ticket ticket) {
        const std::lock_guard<std::mutex> guard(mutex);
        if (done >= ticket)
            return true;
        want(ticket);
        return false;
    }

private:
    static constexpr Ticket LONGEST = 1024;

    std::mutex mutex;
    std::condition_variable has_work, has_done;
    std::deque<std::function<void()>> items;
    Ticket pushed = 0, done = 0, wanted = 0;

    void want(Ticket ticket) {
        wanted = std::max(wanted, ticket);
        has_work.notify_one();
    }

    void work() {
        omp_set_num_threads(1);
        const at::AutoDispatchBelowADInplaceOrView below;
        const at::NoGradGuard no_grad;
        std::unique_lock<std::mutex> guard(mutex);
        const auto due = [&] { return !items.empty() && wanted > done; };
        for (;;) {
            has_work.wait(guard, [&] { return !items.empty(); });
            if (is_held()) {
                has_work.wait(guard, due);
            } else {
                has_work.wait_for(guard, std::chrono::milliseconds(2), due);
            }
            // The lag is that of an idle stream: once at work, it goes on.
            do {
                const auto item = std::move(items.front());
                items.pop_front();
                guard.unlock();
                run(item);
                guard.lock();
                ++done;
                has_done.notify_all();
            } while (is_held() ? due() : !items.empty());
        }
    }

    static void run(const std::function<void()> &item) {
        if (broken)
            return;
        try {
            item();
        } catch (const std::exception &error) {
            const std::string words = error.what();
            break_device("device-side assert triggered (" + words.substr(0, words.find('\n')) +
                         ")");
        }
    }
};

constexpr c10::StreamId STREAMS = 33;

struct Streams {
    std::mutex mutex;
    Queue *queues[MOST_DEVICES][STREAMS] = {};
};

inline Streams &streams() {
    static auto &all = *new Streams;
    return all;
}

// The queue of a stream; stream 0 is a device's default.
inline Queue &queue_of(int device, c10::StreamId stream) {
    TORCH_CHECK(stream >= 0 && stream < STREAMS, "pretend CUDA: there is no stream ", stream);
    const std::lock_guard<std::mutex> guard(streams().mutex);
    Queue *&queue = streams().queues[device][stream];
    if (!queue)
        queue = new Queue(device);
    return *queue;
}

inline thread_local int current_device = 0;
inline thread_local c10::StreamId current_stream[MOST_DEVICES] = {};

// The queue into which this thread puts work for a device.
inline Queue &current_queue(int device) { return queue_of(device, current_stream[device]); }

// Waits for all streams of a device.
inline void drain_device(int device) {
    for (c10::StreamId stream = 0; stream < STREAMS; ++stream) {
        streams().mutex.lock();
        Queue *queue = streams().queues[device][stream];
        streams().mutex.unlock();
        if (queue)
            queue->drain();
    }
}

// Makes a device current for a scope.
struct OnDevice {
    explicit OnDevice(int device) : before(current_device) { current_device = device; }
    ~OnDevice() { current_device = before; }
    const int before;
};

// A moment of a stream.
struct Event {
    Queue *queue = nullptr;
    Ticket ticket = 0;
};

}  // namespace pretend

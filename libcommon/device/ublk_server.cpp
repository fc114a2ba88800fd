// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_server.hpp"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/only_one.hpp"
#include "libcommon/device/ublk_queue.hpp"

namespace r3 {

namespace {

using std::chrono::milliseconds;

constexpr unsigned kMostQueues = 4;
constexpr milliseconds kPatience{30'000};
constexpr milliseconds kLookEvery{5};

template <class Thing>
Thing wait_for_one(const std::function<Thing()>& get, const std::function<bool(const Thing&)>& good,
                   std::string_view what) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  const Stop pause;
  for (;;) {
    Thing thing = get();
    if (good(thing)) return thing;
    if (std::chrono::steady_clock::now() >= end) fail(ETIMEDOUT, what);
    pause.wait_for(kLookEvery);
  }
}

// Only the calling thread loses it. The kernel reads no partition table of a device whose queues are served without
// it. It would do so within START_DEV, in a way that nothing ends: a kill -9 at that moment, or a backend that
// hangs, and the device could never be stopped, nor any other be started (Linux 6.1).
void give_up_administration() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  check(::syscall(SYS_capget, &header, data), "capget");
  data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
  check(::syscall(SYS_capset, &header, data), "capset");
}

}  // namespace

UblkServer::UblkServer(UblkKernel& kernel, Backend& backend, UblkServerOptions options)
    : kernel_(kernel),
      backend_(backend),
      options_(std::move(options)),
      control_(kernel),
      left_(kernel, control_, options_.in_use) {
  // One at a time: a device that is being made looks like one that was left.
  const Fd turn = wait_for_one<Fd>([] { return hold_name("ublk"); }, [](const Fd& name) { return name.valid(); },
                                   "ublk: another process has been starting a device for 30 s");
  const std::uint64_t mark = options_.identity.empty() ? 0 : ublk_mark(options_.identity);
  std::optional<LeftUblk> left = left_.take(mark, backend.size());
  adopted_ = left.has_value();
  if (left) held_ = std::move(left->held);
  const ublksrv_ctrl_dev_info info = left ? left->info : make_device();
  device_ = info.dev_id;
  try {
    open_channel();
    serve(info);
    if (left)
      control_.end_recovery(device_);
    else
      control_.start(device_);
  } catch (...) {
    stop();
    throw;
  }
}

ublksrv_ctrl_dev_info UblkServer::make_device() {
  UblkShape shape;
  shape.size = backend_.size();
  shape.block_size = backend_.block_size();
  shape.read_only = options_.read_only;
  shape.queues = std::clamp(std::thread::hardware_concurrency(), 1U, kMostQueues);
  shape.recoverable = !options_.identity.empty();
  shape.mark = ublk_mark(options_.identity);
  const ublksrv_ctrl_dev_info info = control_.add(ublk_device_info(shape));
  held_ = hold_ublk_device(info.dev_id);
  try {
    control_.set_parameters(info.dev_id, ublk_parameters(shape));
  } catch (...) {
    control_.remove(info.dev_id);
    throw;
  }
  return info;
}

// The node can take a moment to be there.
void UblkServer::open_channel() {
  using Channel = std::unique_ptr<UblkChannel>;
  channel_ = wait_for_one<Channel>([this] { return kernel_.open(device_); },
                                   [](const Channel& channel) { return channel != nullptr; },
                                   "/dev/ublkc" + std::to_string(device_) + ": cannot be opened");
}

void UblkServer::serve(const ublksrv_ctrl_dev_info& info) {
  begun_ = std::vector<std::promise<void>>(info.nr_hw_queues);
  running_ = info.nr_hw_queues;
  for (unsigned number = 0; number < info.nr_hw_queues; ++number) {
    try {
      queues_.spawn([this, number, info] { serve_queue(number, info, begun_[number]); });
    } catch (...) {
      begun_[number].set_exception(std::current_exception());
    }
  }
  std::exception_ptr failed;
  for (auto& promise : begun_) {
    try {
      promise.get_future().get();
    } catch (...) {
      failed = std::current_exception();
    }
  }
  if (failed) std::rethrow_exception(failed);
}

void UblkServer::serve_queue(unsigned number, const ublksrv_ctrl_dev_info& info, std::promise<void>& begun) {
  std::unique_ptr<UblkQueuePort> port;
  std::optional<UblkQueue> queue;
  try {
    give_up_administration();
    port = channel_->queue(number, info.queue_depth);
    queue.emplace(*port, backend_, info.queue_depth, info.max_io_buf_bytes,
                  std::max(1U, options_.threads / info.nr_hw_queues));
    queue->begin();
  } catch (...) {
    begun.set_exception(std::current_exception());
    return;
  }
  begun.set_value();
  try {
    queue->run();
  } catch (...) {
    log_error(node() + ": " + text_of_current_exception());
  }
  if (--running_ == 0 && !stopped_ && options_.on_ended) options_.on_ended();
}

void UblkServer::stop() noexcept {
  if (stopped_.exchange(true)) return;
  try {
    control_.stop(device_);
  } catch (...) {
    log_debug(text_of_current_exception());  // somebody else has deleted it
  }
  try {
    queues_.join();
    channel_.reset();
    if (!left_.remove(device_))
      log_hint(node() + ": ends when those who have it open close it, and is cleaned away by the next start");
  } catch (...) {
    log_debug(text_of_current_exception());
  }
}

}  // namespace r3

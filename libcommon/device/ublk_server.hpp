// SPDX-License-Identifier: Apache-2.0
// A Backend as /dev/ublkbN: makes the device, or takes over the one that a killed process has left; a thread for each
// queue; stops and deletes it. Knows ublk, not what a user sees of a device.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/device/ublk_control.hpp"
#include "libcommon/device/ublk_left.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct UblkServerOptions {
  // Of the region, for those that outlive the process: who has the same takes the device over. Empty: users of
  // the device get errors when the process is killed.
  std::string identity = {};
  bool read_only = false;
  unsigned threads = 64;  // requests that may wait for the backend at once
  // Somebody else has ended the device. In a thread of its own.
  std::function<void()> on_ended = {};
  std::function<bool(const std::string& node)> in_use;
};

class UblkServer {
 public:
  // Borrows kernel and backend. The device can be used when this returns.
  UblkServer(UblkKernel& kernel, Backend& backend, UblkServerOptions options);
  ~UblkServer() { stop(); }

  unsigned device() const { return device_; }
  std::string node() const { return ublk_node(device_); }
  bool adopted() const { return adopted_; }

  // Users get errors from now on. Waits for requests that wait for the backend. Once.
  void stop() noexcept;

 private:
  ublksrv_ctrl_dev_info make_device();
  void open_channel();
  void serve(const ublksrv_ctrl_dev_info& info);
  void serve_queue(unsigned number, const ublksrv_ctrl_dev_info& info, std::promise<void>& begun);

  UblkKernel& kernel_;
  Backend& backend_;
  const UblkServerOptions options_;
  UblkControl control_;
  UblkLeft left_;
  Fd held_;
  unsigned device_ = 0;
  bool adopted_ = false;
  std::atomic<bool> stopped_{false};
  std::unique_ptr<UblkChannel> channel_;
  std::atomic<unsigned> running_{0};
  std::vector<std::promise<void>> begun_;  // by each queue: that it has its tags, or why not
  TaskGroup queues_;  // last: its threads use the above
};

}  // namespace r3

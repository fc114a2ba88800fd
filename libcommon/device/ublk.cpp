// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/device/block_node.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/ublk_server.hpp"
#include "libcommon/device/ublk_uring.hpp"
#include "libcommon/storage/counted.hpp"

namespace r3 {
namespace {

constexpr std::uint64_t kReadAheadKiB = 4096;

class UblkDevice : public Device {
 public:
  UblkDevice(Backend& backend, const DeviceOptions& options)
      : options_(options), counted_(backend), server_(kernel_, counted_, server_options(backend, options)),
        shown_(server_.node(), options), link_(options.path, server_.node()) {
    tune_queue(shown_.path(), "read_ahead_kb", options.read_ahead_kib(kReadAheadKiB));
  }

  ~UblkDevice() override {
    if (!detached_) counted_.abandon();
  }

  const std::string& path() const override { return options_.path.empty() ? shown_.path() : options_.path; }
  bool adopted() const override { return server_.adopted(); }
  const char* driver() const override { return "ublk"; }
  DeviceCounters counters() const override { return counters_of(counted_); }

  void flush() override {
    if (const int error = sync_own_device(shown_.path()); error != 0) fail(error, shown_.path());
    counted_.flush();
  }

  void detach() override {
    detached_ = true;
    end_block_device(shown_, counted_, options_, [this] { return counters(); }, [this] { server_.stop(); });
  }

 private:
  static UblkServerOptions server_options(const Backend& backend, const DeviceOptions& options) {
    check_block_device_size(backend.size());
    return {options.identity, options.read_only, options.threads, options.on_ended, is_in_use};
  }

  const DeviceOptions options_;
  bool detached_ = false;
  Counted counted_;
  UringUblk kernel_;
  UblkServer server_;
  BlockNode shown_;
  DeviceLink link_;
};

}  // namespace

std::unique_ptr<Device> attach_ublk(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<UblkDevice>(backend, options);
}

}  // namespace r3

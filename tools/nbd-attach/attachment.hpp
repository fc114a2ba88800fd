// SPDX-License-Identifier: Apache-2.0
// An export as /dev/nbdN, kept alive: when a connection dies, another one to the same export takes its place,
// while what reads and writes waits in the kernel. The device outlives this object, and this process: who
// attaches the same export again takes it over.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/device/nbd_kernel.hpp"
#include "libcommon/net/socket.hpp"
#include "tools/nbd-attach/arrival.hpp"
#include "tools/nbd-attach/target.hpp"

namespace r3 {

struct AttachmentOptions {
  std::optional<unsigned> device = {};  // none: a free one
  unsigned connections = 0;             // 0: up to four, if the server allows several
  std::uint64_t block_size = 0;         // 0: what the server needs, at least 512
  bool read_only = false;
  bool grow = false;  // take a server that comes back with more bytes
  std::chrono::milliseconds timeout{30'000};        // see NbdDeviceSettings; whole seconds
  std::chrono::milliseconds dead_timeout{300'000};
  std::uint64_t read_ahead = 4 * MiB;
  Arrival::Way way = Arrival::Way::sysfs;
  // A connection died, or all are there again. Called by the thread in keep().
  std::function<void(bool connected)> on_change = {};
  std::function<void(std::uint64_t size)> on_grown = {};  // likewise
};

class Attachment {
 public:
  // The device is usable when this returns. Throws std::invalid_argument for options that the export does not
  // allow, EBUSY if the device is taken, or another process keeps this export.
  Attachment(const Target& target, AttachmentOptions options, const Stop& stop);

  const std::string& path() const { return path_; }
  unsigned index() const { return index_; }
  std::uint64_t size() const { return size_; }
  bool adopted() const { return adopted_; }
  // From asking the kernel for the device until it could be used.
  std::chrono::duration<double> waited() const { return waited_; }
  unsigned connections() const { return connections_; }
  unsigned dead() const { return dead_; }
  std::uint64_t replaced() const { return replaced_; }

  // Replaces dead connections until the stop is requested; false if somebody else has detached the device.
  bool keep(const Stop& stop);

 private:
  void settle(const nbd::Agreement& agreement);
  std::optional<unsigned> find_own() const;
  void connect_device(Target::Link first, const Stop& stop);
  void adopt(unsigned index, Target::Link first, const Stop& stop);
  void lock();
  void tune(const nbd::Agreement& agreement) const;
  void listen(std::chrono::milliseconds time, const Stop& stop);
  void replace_dead(const Stop& stop);
  void check_same(const nbd::Agreement& other);
  void grow();
  void hold(Target::Link link);

  const Target& target_;
  AttachmentOptions options_;
  NbdDeviceSettings settings_;
  NbdKernel kernel_;
  unsigned index_ = 0;
  unsigned connections_ = 1;
  bool adopted_ = false;
  std::chrono::duration<double> waited_{0};
  std::string path_;
  Fd lock_;         // a name that only one process can have
  Channel command_;  // exec: lives as long as its connection
  std::vector<std::unique_ptr<Proxy>> proxies_;
  std::minstd_rand random_{std::random_device{}()};
  std::uint64_t grown_ = 0;  // what the newest connection has, if that is more
  std::atomic<std::uint64_t> size_{0};
  std::atomic<unsigned> dead_{0};
  std::atomic<std::uint64_t> replaced_{0};
};

}  // namespace r3

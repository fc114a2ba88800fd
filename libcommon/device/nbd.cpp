// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/nbd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <thread>

#include "libcommon/base/apart.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/only_one.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/device/block_node.hpp"
#include "libcommon/device/nbd_kernel.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/storage/counted.hpp"

namespace r3 {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kMostLinks = 4;
constexpr std::uint64_t kReadAheadKiB = 4096;
constexpr std::uint64_t kRequestKiB = 1024;  // longer ones the server would put into a file
// What waits for the backend is not to be taken for a dead link: of several links the kernel would close the one
// with a request that is not answered in time.
constexpr std::chrono::hours kNeverTimesOut{30 * 24};
// With one link, and no timeout, the kernel only looks then whether the link of a request was replaced, and sends the
// request again if so. Nothing else makes it do so: what was on the way when a process was killed would wait for ever.
constexpr std::uint64_t kLookForReplacedMs = 5000;
constexpr std::chrono::seconds kUntilAdopted{300};
constexpr milliseconds kUntilUsable{10'000};
constexpr milliseconds kLookEvery{2};

constexpr std::string_view kOurs = "r3/";
constexpr std::string_view kOursForNow = "r3/-";  // ends with its process

std::string identifier_of(const std::string& identity) {
  if (identity.empty()) return std::string(kOursForNow) + std::to_string(::getpid());
  std::array<char, 17> text;
  std::snprintf(text.data(), text.size(), "%016llx",
                static_cast<unsigned long long>(::XXH3_64bits(identity.data(), identity.size())));
  return std::string(kOurs) + text.data();
}

Fd hold_nbd_device(unsigned index) { return hold_name("nbd/" + std::to_string(index)); }

// The kernel's end was closed: it had no use for the socket.
bool refused(int socket) {
  pollfd event{socket, POLLIN, 0};
  return ::poll(&event, 1, 0) > 0 && (event.revents & POLLHUP) != 0;
}

// One /dev/nbdN, new or left by a process that was killed. Knows no server.
class Attached {
 public:
  Attached(const NbdDeviceSettings& settings, unsigned links) {
    const Fd turn = take_turn();
    clean_up(settings);
    if (held_.valid())
      take_over(settings, links);
    else
      make(settings, links);
  }
  ~Attached() { end(); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;

  std::string node() const { return "/dev/nbd" + std::to_string(index_); }
  bool adopted() const { return adopted_; }
  std::vector<Fd> take_links() { return std::move(links_); }

  // What waits for the device fails. Once.
  void end() noexcept {
    if (std::exchange(ended_, true)) return;
    try {
      kernel_.disconnect(index_);
    } catch (...) {
      log_debug(text_of_current_exception());  // somebody else was faster
    }
  }
  bool gone() const { return !is_attached(node()); }

 private:
  // A device that is being made looks like one that was left.
  static Fd take_turn() {
    const Stop pause;
    for (milliseconds waited{0}; waited < kUntilUsable * 3; waited += kLookEvery) {
      Fd turn = hold_name("nbd");
      if (turn.valid()) return turn;
      pause.wait_for(kLookEvery);
    }
    fail(ETIMEDOUT, "nbd: another process has been starting a device for 30 s");
  }

  // Finds the device with this identifier; others that were left are ended, but for those that may yet get their
  // process back.
  void clean_up(const NbdDeviceSettings& settings) {
    for (const NbdDevice& device : attached_nbd_devices()) {
      if (!device.identifier.starts_with(kOurs)) continue;
      Fd held = hold_nbd_device(device.index);
      if (!held.valid()) continue;  // its process lives
      const bool for_now = device.identifier.starts_with(kOursForNow);
      if (!for_now && device.identifier == settings.identifier && device.size == settings.size) {
        held_ = std::move(held);
        index_ = device.index;
      } else if (for_now || !is_in_use(device.path())) {
        log_debug(device.path() + ": left by a process that was killed, taken away");
        kernel_.disconnect(device.index);
      }
    }
  }

  void make(const NbdDeviceSettings& settings, unsigned links) {
    std::vector<Fd> theirs;
    std::vector<int> sockets;
    for (unsigned i = 0; i < links; ++i) {
      SocketPair pair = make_socket_pair();
      sockets.push_back(pair.theirs.get());
      theirs.push_back(std::move(pair.theirs));
      links_.push_back(std::move(pair.ours));
    }
    try {
      index_ = kernel_.connect(std::nullopt, settings, sockets);
    } catch (const std::system_error& error) {
      if (error.code().value() != EPERM) throw;
      fail(EPERM, "/dev/nbdN: nbd devices are for root");
    }
    held_ = hold_nbd_device(index_);
  }

  // As many links as died with the process before; they die a moment after it.
  void take_over(const NbdDeviceSettings& settings, unsigned links) {
    adopted_ = true;
    const Stop pause;
    for (milliseconds waited{0}; links_.size() < links && waited < kUntilUsable;) {
      SocketPair pair = make_socket_pair();
      kernel_.replace_link(index_, settings.identifier, pair.theirs.get());
      pair.theirs.reset();
      if (!refused(pair.ours.get())) {
        links_.push_back(std::move(pair.ours));
        continue;
      }
      if (!links_.empty()) return;  // it had fewer
      pause.wait_for(kLookEvery);
      waited += kLookEvery;
    }
    if (links_.empty()) fail(EBUSY, node() + ": its links are still in use");
  }

  NbdKernel kernel_;
  unsigned index_ = 0;
  Fd held_;
  bool adopted_ = false;
  bool ended_ = false;
  std::vector<Fd> links_;
};

class NbdDriver : public Device {
 public:
  NbdDriver(Backend& backend, const DeviceOptions& options)
      : options_(options), counted_(backend), export_{"", "", &counted_, options.read_only},
        server_({}, server_options(options)), attached_(settings(), number_of_links(options)), running_(0) {
    if (may_be_adopted(options)) tune_queue(attached_.node(), "io_timeout", kLookForReplacedMs);
    serve();
    wait_until_usable();
    shown_.emplace(attached_.node(), options);
    link_.emplace(options.path, attached_.node());
    tune_queue(attached_.node(), "max_sectors_kb", kRequestKiB);
    tune_queue(attached_.node(), "read_ahead_kb", options.read_ahead_kib(kReadAheadKiB));
  }

  ~NbdDriver() override {
    ending_ = true;
    if (!detached_) counted_.abandon();
    attached_.end();
  }

  const std::string& path() const override { return options_.path.empty() ? shown_->path() : options_.path; }
  bool adopted() const override { return attached_.adopted(); }
  const char* driver() const override { return "nbd"; }
  DeviceCounters counters() const override { return counters_of(counted_); }

  void flush() override {
    if (const int error = sync_own_device(shown_->path()); error != 0) fail(error, shown_->path());
    counted_.flush();
  }

  void detach() override {
    detached_ = true;
    end_block_device(*shown_, counted_, options_, [this] { return counters(); }, [this] {
      ending_ = true;
      attached_.end();
      links_.stop().request();
      links_.join();
    });
  }

 private:
  static bool may_be_adopted(const DeviceOptions& options) { return !options.identity.empty(); }
  static unsigned number_of_links(const DeviceOptions& options) {
    return may_be_adopted(options) ? 1 : std::clamp(std::thread::hardware_concurrency(), 1U, kMostLinks);
  }

  static NbdServerOptions server_options(const DeviceOptions& options) {
    NbdServerOptions server;
    server.workers = std::max(1U, options.threads / number_of_links(options));
    return server;
  }

  NbdDeviceSettings settings() const {
    check_block_device_size(counted_.size());
    NbdDeviceSettings settings;
    settings.size = counted_.size();
    settings.block_size = kSectorSize;
    settings.flags = server_.attached_flags(export_);
    settings.timeout = may_be_adopted(options_) ? std::chrono::seconds(0) : kNeverTimesOut;
    settings.dead_timeout = may_be_adopted(options_) ? kUntilAdopted : std::chrono::seconds(0);
    settings.identifier = identifier_of(options_.identity);
    return settings;
  }

  void serve() {
    std::vector<Fd> links = attached_.take_links();
    running_ = static_cast<unsigned>(links.size());
    for (Fd& link : links)
      links_.spawn([this, shared = std::make_shared<Fd>(std::move(link))] { serve_link(std::move(*shared)); });
  }

  void serve_link(Fd link) noexcept {
    try {
      server_.serve_attached(Channel(std::move(link)), export_, links_.stop());
    } catch (...) {
      if (!ending_) log_warning(attached_.node() + ": a link ended: " + text_of_current_exception());
    }
    if (--running_ == 0 && !ending_ && options_.on_ended) options_.on_ended();
  }

  // The first one to open it makes the kernel read the partition table: now, while the backend answers.
  void wait_until_usable() {
    const std::string node = attached_.node();
    const Stop pause;
    int error = ENOENT;
    for (milliseconds waited{0}; error != 0 && waited < kUntilUsable; waited += kLookEvery) {
      error = run_apart([&node] { return ::open(node.c_str(), O_RDONLY | O_CLOEXEC) < 0 ? errno : 0; });
      if (error != 0) pause.wait_for(kLookEvery);
    }
    if (error != 0) fail(error, node);
  }

  const DeviceOptions options_;
  Counted counted_;
  const NbdExport export_;
  NbdServer server_;
  Attached attached_;
  std::atomic<bool> ending_{false};
  bool detached_ = false;
  std::atomic<unsigned> running_;
  std::optional<BlockNode> shown_;
  std::optional<DeviceLink> link_;
  TaskGroup links_;  // last: its threads use the above
};

}  // namespace

std::unique_ptr<Device> attach_nbd(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<NbdDriver>(backend, options);
}

}  // namespace r3

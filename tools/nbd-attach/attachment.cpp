// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/attachment.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/net/nbd_protocol.hpp"

namespace r3 {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDialTimeout{10'000};
constexpr milliseconds kUsableTimeout{10'000};
constexpr milliseconds kFirstPause{50};
constexpr milliseconds kLongestPause{10'000};
constexpr milliseconds kLookEvery{1000};  // whether the device is still there
constexpr unsigned kMostConnections = 4;

// What a user waits for in whole seconds is not to become nothing.
std::chrono::seconds whole_seconds(milliseconds time) {
  return std::chrono::ceil<std::chrono::seconds>(time);
}

void set_queue(unsigned index, const char* name, std::uint64_t kib) {
  std::ofstream setting("/sys/block/nbd" + std::to_string(index) + "/queue/" + name);
  setting << kib << std::flush;  // the device works without it, slower
}

}  // namespace

Attachment::Attachment(const Target& target, AttachmentOptions options, const Stop& stop)
    : target_(target), options_(std::move(options)) {
  Target::Link first = target_.dial(kDialTimeout, stop);
  const nbd::Agreement agreement = first.agreement;
  settle(agreement);
  lock();
  if (const auto own = find_own())
    adopt(*own, std::move(first), stop);
  else
    connect_device(std::move(first), stop);
  tune(agreement);
}

// What the device will be like.
void Attachment::settle(const nbd::Agreement& agreement) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t least = std::max<std::uint64_t>(512, agreement.minimum);
  if (options_.block_size == 0) options_.block_size = least;
  if (!std::has_single_bit(options_.block_size) || options_.block_size < least || options_.block_size > page)
    throw std::invalid_argument("--block-size: " + std::to_string(options_.block_size) +
                                " is not a power of two from " + std::to_string(least) + " to " +
                                std::to_string(page) + ", which this server and the kernel can do");
  settings_.block_size = static_cast<std::uint32_t>(options_.block_size);
  settings_.size = round_down(agreement.size, settings_.block_size);
  if (settings_.size == 0) fail(EINVAL, target_.name() + ": the export is smaller than a block");
  if (settings_.size != agreement.size)
    log_warning(target_.name() + ": the last " + std::to_string(agreement.size - settings_.size) +
                " bytes do not fill a block and are not shown");
  size_ = settings_.size;
  settings_.flags = agreement.flags;
  if (options_.read_only) settings_.flags |= nbd::kReadOnly;
  settings_.timeout = whole_seconds(options_.timeout);
  settings_.dead_timeout = whole_seconds(options_.dead_timeout);
  settings_.identifier = target_.identifier();

  const bool several = (agreement.flags & nbd::kCanMultiConn) != 0 && !target_.is_command();
  const unsigned most = std::clamp(std::thread::hardware_concurrency(), 1U, kMostConnections);
  connections_ = several ? (options_.connections != 0 ? options_.connections : most) : 1;
  if (options_.connections > connections_)
    log_warning(target_.name() + ": the server allows one connection only");
}

// Two supervisors would replace each other's connections.
void Attachment::lock() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "r3tools/nbd-attach/" + settings_.identifier;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  lock_.reset(check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(lock_.get(), reinterpret_cast<sockaddr*>(&address), length) < 0)
    fail(errno == EADDRINUSE ? EBUSY : errno, target_.name() + ": another nbd-attach keeps it");
}

std::optional<unsigned> Attachment::find_own() const {
  for (const NbdDevice& device : attached_nbd_devices())
    if (device.identifier == settings_.identifier &&
        (!options_.device || *options_.device == device.index))
      return device.index;
  return std::nullopt;
}

void Attachment::connect_device(Target::Link first, const Stop& stop) {
  std::vector<Target::Link> links;
  links.push_back(std::move(first));
  while (links.size() < connections_) {
    links.push_back(target_.dial(kDialTimeout, stop));
    check_same(links.back().agreement);
  }
  std::vector<int> sockets;
  for (const Target::Link& link : links) sockets.push_back(link.socket());
  Arrival arrival(options_.way);
  const auto begun = std::chrono::steady_clock::now();
  index_ = kernel_.connect(options_.device, settings_, sockets);
  path_ = "/dev/nbd" + std::to_string(index_);
  for (Target::Link& link : links) hold(std::move(link));
  arrival.wait_for_device(index_, kUsableTimeout, stop);
  waited_ = std::chrono::steady_clock::now() - begun;
  // The first to open it reads the partition table: now, while the server is known to answer.
  open_file(path_, O_RDONLY);
}

// A device that a killed process left: its connections may live or not, new ones replace those that do not.
void Attachment::adopt(unsigned index, Target::Link first, const Stop& stop) {
  const NbdDevice device = read_nbd_device(index);
  if (device.size != settings_.size)
    fail(EBUSY, device.path() + ": was attached with " + std::to_string(device.size) + " bytes, and " +
                    target_.name() + " has " + std::to_string(settings_.size) + " now; detach it first");
  index_ = index;
  path_ = device.path();
  adopted_ = true;
  kernel_.replace_link(index_, settings_.identifier, first.socket());
  hold(std::move(first));
  for (unsigned i = 1; i < connections_; ++i) {
    Target::Link link = target_.dial(kDialTimeout, stop);
    check_same(link.agreement);
    kernel_.replace_link(index_, settings_.identifier, link.socket());
    hold(std::move(link));
  }
}

// The kernel has its own reference to the socket by now.
void Attachment::hold(Target::Link link) {
  if (link.proxy) {
    link.proxy->given();
    std::erase_if(proxies_, [](const auto& proxy) { return proxy->ended(); });
    proxies_.push_back(std::move(link.proxy));
  } else if (target_.is_command()) {
    command_ = std::move(link.channel);
  }
}

void Attachment::tune(const nbd::Agreement& agreement) const {
  set_queue(index_, "max_sectors_kb", agreement.maximum / KiB);
  set_queue(index_, "read_ahead_kb", options_.read_ahead / KiB);
}

void Attachment::check_same(const nbd::Agreement& other) {
  const std::uint64_t size = round_down(other.size, settings_.block_size);
  const bool larger = size > settings_.size;
  if (size != settings_.size && !(larger && options_.grow))
    fail(EPROTO, target_.name() + ": has " + std::to_string(other.size) + " bytes now, the device " +
                     std::to_string(settings_.size) + (larger ? "; --grow takes it" : ""));
  grown_ = larger ? size : 0;
  const auto flags = options_.read_only ? other.flags | nbd::kReadOnly : other.flags;
  if (flags != settings_.flags || other.minimum > settings_.block_size)
    fail(EPROTO, target_.name() + ": can do other things now than when the device was made");
}

// Once no connection is left that knows the old size.
void Attachment::grow() {
  if (grown_ == 0) return;
  kernel_.resize(index_, settings_.identifier, grown_);
  size_ = settings_.size = std::exchange(grown_, 0);
  log_warning(path_ + ": has " + std::to_string(settings_.size) + " bytes now");
  if (options_.on_grown) options_.on_grown(settings_.size);
}

void Attachment::listen(milliseconds time, const Stop& stop) {
  if (!kernel_.link_died(index_, static_cast<int>(time.count()), stop)) return;
  if (dead_++ == 0 && options_.on_change) options_.on_change(false);
}

bool Attachment::keep(const Stop& stop) {
  while (!stop.requested()) {
    listen(kLookEvery, stop);
    if (stop.requested()) break;
    if (read_nbd_device(index_).pid == 0) return false;
    if (dead_ > 0) replace_dead(stop);
  }
  return true;
}

// Dials until a connection is there, or the device is not.
void Attachment::replace_dead(const Stop& stop) {
  std::string said;
  for (milliseconds pause = kFirstPause; !stop.requested(); pause = std::min(pause * 2, kLongestPause)) {
    try {
      Target::Link link = target_.dial(kDialTimeout, stop);
      check_same(link.agreement);
      kernel_.replace_link(index_, settings_.identifier, link.socket());
      hold(std::move(link));
      ++replaced_;
      if (--dead_ > 0) return;
      grow();
      if (options_.on_change) options_.on_change(true);
      return;
    } catch (...) {
      const std::string trouble = text_of_current_exception();
      if (trouble != said && !stop.requested()) log_warning(path_ + ": " + trouble + "; tried again");
      said = trouble;
    }
    if (read_nbd_device(index_).pid == 0) return;
    std::uniform_int_distribution<long> jitter(pause.count() / 2, pause.count());
    listen(milliseconds(jitter(random_)), stop);
  }
}

}  // namespace r3

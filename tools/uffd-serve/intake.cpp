// SPDX-License-Identifier: Apache-2.0
#include "tools/uffd-serve/intake.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "libcommon/base/error.hpp"
#include "libcommon/device/uffd.hpp"

namespace r3 {

namespace {

using namespace uffd;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(10);
constexpr std::size_t kMostDescriptors = 2;  // userfaultfd-go sends its standard input as well

struct Left {};  // the peer has gone, or the tool is to stop

// The bytes and descriptors of a connection, as they come.
class Incoming {
 public:
  Incoming(int socket, const Stop& stop) : socket_(socket), stop_(stop), deadline_(Clock::now() + kPatience) {}

  std::vector<std::byte> bytes;
  std::vector<Fd> fds;

  void more(std::size_t most) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    const auto waited = wait_for(socket_, POLLIN, stop_, static_cast<int>(std::max<std::int64_t>(0, left)));
    if (waited == Wait::stopped) throw Left{};
    if (waited == Wait::timed_out) throw ProtocolError("it did not hand anything over within ten seconds");
    const auto before = bytes.size();
    bytes.resize(before + most);
    const auto got = receive_with_fds(socket_, std::span(bytes).subspan(before), fds);
    bytes.resize(before + got);
    if (fds.size() > kMostDescriptors) throw ProtocolError("too many descriptors came along");
    if (got > 0) return;
    if (bytes.empty() && fds.empty()) throw Left{};
    throw ProtocolError("it left in the middle of the hand-off");
  }
  void until(std::size_t size) {
    while (bytes.size() < size) more(size - bytes.size());
  }

 private:
  const int socket_;
  const Stop& stop_;
  const Clock::time_point deadline_;
};

Header next_message(Incoming& in, Type wanted) {
  in.bytes.clear();
  in.until(Header::kSize);
  const Header header = parse_header(in.bytes);
  if (header.type != wanted) throw ProtocolError("a message came out of order");
  in.bytes.clear();
  in.until(header.length);
  return header;
}

void take_own(Incoming& in, int socket, const IntakeOptions& options, Handoff& handoff) {
  in.until(Header::kSize);
  const Header header = parse_header(in.bytes);
  if (header.type != Type::hello) throw ProtocolError("a message came out of order");
  in.bytes.clear();
  in.until(header.length);
  parse_hello(in.bytes);
  send_with_fds(socket, region_message(options.region), {});
  const Header map = next_message(in, Type::map);
  handoff.map = parse_map(map, in.bytes);
  if (handoff.map.served_before && !options.adopt)
    throw ProtocolError("another server has answered for this memory: --adopt takes it over");
  if (handoff.map.track && !options.region.writable)
    throw ProtocolError("writes are not taken here: --writable does");
}

void take_original(Incoming& in, const IntakeOptions& options, Handoff& handoff) {
  in.until(kOriginalSize);
  const auto address = in.bytes;
  handoff.map.ranges = {parse_original(std::span(address).first(kOriginalSize), options.region.size)};
  if (in.fds.empty()) in.more(1);
}

void take_firecracker(Incoming& in, Handoff& handoff) {
  for (;;) {
    if (auto ranges = parse_firecracker(as_text(in.bytes))) {
      handoff.map.ranges = std::move(*ranges);
      return;
    }
    in.more(kMostPayload);
  }
}

bool is_uffd(int fd) {
  char name[64] = {};
  const auto n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof name - 1);
  return n > 0 && std::string_view(name, static_cast<std::size_t>(n)) == "anon_inode:[userfaultfd]";
}

// The one that is a userfaultfd, and ready for use.
Fd pick_uffd(std::vector<Fd>& fds) {
  if (fds.empty()) throw ProtocolError("no descriptor came along");
  const auto is_one = [](const Fd& fd) { return is_uffd(fd.get()); };
  if (std::count_if(fds.begin(), fds.end(), is_one) != 1)
    throw ProtocolError("the descriptor that came along is no userfaultfd");
  Uffd uffd(std::move(*std::find_if(fds.begin(), fds.end(), is_one)));
  if (uffd.features() == 0) throw ProtocolError("the userfaultfd is not ready: UFFDIO_API comes first");
  set_nonblocking(uffd.fd(), true);
  return duplicate(uffd.fd());
}

void identify(int socket, Handoff& handoff) {
  ucred peer{};
  socklen_t length = sizeof peer;
  check(::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length), "SO_PEERCRED");
  handoff.process = peer.pid;
  if (peer.pid <= 0) return;
  handoff.ended.reset(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  // It has ended already; whoever has its memory now is looked for in another way.
  if (!handoff.ended.valid()) handoff.process = 0;
}

}  // namespace

std::optional<Handoff> take_over(int socket, const IntakeOptions& options, const Stop& stop) {
  Handoff handoff;
  try {
    Incoming in(socket, stop);
    std::optional<Protocol> protocol;
    while (!(protocol = protocol_of(in.bytes))) in.more(kOriginalSize - in.bytes.size());
    handoff.protocol = *protocol;
    if (options.only && *options.only != *protocol)
      throw ProtocolError(std::string("it speaks another protocol than --protocol allows: ") + name_of(*protocol));
    identify(socket, handoff);
    if (*protocol == Protocol::own) take_own(in, socket, options, handoff);
    if (*protocol == Protocol::original) take_original(in, options, handoff);
    if (*protocol == Protocol::firecracker) take_firecracker(in, handoff);
    handoff.uffd = pick_uffd(in.fds);
    check_ranges(handoff.map.ranges, options.region.size);
    return handoff;
  } catch (const Left&) {
    return {};
  } catch (const ProtocolError& error) {
    refuse(socket, handoff, error.what());
  }
}

void refuse(int socket, const Handoff& handoff, const std::string& why) {
  if (handoff.protocol == Protocol::own) try {
      send_with_fds(socket, refused_message(EINVAL, why), {});
    } catch (const std::system_error&) {
      // It does not listen any more.
    }
  throw ProtocolError(why);
}

const char* name_of(Protocol protocol) {
  switch (protocol) {
    case Protocol::own: return "r3";
    case Protocol::original: return "original";
    case Protocol::firecracker: break;
  }
  return "firecracker";
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/remote_memory.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/device/uffd.hpp"
#include "libcommon/device/uffd_handoff.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kFeatures = uffd_kernel::kEvents | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MISSING_SHMEM |
                                    UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM |
                                    uffd_kernel::kFeaturePoison;
constexpr auto kTryAgain = std::chrono::milliseconds(200);

struct Received {
  uffd::Header header;
  std::vector<std::byte> payload;
};

Received receive(int socket, const std::string& address, uffd::Type wanted) {
  std::vector<std::byte> bytes(uffd::Header::kSize);
  const auto fill = [&](Bytes into) {
    if (read_full(socket, into, address) < into.size()) fail(ECONNRESET, address + ": the server closed the connection");
  };
  fill(bytes);
  const auto header = uffd::parse_header(bytes);
  std::vector<std::byte> payload(header.length);
  fill(payload);
  if (header.type == uffd::Type::refused)
    fail(header.error > 0 ? static_cast<int>(header.error) : EPROTO, address + ": " + std::string(as_text(payload)));
  if (header.type != wanted) throw ProtocolError(address + ": the server says something unexpected");
  return {header, std::move(payload)};
}

void send(int socket, const std::vector<std::byte>& message, const std::vector<int>& fds = {}) {
  send_with_fds(socket, message, fds);
}

}  // namespace

RemoteMemory::RemoteMemory(const std::string& address) : RemoteMemory(address, Options{}) {}

RemoteMemory::RemoteMemory(const std::string& address, Options options)
    : address_(address), options_(std::move(options)), owner_(::getpid()) {
  socket_ = connect();
  send(socket_.get(), uffd::hello_message());
  const auto info = uffd::parse_region_info(receive(socket_.get(), address_, uffd::Type::region).payload);
  if (options_.writable && !info.writable) fail(EROFS, address_ + ": the server takes no writes (uffd-serve --writable)");
  size_ = info.size;
  if (size_ == 0) fail(ENODATA, address_ + ": the region is empty");
  map_memory();
  try {
    register_memory();
    hand_over(socket_, false);
    watcher_->spawn([this] { watch(); });
  } catch (...) {
    abandon();  // as in the destructor
    ::munmap(bytes_.data(), bytes_.size());
    throw;
  }
}

RemoteMemory::~RemoteMemory() {
  if (::getpid() != owner_) {  // the descriptor is still that of the parent's memory
    watcher_.release();
    return;
  }
  try {
    if (options_.writable) push_once();
  } catch (const std::exception&) {
    // Who has to know pushes before.
  }
  watcher_->stop().request();
  abandon();  // taking registered memory away would wait for a server
  ::munmap(bytes_.data(), bytes_.size());
}

void RemoteMemory::abandon() noexcept {
  uffdio_range range{reinterpret_cast<std::uint64_t>(bytes_.data()), bytes_.size()};
  ::ioctl(uffd_.get(), UFFDIO_UNREGISTER, &range);
}

Fd RemoteMemory::connect() const {
  std::string path = address_.rfind("unix:", 0) == 0 ? address_.substr(5) : address_;
  if (path.rfind("///", 0) == 0) path.erase(0, 2);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof name.sun_path) fail(ENAMETOOLONG, address_);
  std::memcpy(name.sun_path, path.data(), path.size());
  socklen_t length = sizeof name;
  if (path[0] == '@') {
    name.sun_path[0] = '\0';
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  }
  Fd socket(check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  check(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), length), address_);
  return socket;
}

void RemoteMemory::map_memory() {
  page_ = options_.kind == Kind::huge ? 2 * MiB : 4 * KiB;
  const auto length = round_up(size_, page_);
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  // Reserved: a page that turns out not to be there could only be refused when it is touched.
  if (options_.kind == Kind::huge) flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
  if (options_.kind == Kind::shared) {
    memfd_.reset(check(::memfd_create("r3-remote-memory", MFD_CLOEXEC), "memfd_create"));
    check(::ftruncate(memfd_.get(), static_cast<off_t>(length)), "memfd");
    flags = MAP_SHARED | MAP_NORESERVE;
  }
  void* address = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, flags, memfd_.get(), 0);
  if (address == MAP_FAILED)
    fail(errno, "memory for " + std::to_string(length) + " bytes" +
                    (options_.kind == Kind::huge ? " of huge pages (vm.nr_hugepages)" : ""));
  bytes_ = {static_cast<std::byte*>(address), length};
}

void RemoteMemory::register_memory() {
  auto opened = open_uffd(kFeatures | (options_.writable ? UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                                               UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
                                                               uffd_kernel::kFeatureWriteAsync : 0));
  access_ = opened.how;
  user_mode_only_ = opened.user_mode_only;
  uffd_ = std::move(opened.descriptor);
  // A child whose pages nobody would answer must not see zeroes.
  if ((opened.features & UFFD_FEATURE_EVENT_FORK) == 0)
    check(::madvise(bytes_.data(), bytes_.size(), MADV_DONTFORK), "madvise");
  uffdio_register request{{reinterpret_cast<std::uint64_t>(bytes_.data()), bytes_.size()},
                          UFFDIO_REGISTER_MODE_MISSING, 0};
  if (options_.kind == Kind::shared && (opened.features & UFFD_FEATURE_MINOR_SHMEM) != 0)
    request.mode |= UFFDIO_REGISTER_MODE_MINOR;
  if (options_.writable) request.mode |= UFFDIO_REGISTER_MODE_WP;
  check(::ioctl(uffd_.get(), UFFDIO_REGISTER, &request), "userfaultfd: register memory");
}

void RemoteMemory::hand_over(Fd& socket, bool again) {
  uffd::Map map;
  map.keeps_duplicate = true;
  map.served_before = again;
  map.track = options_.writable;
  map.ranges = {{reinterpret_cast<std::uint64_t>(bytes_.data()), bytes_.size(), 0, page_}};
  send(socket.get(), uffd::map_message(map), {uffd_.get()});
  receive(socket.get(), address_, uffd::Type::ready);
}

void RemoteMemory::watch() {
  for (;;) {
    int socket;
    {
      std::lock_guard lock(mutex_);
      socket = socket_.get();
    }
    // Only the end of the stream is waited for: answers belong to who asked.
    if (wait_for(socket, POLLRDHUP, watcher_->stop()) == Wait::stopped) return;
    if (options_.on_change) options_.on_change(false);
    reconnect();
    if (watcher_->stop().requested()) return;
    if (options_.on_change) options_.on_change(true);
  }
}

void RemoteMemory::reconnect() {
  do {
    try {
      Fd socket = connect();
      send(socket.get(), uffd::hello_message());
      const auto info = uffd::parse_region_info(receive(socket.get(), address_, uffd::Type::region).payload);
      if (info.size != size_ || (options_.writable && !info.writable)) continue;
      hand_over(socket, true);
      std::lock_guard lock(mutex_);
      socket_ = std::move(socket);
      return;
    } catch (const std::exception&) {
      // Not there yet, or not willing to adopt.
    }
  } while (!watcher_->stop().wait_for(kTryAgain));
}

std::uint64_t RemoteMemory::push_once() {
  std::lock_guard lock(mutex_);
  send(socket_.get(), uffd::push_message());
  const auto answer = receive(socket_.get(), address_, uffd::Type::pushed);
  if (answer.header.error > 0) fail(static_cast<int>(answer.header.error), address_ + ": push");
  return uffd::parse_number(answer.payload);
}

std::uint64_t RemoteMemory::push() {
  do {
    try {
      return push_once();
    } catch (const std::system_error& error) {
      // The server died; the kernel knows what was written, and tells the next one.
      if (error.code().value() != EPIPE && error.code().value() != ECONNRESET) throw;
    }
  } while (!watcher_->stop().wait_for(kTryAgain));
  fail(ESHUTDOWN, address_ + ": push");
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/uffd.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "libcommon/base/error.hpp"

namespace r3 {

using uffd_kernel::kEvents;

std::uint64_t Uffd::features() const try {
  const std::string info = read_small_file("/proc/self/fdinfo/" + std::to_string(fd()));
  const auto line = info.find("\nAPI:\t");
  if (line == info.npos) return 0;
  const auto field = info.find(':', line + 6);
  if (field == info.npos) return 0;
  const auto found = std::strtoull(info.c_str() + field + 1, nullptr, 16);
  return (found & uffd_kernel::kInitialized) != 0 ? found : 0;
} catch (const std::system_error&) {
  return 0;
}

// `request(address, length)` returns the bytes that are in place, or a negative errno.
template <class Request>
Uffd::Filled Uffd::fill(std::uint64_t address, std::uint64_t length, std::uint64_t page, Request request) {
  using End = Filled::End;
  std::uint64_t done = 0;
  while (done < length) {
    const std::int64_t result = request(address + done, length - done);
    if (result > 0) {
      done += static_cast<std::uint64_t>(result);
      continue;
    }
    switch (-result) {
      case EEXIST:  // the page came by another way, which may not have woken who waits for it
        wake(address + done, page);
        done += page;
        break;
      case EAGAIN: return {End::changing, done};
      case ENOENT: return {End::no_memory_there, done};
      case ESRCH: return {End::gone, done};
      case EINVAL:
      case ENOTTY:
      case EOPNOTSUPP: return {End::refused, done};
      case EINTR: break;
      default: fail(static_cast<int>(-result), "userfaultfd: fill");
    }
  }
  return {End::all, done};
}

namespace {

// What one of the ioctls says: the bytes it did, even if it then failed; or its error.
std::int64_t outcome(int result, std::int64_t done) {
  if (done > 0) return done;
  if (result == 0) return -EIO;
  return done < 0 ? done : -errno;
}

}  // namespace

Uffd::Filled Uffd::copy(std::uint64_t address, ConstBytes data, std::uint64_t page, bool protect) {
  const std::uint64_t mode = protect ? UFFDIO_COPY_MODE_WP : 0;
  return fill(address, data.size(), page, [&](std::uint64_t at, std::uint64_t length) {
    const auto source = reinterpret_cast<std::uint64_t>(data.data()) + (at - address);
    uffdio_copy request{at, source, length, mode, 0};
    const int result = ::ioctl(fd(), UFFDIO_COPY, &request);
    return outcome(result, request.copy);
  });
}

Uffd::Filled Uffd::zero(std::uint64_t address, std::uint64_t length, std::uint64_t page) {
  return fill(address, length, page, [&](std::uint64_t at, std::uint64_t left) {
    uffdio_zeropage request{{at, left}, 0, 0};
    const int result = ::ioctl(fd(), UFFDIO_ZEROPAGE, &request);
    return outcome(result, request.zeropage);
  });
}

Uffd::Filled Uffd::poison(std::uint64_t address, std::uint64_t length, std::uint64_t page) {
  return fill(address, length, page, [&](std::uint64_t at, std::uint64_t left) {
    uffd_kernel::Poison request{{at, left}, 0, 0};
    const int result = ::ioctl(fd(), R3_UFFDIO_POISON, &request);
    return outcome(result, request.updated);
  });
}

Uffd::Filled Uffd::resume(std::uint64_t address, std::uint64_t length, std::uint64_t page) {
  return fill(address, length, page, [&](std::uint64_t at, std::uint64_t left) {
    uffdio_continue request{{at, left}, 0, 0};
    const int result = ::ioctl(fd(), UFFDIO_CONTINUE, &request);
    return outcome(result, request.mapped);
  });
}

Uffd::Filled::End Uffd::protect(std::uint64_t address, std::uint64_t length, bool on) {
  uffdio_writeprotect request{{address, length}, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0u};
  while (::ioctl(fd(), UFFDIO_WRITEPROTECT, &request) < 0) {
    if (errno == EAGAIN) return Filled::End::changing;
    if (errno == ENOENT) return Filled::End::no_memory_there;
    if (errno == ESRCH) return Filled::End::gone;
    if (errno != EINTR) fail(errno, "userfaultfd: write-protect");
  }
  return Filled::End::all;
}

void Uffd::wake(std::uint64_t address, std::uint64_t length) noexcept {
  uffdio_range range{address, length};
  ::ioctl(fd(), UFFDIO_WAKE, &range);
}

std::size_t Uffd::read(std::span<uffd_msg> into) {
  for (;;) {
    const auto n = ::read(fd(), into.data(), into.size_bytes());
    if (n >= 0) return static_cast<std::size_t>(n) / sizeof(uffd_msg);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) fail(errno, "userfaultfd: read");
  }
}

bool Uffd::alive() {
  // Nothing is ever registered in the last page of the address space, so that this changes nothing.
  uffdio_zeropage request{{0x7fffffffe000, 4096}, 0, 0};
  return ::ioctl(fd(), UFFDIO_ZEROPAGE, &request) == 0 || (errno != ESRCH && request.zeropage != -ESRCH);
}

namespace {

struct Way {
  const char* name;
  bool user_mode_only;
  int (*open)();
};

int open_by_call(int flags) {
  return static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags));
}

const Way kWays[] = {
    {"/dev/userfaultfd", false,
     [] {
       const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
       return device.valid() ? ::ioctl(device.get(), R3_USERFAULTFD_NEW, O_CLOEXEC | O_NONBLOCK) : -1;
     }},
    {"userfaultfd(2)", false, [] { return open_by_call(0); }},
    {"userfaultfd(2), user-mode faults only", true, [] { return open_by_call(UFFD_USER_MODE_ONLY); }},
};

bool agree(int fd, std::uint64_t& features) {
  uffdio_api api{UFFD_API, features, 0};
  if (::ioctl(fd, UFFDIO_API, &api) < 0) return false;
  features = api.features;
  return true;
}

// One descriptor agrees once, so a first one asks what there is; fork events need a privilege, too.
bool agree_on(const Way& way, Fd& descriptor, std::uint64_t wanted, std::uint64_t& granted) {
  std::uint64_t known = 0;
  if (!agree(Fd(way.open()).get(), known)) return false;
  granted = wanted & known;
  if (agree(descriptor.get(), granted)) {
    granted &= wanted;
    return true;
  }
  granted = wanted & known & ~std::uint64_t{UFFD_FEATURE_EVENT_FORK};
  descriptor.reset(way.open());
  const bool agreed = agree(descriptor.get(), granted);
  granted &= wanted & ~std::uint64_t{UFFD_FEATURE_EVENT_FORK};
  return agreed;
}

}  // namespace

OpenedUffd open_uffd(std::uint64_t wanted) {
  std::string refusals;
  int error = ENOSYS;
  for (const Way& way : kWays) {
    OpenedUffd opened;
    opened.descriptor.reset(way.open());
    if (opened.descriptor.valid() && agree_on(way, opened.descriptor, wanted, opened.features)) {
      opened.how = way.name;
      opened.user_mode_only = way.user_mode_only;
      return opened;
    }
    error = errno;
    refusals += std::string(refusals.empty() ? "" : "; ") + way.name + ": " + std::strerror(error);
  }
  fail(error, "cannot open a userfaultfd (" + refusals + ")");
}

}  // namespace r3

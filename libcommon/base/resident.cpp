// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/resident.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

#ifndef PR_SET_IO_FLUSHER  // Linux 5.6
#define PR_SET_IO_FLUSHER 57
#endif

namespace r3 {

namespace {

constexpr std::size_t kStack = 256 * KiB;  // locked as a whole, for each thread
constexpr const char* kScore = "/proc/self/oom_score_adj";
constexpr const char* kNeverKilled = "-1000";

// How it was, for who leaves; both only change in become_resident().
char score_before[16];
bool flusher_set = false;

bool write_score(const char* text) noexcept {
  const int file = ::open(kScore, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const auto length = static_cast<ssize_t>(std::strlen(text));
  const bool written = ::write(file, text, static_cast<std::size_t>(length)) == length;
  ::close(file);
  return written;
}

bool never_be_killed() {
  const std::string before = read_small_file(kScore);
  before.copy(score_before, sizeof score_before - 1);
  return write_score(kNeverKilled);
}

// Touched once, the heap stays: it is locked, and nothing of it is given back.
void fill_heap(std::uint64_t reserve) {
  void* const room = std::malloc(reserve);
  if (room == nullptr) fail(ENOMEM, "memory to be kept ready");
  std::memset(room, 1, reserve);
  asm volatile("" : : "r"(room) : "memory");  // not to be optimised away
  std::free(room);
}

std::string line(int error, const char* what) {
  return std::string(what) + ": " + std::strerror(error);
}

}  // namespace

void plan_to_be_resident() noexcept {
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStack);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

std::vector<std::string> become_resident(std::uint64_t reserve) {
  std::vector<std::string> refused;
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    refused.push_back(line(errno, "mlockall: this process can be paged out itself"));
  fill_heap(reserve);
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0)
    flusher_set = true;
  else
    refused.push_back(line(errno, "PR_SET_IO_FLUSHER: this process may have to wait for its own paging"));
  if (!never_be_killed())
    refused.push_back(line(errno, "oom_score_adj: this process may be killed when memory runs out"));
  return refused;
}

void be_ordinary_again() noexcept {
  if (flusher_set) ::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
  if (score_before[0] != '\0') write_score(score_before);
}

}  // namespace r3

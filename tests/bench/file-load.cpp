// SPDX-License-Identifier: Apache-2.0
// file-load: how fast is a mounted file? Threads that each keep one pread or pwrite under way. Prints
// one line of JSON: operations and MiB a second, the middle latency, its own CPU time an operation and,
// with --pid, that of the process that serves the file.
//
//   file-load /tmp/disk --block 4K --depth 16 --time 1s --pid 1234
//   file-load /tmp/disk --cold --block 1M            the whole file once, the page cache emptied before
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <random>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"

namespace {

using namespace r3;
using Clock = std::chrono::steady_clock;

constexpr About kAbout{"file-load", "put a load on a file and time it",
                       "  file-load /tmp/disk --block 4K --depth 16 --time 1s\n"};

struct Options {
  std::string path;
  bool write = false;
  bool sequential = false;
  bool cached = false;
  bool cold = false;
  std::uint64_t block = 4096;
  unsigned depth = 1;
  std::chrono::milliseconds time{1000};
  clockid_t server = 0;  // of the process to be watched
};

double cpu_of(clockid_t clock) {
  timespec used{};
  check(::clock_gettime(clock, &used), "CPU time");
  return double(used.tv_sec) + double(used.tv_nsec) * 1e-9;
}

class Load {
 public:
  explicit Load(const Options& options) : options_(options) {
    const Fd file = open_file(options_.path, O_RDONLY);
    struct stat status{};
    check(::fstat(file.get(), &status), options_.path);
    blocks_ = static_cast<std::uint64_t>(status.st_size) / options_.block;
    if (blocks_ == 0) throw std::invalid_argument("--block is larger than the file");
    if (options_.cold) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }

  void run() {
    const double server = options_.server ? cpu_of(options_.server) : 0;
    const double own = cpu_of(CLOCK_PROCESS_CPUTIME_ID);
    begun_ = Clock::now();
    {
      TaskGroup threads;
      for (unsigned i = 0; i < options_.depth; ++i) threads.spawn([this, i] { work(i); });
      threads.join();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
    report(seconds, options_.server ? cpu_of(options_.server) - server : 0,
           cpu_of(CLOCK_PROCESS_CPUTIME_ID) - own);
  }

 private:
  bool over(std::uint64_t done) const {
    return options_.cold ? done >= blocks_ / options_.depth : Clock::now() - begun_ >= options_.time;
  }

  void work(unsigned number) {
    const int direct = options_.cached || options_.cold ? 0 : O_DIRECT;
    const Fd file = open_file(options_.path, (options_.write ? O_WRONLY : O_RDONLY) | direct);
    Mapping buffer = Mapping::anonymous(options_.block);
    std::fill(buffer.bytes().begin(), buffer.bytes().end(), std::byte{'r'});
    std::mt19937_64 random(number);
    std::vector<std::uint32_t> latencies;
    std::uint64_t done = 0, next = blocks_ / options_.depth * number;
    for (; !over(done); ++done) {
      const std::uint64_t block = options_.sequential || options_.cold ? next++ : random();
      const auto before = Clock::now();
      transfer(file.get(), buffer.bytes(), block % blocks_ * options_.block);
      latencies.push_back(static_cast<std::uint32_t>((Clock::now() - before).count()));
    }
    const std::lock_guard lock(mutex_);
    latencies_.insert(latencies_.end(), latencies.begin(), latencies.end());
  }

  void transfer(int file, Bytes buffer, std::uint64_t offset) {
    if (options_.write)
      pwrite_full(file, buffer, offset, options_.path);
    else if (pread_full(file, buffer, offset, options_.path) != buffer.size())
      fail(EIO, options_.path + ": short read");
  }

  void report(double seconds, double server, double own) {
    const double done = static_cast<double>(latencies_.size());
    const auto middle = latencies_.begin() + static_cast<long>(latencies_.size() / 2);
    std::nth_element(latencies_.begin(), middle, latencies_.end());
    std::printf("{\"ops\":%.0f,\"mib\":%.1f,\"p50_us\":%.1f,\"own_cpu_us\":%.2f,"
                "\"server_cpu_us\":%.2f}\n",
                done / seconds, done * double(options_.block) / seconds / double(MiB),
                *middle / 1e3, own / done * 1e6, server / done * 1e6);
  }

  const Options& options_;
  std::uint64_t blocks_ = 0;
  Clock::time_point begun_;
  std::mutex mutex_;
  std::vector<std::uint32_t> latencies_;  // ns; guarded by mutex_
};

void declare(Tool& tool, Options& options) {
  OptionSet& set = tool.options();
  set.argument("PATH", options.path, "The file");
  set.flag("--write", options.write, "Write; without it, read");
  set.flag("--sequential", options.sequential, "In order; without it, at random");
  set.flag("--cached", options.cached, "Through the page cache; without it, O_DIRECT");
  set.flag("--cold", options.cold, "The whole file once, in order, through an empty page cache");
  set.size("--block", options.block, "Bytes of an operation (4096)");
  set.number("--depth", options.depth, 1, 256, "Threads, of one operation each");
  set.duration("--time", options.time, "How long (1s)");
  set.parsed("--pid", "N", "The process that serves it, for its CPU time",
             [&options](const std::string& text) {
               const auto pid = static_cast<pid_t>(parse_number(text, INT32_MAX));
               if (::clock_getcpuclockid(pid, &options.server) != 0)
                 throw std::invalid_argument("no such process");
             });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(
      argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
      [&](Tool&) {
        Load(options).run();
        return kDone;
      });
}

// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/left.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/device/driver.hpp"
#include "tools/ram-dl/options.hpp"
#include "tools/ram-dl/swaps.hpp"

namespace r3 {

namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kPause{500};
constexpr std::uint64_t kSector = 512;

// What became of the pages.
class Nothing : public Backend {
 public:
  explicit Nothing(std::uint64_t size) : size_(size) {}
  std::uint64_t size() const override { return size_; }
  void read_at(Bytes, std::uint64_t) override { fail(EIO, "what was here is lost"); }
  void write_at(ConstBytes, std::uint64_t) override { fail(EIO, "nobody keeps this"); }
  void flush() override {}

 private:
  const std::uint64_t size_;
};

std::uint64_t size_of(const std::string& path) {
  std::string text = read_small_file("/sys/block/" + std::filesystem::path(path).filename().string() + "/size");
  text.erase(std::min(text.find('\n'), text.size()));
  return parse_number(text, UINT64_MAX / kSector) * kSector;
}

// Even pages that are lost count for their control groups when swapoff comes upon them.
int swap_off(const std::string& path, SwapUsher& usher, const Stop& stop) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    usher.begin_swap_off(path);
    const int error = usher.swap_off_result(kPatience).value_or(ETIMEDOUT);
    if (!for_want_of_memory(error) || std::chrono::steady_clock::now() > end || stop.wait_for(kPause)) return error;
  }
}

void end_swap(const SwapUse& swap, SwapUsher& usher, const Stop& stop) {
  if (const int error = swap_off(swap.path, usher, stop); error != 0)
    leave_as_killed("swapoff " + swap.path + ": " + std::strerror(error));
  log_warning(swap.path + ": was left by a killed process, and is ended; " + format_size(swap.used) +
              " of programs' memory were lost with it");
}

}  // namespace

void leave_as_killed(const std::string& why) {
  log_error(why);
  ::_exit(kFailed);
}

// A device without its process lets everybody wait, swapoff too, and one that was stopped cannot even be named to
// swapoff any more: so it is taken over, and answers with errors until it is no longer swap.
void clean(Record& record, SwapUsher& usher, const Stop& stop) {
  const auto swap = find_swap(read_swaps(), record.device());
  if (!swap) return;
  Nothing nothing(size_of(swap->path));
  DeviceOptions how;
  how.identity = identity_of(record.region());
  const bool ublk = swap->path.starts_with("/dev/ublk");
  const std::unique_ptr<Device> device = attach_device(ublk ? "ublk" : "nbd", nothing, how);
  end_swap(*swap, usher, stop);
}

unsigned clean_all(SwapUsher& usher, const Stop& stop) {
  auto left = Record::left_behind();
  for (Record& record : left) {
    clean(record, usher, stop);
    record.remove();
  }
  return static_cast<unsigned>(left.size());
}

}  // namespace r3

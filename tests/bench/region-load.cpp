// SPDX-License-Identifier: Apache-2.0
// Load on a region, whatever it is: DEPTH threads read or write blocks one after the other, each its share of the
// region. Prints one line of JSON; CPU times are of this process and of the helper that serves the region.
//
//   region-load REGION read|write BLOCK DEPTH SECONDS
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

double cpu_seconds(int who) {
  rusage used{};
  ::getrusage(who, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

// How many blocks were done, and in which time.
std::pair<std::uint64_t, double> put_load_on(Backend& region, bool writes, std::uint64_t block, unsigned depth,
                                             Clock::duration time) {
  std::atomic<std::uint64_t> done{0};
  const auto begun = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < depth; ++t)
      threads.emplace_back([&, t] {
        std::vector<std::byte> bytes(block);
        std::mt19937_64 random(t);
        for (auto& b : bytes) b = static_cast<std::byte>(random());
        const auto blocks = region.size() / block;
        for (auto i = std::uint64_t{t}; Clock::now() - begun < time; i = (i + depth) % blocks, ++done)
          if (writes) region.write_at(bytes, i * block);
          else region.read_at(bytes, i * block);
      });
  }
  return {done.load(), std::chrono::duration<double>(Clock::now() - begun).count()};
}

int run_load(const std::vector<std::string>& args) {
  const auto block = parse_size(args[2]);
  const std::chrono::duration<double> seconds(std::stod(args[4]));
  RegionOptions options;
  options.read_only = args[1] == "read";
  auto region = open_region(parse_region(args[0]), options);
  const double before = cpu_seconds(RUSAGE_SELF);
  const auto [done, took] = put_load_on(*region, args[1] == "write", block, static_cast<unsigned>(std::stoul(args[3])),
                                        std::chrono::duration_cast<Clock::duration>(seconds));
  const double own = cpu_seconds(RUSAGE_SELF) - before;
  region.reset();  // the helper has ended
  const auto count = static_cast<double>(done);
  Json line;
  line.add("ops", count / took).add("mb", count * static_cast<double>(block) / took / 1e6)
      .add("cpu_us", (own + cpu_seconds(RUSAGE_CHILDREN)) / count * 1e6);
  std::puts(line.text().c_str());
  return 0;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("region-load: REGION read|write BLOCK DEPTH SECONDS\n", stderr);
    return 2;
  }
  try {
    return r3::run_load({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "region-load: %s\n", error.what());
    return 1;
  }
}

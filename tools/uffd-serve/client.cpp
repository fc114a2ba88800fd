// SPDX-License-Identifier: Apache-2.0
#include "tools/uffd-serve/client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPiece = MiB;
constexpr std::size_t kPage = 4096;

// A touch that fails raises SIGBUS in the thread that touches: it jumps back to where it began.
thread_local sigjmp_buf before_touch;

void on_bus_error(int, siginfo_t*, void*) {
  ::siglongjmp(before_touch, 1);
}

void catch_bus_errors() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  check(::sigaction(SIGBUS, &action, nullptr), "sigaction");
}

// Copies, or only touches when `into` is null; false if a page cannot be had.
bool copy_guarded(std::byte* into, const std::byte* from, std::size_t length) {
  if (::sigsetjmp(before_touch, 0) != 0) return false;  // a signal mask would cost a system call
  if (into != nullptr) {
    std::memcpy(into, from, length);
  } else {
    [[maybe_unused]] const auto byte = *static_cast<const volatile std::byte*>(from);
  }
  return true;
}

class Reading {
 public:
  Reading(Tool& tool, RemoteMemory& memory, const std::string& address)
      : tool_(tool), memory_(memory), address_(address) {
    // Who waits for a page cannot wait for the stop as well.
    watcher_.spawn([this] {
      wait_for(tool_.stop().fd(), POLLIN, watcher_.stop());
      if (tool_.stop().requested()) memory_.abandon();
    });
  }

  // False when the tool is to stop; throws when a page cannot be had. Page by page, for memcpy() begins
  // where it likes.
  bool get(std::byte* into, std::size_t offset, std::size_t length) {
    for (std::size_t done = 0; done < length; done += kPage) {
      const bool copied = copy_guarded(into ? into + done : nullptr, &memory_.bytes()[offset + done],
                                       std::min(kPage, length - done));
      if (tool_.stop().requested()) return false;
      if (!copied) fail(EIO, address_ + ": byte " + std::to_string(offset + done));
    }
    return true;
  }

 private:
  Tool& tool_;
  RemoteMemory& memory_;
  const std::string& address_;
  TaskGroup watcher_;
};

int stopped(Tool& tool) {
  return tool.stop_signal() > 0 ? 128 + tool.stop_signal() : kDone;
}

// A file is only truncated once there is something to write.
Fd open_output(const ClientOptions& options) {
  if (options.output == "-") return duplicate(STDOUT_FILENO);
  Fd file = open_file(options.output, O_WRONLY | O_CREAT);
  struct stat about{};
  check(::fstat(file.get(), &about), options.output);
  if (!S_ISREG(about.st_mode)) return file;
  if (about.st_size > 0 && !options.force) fail(EEXIST, options.output + ": is not empty (--force overwrites it)");
  check(::ftruncate(file.get(), 0), options.output);
  return file;
}

int copy_out(Tool& tool, const ClientOptions& options, RemoteMemory& memory) {
  const Fd output = open_output(options);
  Reading reading(tool, memory, options.address);
  std::vector<std::byte> piece(kPiece);
  const auto size = memory.bytes().size();
  for (std::size_t at = 0; at < size; at += kPiece) {
    const auto length = std::min(kPiece, size - at);
    if (!reading.get(piece.data(), at, length)) return stopped(tool);
    write_full(output.get(), std::span(piece).first(length), options.output == "-" ? "stdout" : options.output);
  }
  return kDone;
}

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

void report(Tool& tool, const ClientOptions& options, std::vector<double>& each, double all, std::uint64_t size) {
  std::sort(each.begin(), each.end());
  const auto at = [&](double part) { return each[static_cast<std::size_t>(part * static_cast<double>(each.size() - 1))]; };
  const Json json = Json().add("event", "touched").add("order", options.touch).add("pages", each.size())
                        .add("seconds", all / 1e6).add("bytes_per_second", static_cast<double>(size) / all * 1e6)
                        .add("p50_us", at(0.5)).add("p99_us", at(0.99)).add("max_us", at(1));
  if (tool.json()) return tool.print(json.text());
  char line[160];
  std::snprintf(line, sizeof line, "%zu pages in %.3f s: %.1f MB/s; a page: p50 %.1f us, p99 %.1f us, max %.1f us",
                each.size(), all / 1e6, static_cast<double>(size) / all, at(0.5), at(0.99), at(1));
  tool.print(line);
}

int touch(Tool& tool, const ClientOptions& options, RemoteMemory& memory) {
  Reading reading(tool, memory, options.address);
  const auto size = memory.bytes().size();
  std::vector<std::size_t> order((size + kPage - 1) / kPage);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (options.touch == "random") std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  std::vector<double> each(options.bench ? order.size() : 0);
  const auto begun = Clock::now();
  auto last = begun;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (!reading.get(nullptr, order[i] * kPage, 1)) return stopped(tool);
    if (!options.bench) continue;
    const auto now = Clock::now();
    each[i] = microseconds(now - last);
    last = now;
  }
  if (options.bench) report(tool, options, each, microseconds(last - begun), size);
  return kDone;
}

// The bytes that are there already are left alone: only what differs is written, as a program would.
int write_in(Tool& tool, const ClientOptions& options, RemoteMemory& memory) {
  const Fd input = options.input == "-" ? duplicate(STDIN_FILENO) : open_file(options.input, O_RDONLY);
  Reading reading(tool, memory, options.address);
  std::vector<std::byte> piece(kPiece), there(kPiece);
  const auto size = memory.bytes().size();
  for (std::size_t at = 0; at <= size; at += kPiece) {
    const auto length = read_full(input.get(), piece, options.input);
    if (length == 0) break;
    if (length > size - at) fail(EFBIG, options.input + ": the region has " + std::to_string(size) + " bytes");
    if (!reading.get(there.data(), at, length)) return stopped(tool);
    for (std::size_t page = 0; page < length; page += kPage) {
      const auto count = std::min(kPage, length - page);
      if (std::memcmp(&piece[page], &there[page], count) != 0)
        std::memcpy(&memory.bytes()[at + page], &piece[page], count);
    }
  }
  const auto pushed = memory.push();
  tool.events().send(Json().add("event", "pushed").add("size", pushed));
  return kDone;
}

}  // namespace

int run_client(Tool& tool, const ClientOptions& options) {
  catch_bus_errors();
  RemoteMemory::Options how;
  how.kind = options.kind;
  how.writable = !options.input.empty();
  how.on_change = [&](bool connected) {
    tool.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
    log_warning(options.address + (connected ? ": a server has taken over" :
                                   ": the server has gone; waiting for one that takes over (uffd-serve --adopt)"));
  };
  RemoteMemory memory(options.address, std::move(how));
  log_debug("userfaultfd by " + memory.access());
  tool.events().send(Json().add("event", "mapped").add("size", memory.bytes().size()).add("access", memory.access()));
  tool.ready();
  if (!options.input.empty()) return write_in(tool, options, memory);
  return options.touch.empty() ? copy_out(tool, options, memory) : touch(tool, options, memory);
}

}  // namespace r3

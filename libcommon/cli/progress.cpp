// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr std::size_t kWidestBar = 30;

std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

std::string format_time(double seconds) {
  if (seconds >= 100 * 3600.0) return "-:--";
  const auto whole = static_cast<unsigned>(seconds + 0.5);
  char text[32];
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%u:%02u:%02u", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%u:%02u", whole / 60, whole % 60);
  return text;
}

double share_of(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return 1;
  return std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
}

}  // namespace

std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total,
                          double seconds, std::size_t width) {
  const double share = share_of(done, total);
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(total - std::min(done, total)) / rate : 1e9;
  char percent[16];
  std::snprintf(percent, sizeof percent, "%3.0f%%", 100 * share);
  const std::string figures = std::string(percent) + "  " + format_size(done) + "  " +
                              format_size(static_cast<std::uint64_t>(rate)) + "/s  " +
                              format_time(left);
  std::string line = std::string(label) + " ";
  const std::size_t taken = line.size() + figures.size() + 4;
  if (taken + 5 <= width) {
    const std::size_t bar = std::min(kWidestBar, width - taken);
    const auto full = static_cast<std::size_t>(share * static_cast<double>(bar));
    line += "[" + std::string(full, '#') + std::string(bar - full, '.') + "] ";
  }
  return (line + figures).substr(0, width);
}

Progress::Progress(std::string label, std::uint64_t total, Events& events)
    : label_(std::move(label)),
      total_(total),
      events_(events),
      on_terminal_(::isatty(STDERR_FILENO) == 1 && verbosity() > Verbosity::quiet) {}

Progress::~Progress() {
  try {
    std::lock_guard lock(mutex_);
    if (told_ != done_) show(done_);
    constexpr std::string_view clear = "\r\x1b[K";
    if (on_terminal_)
      [[maybe_unused]] const auto n = ::write(STDERR_FILENO, clear.data(), clear.size());
  } catch (...) {
    // Out of memory: the transfer's result does not depend on the bar.
  }
}

void Progress::update(std::uint64_t done) noexcept {
  try {
    std::lock_guard lock(mutex_);
    done_ = done;
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + kInterval;
    show(done);
  } catch (...) {
    // As above.
  }
}

void Progress::show(std::uint64_t done) {
  told_ = done;
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  events_.send(Json().add("event", "progress").add("done", done).add("total", total_).add(
      "seconds", seconds));
  if (!on_terminal_) return;
  const std::string line =
      "\r" + progress_line(label_, done, total_, seconds, terminal_width() - 1) + "\x1b[K";
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace r3

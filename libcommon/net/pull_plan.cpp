// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/pull_plan.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/whole_file.hpp"
#include "libcommon/net/socket.hpp"
#include "libcommon/storage/pull_hints.hpp"
#include "libcommon/storage/pull_list.hpp"

namespace r3 {

namespace {

constexpr std::string_view kExec = "exec:";

const NamedHint* find_hint(std::string_view name) {
  for (const NamedHint& one : all_hints())
    if (one.name == name) return &one;
  return nullptr;
}

bool is_list(const std::string& order) {
  return !wants_hints(order) && order != "sequential" && order != "reverse";
}

std::string read_output(const Channel& channel, const std::string& name, const Stop& stop) {
  std::string text;
  std::array<std::byte, 64 * KiB> buffer;
  for (;;) {
    if (wait_for(channel.input(), POLLIN, stop) == Wait::stopped) fail(ECANCELED, name);
    const auto count = ::read(channel.input(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (check(count, name) == 0) return text;
    text += as_text(ConstBytes(buffer).first(static_cast<std::size_t>(count)));
    if (text.size() > kMostListBytes) throw std::invalid_argument(name + ": prints without end");
  }
}

PullList ask_command(const std::string& order, std::uint64_t size, const Stop& stop) {
  const std::string command = order.substr(kExec.size());
  const Channel channel =
      start_command("R3_SIZE=" + std::to_string(size) + "; export R3_SIZE; " + command);
  const std::string text = read_output(channel, order, stop);
  // Nothing: it goes on after its last line, which is its own affair.
  if (const std::string why = channel.why_ended(); !why.empty() && !why.ends_with(" status 0"))
    throw std::invalid_argument(order + ": " + why);
  return parse_pull_list(text, order, size);
}

void append(std::vector<PullRange>& ranges, const PullList& list, const std::string& name) {
  if (list.outside > 0)
    log_warning(name + ": " + std::to_string(list.outside) +
                " ranges reach past the region's end: what is past it is left out");
  ranges.insert(ranges.end(), list.ranges.begin(), list.ranges.end());
}

PullRest rest_of(const PullPlanOptions& options) {
  if (!options.rest) return PullRest::nothing;
  return options.order == "reverse" ? PullRest::reverse : PullRest::sequential;
}

}  // namespace

bool wants_hints(const std::string& order) { return order == "auto" || find_hint(order) != nullptr; }

std::string_view find_hints(const std::string& order, Backend& region, const Stop& stop,
                            const std::function<void(PullRange)>& want) {
  HintView view(region, stop, want);
  for (const NamedHint& one : all_hints())
    if ((order == "auto" || order == one.name) && one.hint(view)) return one.name;
  return {};
}

std::vector<PullRange> named_ranges(const PullPlanOptions& options, std::uint64_t size, const Stop& stop) {
  std::vector<PullRange> ranges;
  if (!options.replay.empty()) append(ranges, read_pull_list(options.replay, size), options.replay);
  ranges.insert(ranges.end(), options.named.begin(), options.named.end());
  check_pull_order(options.order);
  if (options.order.starts_with(kExec))
    append(ranges, ask_command(options.order, size, stop), options.order);
  else if (is_list(options.order))
    append(ranges, read_pull_list(options.order, size), options.order);
  return ranges;
}

void check_pull_order(const std::string& order) {
  if (!is_list(order) || order.starts_with(kExec)) return;
  if (order.find('/') != order.npos || ::access(order.c_str(), F_OK) == 0) return;
  std::string words = "auto, sequential, reverse";
  for (const NamedHint& one : all_hints()) words += ", " + std::string(one.name);
  throw std::invalid_argument("\"" + order + "\" is no order: " + words +
                              ", a file or exec:COMMAND is accepted");
}

PullPlan::PullPlan(const PullPlanOptions& options, std::uint64_t region_size, const Stop& stop)
    : options_(options),
      hints_(r3::wants_hints(options.order)),
      read_ahead_(region_size, options.read_ahead),
      order_(region_size, named_ranges(options, region_size, stop), rest_of(options)) {
  if (options.record.empty()) return;
  check_whole_file(options.record);
  recording_ = std::make_unique<PullRecording>(region_size);
}

std::optional<PullRange> PullPlan::next(std::uint64_t most) {
  if (auto range = read_ahead_.next(most)) return range;
  return order_.next(most);
}

bool PullPlan::demanded(std::uint64_t offset, std::uint64_t length, bool missed) {
  // It may have named something before it read this.
  if (std::this_thread::get_id() == hint_thread_.load(std::memory_order_relaxed)) return true;
  if (recording_) recording_->touched(offset, length);
  return read_ahead_.demanded(offset, length, missed);
}

std::string_view PullPlan::follow_hints(Backend& region, const Stop& stop) {
  hint_thread_ = std::this_thread::get_id();
  const auto found = find_hints(options_.order, region, stop, [this](PullRange range) { order_.append(range); });
  std::byte byte;
  if (!found.empty()) region.read_at({&byte, 1}, 0);  // tells the puller that there is something to do
  return found;
}

void PullPlan::save_recording() const {
  if (recording_) recording_->save(options_.record);
}

}  // namespace r3

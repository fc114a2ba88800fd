// SPDX-License-Identifier: Apache-2.0
// --pull-order, --replay and --record of the tools that pull a region (r3tools(7), PULL ORDER), made into
// one source for a puller: read-ahead, then the replayed recording, then the named order or what the
// content hints at, then the rest. Knows the words and files that users give, not how anything is pulled.
//
//   auto             what the region's content hints at, then from the start to the end
//   NAME             one of all_hints() (ext4, sqlite, ...), then likewise
//   sequential       from the start to the end
//   reverse          from the end to the start
//   FILE             a list (pull_list.hpp), then from the start to the end
//   exec:COMMAND     the list that sh's COMMAND prints; R3_SIZE is the region's size there
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/pull_order.hpp"
#include "libcommon/storage/pull_recording.hpp"
#include "libcommon/storage/read_ahead.hpp"

namespace r3 {

struct PullPlanOptions {
  std::string order = "auto";
  std::string replay = {};  // a file; empty: none
  std::string record = {};  // likewise
  std::uint64_t read_ahead = 8 * MiB;  // at most, a stream
  std::vector<PullRange> named = {};   // by the caller, after the replayed and before the ordered
  bool rest = true;  // or nothing but what was named, hinted at or foreseen
};

class PullPlan : public PullSource {
 public:
  // Reads the files, and waits for the command (as long as `stop` lets it). Throws std::invalid_argument
  // for a bad line, an order that is no such thing, or a command that fails; std::system_error for a file
  // that cannot be read, or in whose place no recording can be put.
  PullPlan(const PullPlanOptions& options, std::uint64_t region_size, const Stop& stop);

  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t offset, std::uint64_t length, bool missed) override;

  // Whether hints are wanted: then somebody is to call follow_hints(), beside the puller, for it reads the
  // region and waits for it.
  bool wants_hints() const { return hints_; }
  // Returns the hint's name, or nothing if the content is of no known kind. Ends soon after the stop is
  // requested. Throws what the region says. What the calling thread reads of the region is not counted
  // as the application's, so the region may be the managed mount itself.
  std::string_view follow_hints(Backend& region, const Stop& stop);

  // Puts the recording in its place, if one is wanted.
  void save_recording() const;

 private:
  const PullPlanOptions options_;
  const bool hints_;
  std::atomic<std::thread::id> hint_thread_{};
  ReadAhead read_ahead_;
  PullOrder order_;
  std::unique_ptr<PullRecording> recording_;  // if wanted
};

// The parts of a plan, for who pulls one region in several ways at the same time.
//
// What the replayed recording and the order name, in this order; throws as PullPlan does.
std::vector<PullRange> named_ranges(const PullPlanOptions& options, std::uint64_t region_size, const Stop& stop);
// Whether the order is one that looks at the region's content; then this does, as PullPlan::follow_hints().
bool wants_hints(const std::string& order);
std::string_view find_hints(const std::string& order, Backend& region, const Stop& stop,
                            const std::function<void(PullRange)>& want);

// Throws std::invalid_argument, as a check of usage, unless a file or one of the words above is meant.
void check_pull_order(const std::string& order);

}  // namespace r3

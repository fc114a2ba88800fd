// SPDX-License-Identifier: Apache-2.0
// A source and one destination: compares by hashes once, then goes round after round over the files and sends
// what changed, an epoch at a time. Knows files and the conversation, not how the connection came about.
#pragma once

#include <functional>
#include <list>

#include "libcommon/base/stop.hpp"
#include "tools/mmap-hashsync/pusher.hpp"
#include "tools/mmap-hashsync/report.hpp"
#include "tools/mmap-hashsync/source_file.hpp"

namespace r3::sync {

struct SendOptions {
  bool once = false;
  bool dry_run = false;
  bool verify = false;
  unsigned settle = 0;       // looks in a row that find nothing, before an epoch ends
  Detect detect = Detect::automatic;
  pid_t writer = 0;          // whose page map
  std::uint32_t chunk = kLeastChunk;
  std::chrono::milliseconds interval{0};
  unsigned most_cpu = 0;
  unsigned threads = 1;
  std::function<void()> before;  // each round: throws if the files are not to be read now
  std::function<void()> after;   // each round in which before() was called, whatever happened between
  std::function<void(std::uint64_t epoch, std::uint64_t chunks)> on_epoch;
};

class SendSession {
 public:
  // `input`: the descriptor that becomes readable when the destination hangs up. `looks`: those of all
  // sessions with this hasher's secret; null: it looks for itself. Borrowed, like the rest.
  SendSession(Link& link, int input, const Hasher& hasher, const std::vector<SourceSpec>& files,
              const SendOptions& options, Report& report, SharedLooks* looks = nullptr);

  ~SendSession() { thaw(); }
  SendSession(const SendSession&) = delete;
  SendSession& operator=(const SendSession&) = delete;

  // Until the stop is requested, or once. The round under way is finished, and the destination told.
  void run(const Stop& stop);

 private:
  struct Item {
    SourceFile file;
    std::vector<Run> differing;
  };
  void freeze();
  void thaw() noexcept;
  void compare();
  void first_round();
  bool round();
  std::uint64_t look();
  std::vector<Run> find_changes(Item& item);
  bool looks_now() const;
  bool look_until_settled();
  void commit();
  bool verify();
  void dry_run();
  bool wait(const Stop& stop, std::chrono::milliseconds time);

  Link& link_;
  const int input_;
  const Scan scan_;
  Pusher pusher_;
  const SendOptions& options_;
  Report& report_;
  SharedLooks* const looks_;
  std::list<Item> items_;
  bool frozen_ = false;  // options_.before was called, and options_.after not yet
  bool pending_ = true;  // something was announced or sent, and not committed
};

}  // namespace r3::sync

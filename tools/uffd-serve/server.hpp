// SPDX-License-Identifier: Apache-2.0
// The page server: one region, and a session for each process that handed memory over (and for each
// child that such a process forked). Sessions share nothing but the region; what one client says or
// does ends at most its own.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/pager.hpp"
#include "libcommon/device/write_tracker.hpp"
#include "libcommon/net/pull_plan.hpp"
#include "libcommon/net/socket.hpp"
#include "tools/uffd-serve/intake.hpp"

namespace r3 {

struct PageServerOptions {
  IntakeOptions intake;
  std::uint64_t chunk = 4 * KiB;
  std::uint64_t most = 2 * MiB;
  unsigned threads = 8;
  unsigned max_clients = 1024;
  PullPlanOptions order;  // in the background; its `rest` says whether more than it names is brought
  std::chrono::milliseconds push_interval{5000};  // 0: only on request and at the end
};

class PageServer {
 public:
  // `region` and `tool` are borrowed. Events: connected, disconnected, refused, poisoned.
  PageServer(Backend& region, PageServerOptions options, Tool& tool);

  // Reads the order's files, and waits for its command (pull_plan.hpp has the errors).
  //
  // Takes connections until the tool is to stop; returns when every session has ended.
  void run(Listener& listener);
  Json status();
  // What clients touched, if it is recorded.
  void save_recording() const;
  // Brings what all clients wrote to the region; the bytes. Throws the first error, after all were tried.
  std::uint64_t push();

 private:
  struct Session {
    std::shared_ptr<ClientMemory> memory;
    std::shared_ptr<WriteTracker> tracker;  // of a client whose writes are pushed
    PullOrder* named = nullptr;  // the part of `order` that hints are added to
    std::unique_ptr<PullSource> order;
    std::unique_ptr<Pager> pager;
    pid_t process = 0;
    bool keeps_duplicate = false;
    bool left = false;  // it said that it uses the memory no more; read when its threads have ended
  };
  using Sessions = std::list<Session>;

  void greet(const std::shared_ptr<Fd>& connection);
  std::optional<Handoff> take_in(const std::shared_ptr<Fd>& connection);
  void serve(Fd connection, Handoff handoff);
  void serve_session(Session& session, Fd& connection, int ended, const Json& who);
  void serve_child(std::unique_ptr<ClientMemory> memory, pid_t parent);
  void make_order(Session& session);  // with mutex_ held
  void follow_hints();
  Sessions::iterator open(std::shared_ptr<ClientMemory> memory, pid_t process, bool track);
  void close(Sessions::iterator session);
  void report_poisoned(pid_t process, std::uint64_t address, std::uint64_t offset, int error, bool signalled);
  void watch(Session& session, Fd& connection, Stop& session_stop, const Stop& ended);
  bool answer(Session& session, int connection);
  void push_quietly(Session& session);
  void pushed(std::uint64_t offset, std::uint64_t length);

  Backend& region_;
  const PageServerOptions options_;
  Tool& tool_;
  std::unique_ptr<PullRecording> recording_;
  const bool hints_;
  TaskGroup clients_;
  std::mutex mutex_;
  std::atomic<std::uint64_t> pushed_bytes_{0};
  Sessions sessions_;                // guarded by mutex_
  std::list<std::shared_ptr<Fd>> handing_over_;  // connections, the oldest first; guarded by mutex_
  std::condition_variable taken_in_;  // one of handing_over_ has gone
  std::vector<PullRange> first_;     // what comes first in the background; grows; guarded by mutex_
  bool closing_ = false;             // guarded by mutex_
  std::uint64_t ended_faults_ = 0;   // of sessions that have ended; guarded by mutex_
  std::uint64_t ended_bytes_ = 0;    // guarded by mutex_
};

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// A small server beside the tool's work, for the control socket and the metrics: a thread that accepts
// and one for each connection, few at a time, with deadlines, so that nobody who connects there can
// hold up the tool. Knows nothing of what is said.
#pragma once

#include <functional>
#include <mutex>
#include <set>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

class SideServer {
 public:
  using Serve = std::function<void(int socket, const Stop& stop)>;

  // `serve` runs for every connection; what it throws ends only that connection.
  SideServer(Listener listener, Serve serve);
  // Waits for the answers that are under way.
  ~SideServer();

 private:
  void accept_all();
  void serve_one(const Fd& socket) noexcept;

  Listener listener_;
  Serve serve_;
  std::mutex mutex_;
  unsigned connections_ = 0;  // guarded by mutex_
  TaskGroup tasks_;           // last: its threads use what stands above
};

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// The connections of nbd-serve: accepts them, a thread for each, up to a number; ends them in order.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

class Service {
 public:
  // Borrows both. The stop ends everything: no connection is accepted any more, and those that are
  // there finish what they have received.
  Service(NbdServer& server, Stop& stop, unsigned most_connections)
      : server_(server), stop_(stop), most_(most_connections) {}

  // Serves whoever connects. The listener lives until the service ends.
  void listen(Listener& listener);
  // Serves one connection that is there already; its end requests the stop.
  void serve_only(Channel channel);

  // After the stop: waits for the connections to end, some seconds; false if one still has not.
  bool wait_for_end();

  unsigned connections() const;
  std::uint64_t accepted() const;
  std::uint64_t refused() const;

 private:
  void start(Channel channel, bool only_one);
  void serve(Channel channel, bool only_one) noexcept;
  void leave();

  NbdServer& server_;
  Stop& stop_;
  const unsigned most_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  unsigned connections_ = 0;     // guarded by mutex_
  std::uint64_t accepted_ = 0;   // guarded by mutex_
  std::uint64_t refused_ = 0;    // guarded by mutex_
  TaskGroup group_;
};

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// A region that is offered to leechers at some addresses: the r3 server in front of a Seeder. Who may read
// but not write cannot move it. Knows nothing of devices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/r3_gate.hpp"
#include "libcommon/net/seeder.hpp"

namespace r3 {

// Who may come: files as r3-key(1) makes them.
struct SeedAccess {
  std::string key_file, peer_keys, psk_file;
  bool plain = false;
};

// Throws std::invalid_argument for what does not go together, or an address that needs keys.
void check_seed_access(const SeedAccess& access, const std::vector<std::string>& listen);

class SeedServer {
 public:
  // Listens. `is_volatile`: the content is lost with the process. Borrows region and seeder.
  SeedServer(Backend& region, Seeder& seeder, bool is_volatile, const SeedAccess& access,
             const std::vector<std::string>& listen);
  // Lets every connection finish what it has received.
  ~SeedServer();

  std::vector<std::string> addresses() const;
  const R3Counters& counters() const { return server_.counters(); }
  void set_access(const SeedAccess& access);

 private:
  R3Server server_;
  R3Gate gate_;
  std::vector<Listener> listeners_;
  TaskGroup threads_;
};

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hub_feed.hpp"
#include "tools/mmap-hashsync/hub_inbox.hpp"
#include "tools/mmap-hashsync/receiver.hpp"
#include "tools/mmap-hashsync/roles.hpp"

namespace r3::sync {

void run_hub(Tool&, const Options& options, Service& service) {
  HubStore store(Hasher(service.hello().secret));
  service.run([&](Peer& peer) {
    if (peer.theirs.role == Role::send) {
      HubInbox inbox(store, [&](const std::string& name) { return peer.connection.may(name, true); },
                     options.threads);
      Receiver(peer.link, inbox, peer.hasher, service.report()).run();
      return;
    }
    HubFeed feed(store, peer.link, peer.connection.input(), peer.hasher,
                 [&](const std::string& name) { return peer.connection.may(name, false); }, service.report());
    feed.run(service.stop());
  });
}

}  // namespace r3::sync

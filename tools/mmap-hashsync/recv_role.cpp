// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/receiver.hpp"
#include "tools/mmap-hashsync/roles.hpp"

namespace r3::sync {

DestinationOptions with_hooks(Tool& tool, const Options& options, Service& service) {
  DestinationOptions d = destination_options(options);
  if (!options.accept_command.empty())
    d.accept = [&](const std::string& name, std::uint64_t size) {
      const std::string answer = run_hook(options.accept_command,
          {"R3_FILE=" + name, "R3_SIZE=" + std::to_string(size)}, service.stop());
      return answer.empty() ? name : answer;
    };
  d.on_epoch = [&](const std::string& name, std::uint64_t epoch) {
    tool.events().send(Json().add("event", "epoch").add("file", name).add("epoch", epoch));
  };
  d.on_done = [&, directory = options.arguments.front()](const std::string& name) {
    tool.events().send(Json().add("event", "done").add("file", name));
    if (!options.done_command.empty())
      run_hook(options.done_command, {"R3_FILE=" + name, "R3_PATH=" + directory + "/" + name}, service.stop());
  };
  return d;
}

void receive_from(Peer& peer, Destination& destination, Service& service) {
  std::unique_ptr<Inbox> inbox;
  try {
    inbox = destination.inbox(peer.theirs.instance,
                              [&](const std::string& name) { return peer.connection.may(name, true); });
  } catch (const std::exception& error) {
    say_error(peer.link, error.what(), true);
    throw;
  }
  Receiver receiver(peer.link, *inbox, peer.hasher, service.report());
  receiver.run();
}

void run_recv(Tool& tool, const Options& options, Service& service) {
  Destination destination(options.arguments.front(), with_hooks(tool, options, service));
  service.run([&](Peer& peer) {
    service.ready();
    receive_from(peer, destination, service);
  });
}

}  // namespace r3::sync

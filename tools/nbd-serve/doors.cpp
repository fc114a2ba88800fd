// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-serve/doors.hpp"

#include <sys/socket.h>

#include "tools/nbd-serve/exports.hpp"

namespace r3 {

namespace {

bool is_listening(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening;
}

bool is_connection(const Address& address) {
  return address.kind == Address::Kind::stdio ||
         (address.kind == Address::Kind::fd && !is_listening(address.fd));
}

}  // namespace

Doors open_doors(std::vector<std::string> addresses, std::chrono::milliseconds patience, const Stop& stop) {
  Doors doors;
  doors.listeners = Listener::from_environment();
  doors.inherited = doors.listeners.size();
  if (addresses.empty() && doors.listeners.empty()) addresses = {"tcp://127.0.0.1:10809"};
  for (const auto& text : addresses) {
    const auto address = parse_address(text);
    if (is_connection(address))
      doors.channels.push_back(connect_to(address, patience, stop));
    else
      doors.listeners.emplace_back(address);
  }
  return doors;
}

std::vector<std::string> announce(Tool& tool, const Doors& doors, const std::vector<NbdExport>& exports) {
  std::vector<std::string> environment;
  const bool quiet = tool.json() || tool.runs_command() || !doors.channels.empty();
  for (std::size_t i = 0; i < doors.listeners.size(); ++i) {
    const auto& listener = doors.listeners[i];
    const auto address = to_text(listener.address());
    for (const auto& each : exports) {
      const auto uri = export_uri(listener.address(), each.name);
      tool.events().send(Json()
                             .add("event", "listening")
                             .add("address", address)
                             .add("export", each.name)
                             .add("uri", uri));
      if (environment.empty()) environment = {"R3_ADDRESS=" + address, "R3_URI=" + uri};
      if (!quiet && i >= doors.inherited && !uri.empty()) tool.print(uri);
    }
  }
  return environment;
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// ram-ul: serves memory, or any regions, to r3 clients.
#include <algorithm>
#include <optional>
#include <stdexcept>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/net/r3_gate.hpp"
#include "libcommon/net/r3_region.hpp"
#include "tools/ram-ul/exports.hpp"
#include "tools/ram-ul/security.hpp"

namespace {

constexpr r3::About kAbout = {
    "ram-ul", "serve memory, or any regions, to r3 clients",
    "ram-ul -l unix:/run/ram.sock memory:4G\n"
    "ram-ul -l tcp://[::]:10833 --key-file node.key --peer-keys peers 64G\n"
    "ram-ul -l tcp://localhost:0 disk=/dev/vg/disk scratch=memory:1G\n"
    "r3-mount 'r3+exec:ram-ul -l - /srv/image' image"};

// How long requests and a flush may still take after TERM.
constexpr std::chrono::seconds kEndPatience{30};

struct Options {
  std::vector<std::string> regions{"memory:1G"};
  std::vector<std::string> listen;
  r3::SecurityOptions security;
  r3::RegionOptions region;
  unsigned max_connections = 64;
  std::uint64_t max_request = r3::MiB;
  std::uint64_t memory_limit = UINT64_MAX;  // not given: 1 GiB, or what one request of each connection takes
};

void declare(r3::Tool& tool, Options& o) {
  r3::OptionSet& options = tool.options();
  options.argument("REGION", o.regions, "[NAME=]REGION to serve; a bare SIZE is memory (memory:1G)",
                   r3::OptionSet::Need::optional);
  options.texts("-l,--listen", "ADDR", o.listen,
                "where to listen (tcp://localhost:10833); - serves stdin and stdout");
  options.flag("-r,--read-only", o.region.read_only, "refuse every change");
  r3::declare_security(options, o.security);
  options.number("--connections", o.region.connections, 1, 64, "to each region that is remote");
  options.number("--max-connections", o.max_connections, 1, 65536, "clients' connections at a time");
  options.size("--max-request", o.max_request, "the longest read or write, 4K to 32M");
  options.size("--memory-limit", o.memory_limit, "for requests in flight, over all connections");
}

r3::R3ServerOptions server_options(const Options& o) {
  if (o.max_request < 4 * r3::KiB || o.max_request > 32 * r3::MiB)
    throw std::invalid_argument("--max-request: 4K to 32M is accepted");
  r3::R3ServerOptions server;
  server.max_transfer = static_cast<std::uint32_t>(o.max_request);
  const std::uint64_t least = o.max_request * o.max_connections;
  const auto limit = o.memory_limit == UINT64_MAX ? std::max(r3::GiB, least) : o.memory_limit;
  if (limit < least)
    throw std::invalid_argument("--memory-limit " + std::to_string(limit) + ": at least " + std::to_string(least) +
                                " is accepted, --max-request for each of --max-connections");
  server.max_bytes = static_cast<std::uint32_t>(std::min(limit / o.max_connections, 64 * r3::MiB));
  return server;
}

void announce(r3::Tool& tool, const r3::Address& address, const r3::Exports& exports,
              const std::optional<r3::PublicKey>& key) {
  for (const auto& exported : exports.list()) {
    const auto region = to_text(r3::region_for_clients(address, exported.name, key));
    tool.events().send(r3::Json().add("event", "listening").add("address", to_text(address))
                           .add("export", exported.name).add("region", region));
    if (!tool.json()) tool.print(region);
  }
}

int serve(r3::Tool& tool, Options& o) {
  if (o.listen.empty()) o.listen.push_back("tcp://localhost:" + std::to_string(r3::kR3Port));
  check_security(o.security, o.listen);
  const bool on_stdio = o.listen == std::vector<std::string>{"-"};
  if (on_stdio) tool.stdout_carries_protocol();
  r3::raise_descriptor_limit();
  const auto policy = read_policy(o.security, &tool.stop());
  r3::RegionOptions how = o.region;
  how.stop = &tool.stop();
  r3::Exports exports(o.regions, how);
  r3::R3Server server(exports.list(), server_options(o));
  r3::R3GateOptions gate_options;
  gate_options.max_connections = o.max_connections;
  gate_options.on_change = [&](const std::string& peer, bool connected, const std::string& error) {
    r3::Json event;
    event.add("event", connected ? "connected" : "disconnected").add("peer", peer);
    tool.events().send(error.empty() ? event : event.add("error", error));
  };
  r3::R3Gate gate(server, policy, gate_options);
  const r3::EndAfterStop limit(tool.stop(), kEndPatience, [&exports] { exports.regions().abandon(); });
  tool.on_hang_up([&] { gate.set_policy(read_policy(o.security, nullptr)); });
  tool.control().on("status", [&] {
    const auto& n = server.counters();
    return r3::Json().add("size", exports.regions().size()).add("connections", std::uint64_t{gate.connected()})
        .add("requests", n.requests.load()).add("bytes_read", n.bytes_read.load())
        .add("bytes_written", n.bytes_written.load());
  });
  if (on_stdio) {
    tool.ready();
    gate.serve_one(r3::connect_to(r3::parse_address("-"), {}, tool.stop()), tool.stop());
    tool.on_hang_up({});
    exports.regions().flush_changed();
    return r3::kDone;
  }
  std::vector<r3::Listener> listeners;
  for (const auto& text : o.listen) listeners.emplace_back(r3::parse_address(text));
  for (const auto& listener : listeners) announce(tool, listener.address(), exports, server_key(*policy));
  r3::TaskGroup threads;
  threads.spawn([&] {
    try {
      gate.run(listeners, tool.stop());
    } catch (...) {
      tool.stop().request();
      throw;
    }
  });
  tool.ready();
  const int status = tool.serve_until_stopped({});
  tool.on_hang_up({});
  threads.join();
  exports.regions().flush_changed();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(argc, argv, kAbout, [&](r3::Tool& tool) { declare(tool, options); },
                 [&](r3::Tool& tool) { return serve(tool, options); });
}

// SPDX-License-Identifier: Apache-2.0
// uffd-serve: answers the page faults of other processes' memory from a region.
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/cli/pull_options.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/region.hpp"
#include "tools/uffd-serve/client.hpp"
#include "tools/uffd-serve/server.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "uffd-serve", "answer the page faults of other processes' memory from a region",
    "uffd-serve -l unix:/run/region.sock 'r3://server/data?psk-file=lab.psk'\n"
    "uffd-serve -c unix:/run/region.sock -o copy\n"
    "uffd-serve -c unix:/run/region.sock --touch random --bench\n"
    "uffd-serve -l unix:/run/vm.sock --protocol firecracker /srv/snapshot.mem"};

struct Options {
  std::string region, listen, protocol = "auto", memory = "anonymous";
  ClientOptions client;
  PageServerOptions server;
  RegionOptions open;
  bool no_prefetch = false, writable = false;
};

void declare(Tool& tool, Options& o) {
  OptionSet& set = tool.options();
  set.argument("REGION", o.region, "the bytes: see r3tools(7)", OptionSet::Need::optional);
  set.text("-l,--listen", "ADDR", o.listen, "where to take memory over: unix:PATH");
  set.text("--protocol", "{auto,r3,original,firecracker}", o.protocol, "how memory is handed over (auto)");
  set.size("--chunk-size", o.server.chunk, "bytes that a page fault brings at least (4K)");
  set.size("--read-ahead", o.server.most, "and at most, when faults follow each other (2M)");
  set.flag("--no-prefetch", o.no_prefetch, "bring only what is touched");
  declare_pull_order(set, o.server.order);
  set.number("--threads", o.server.threads, 1, 256, "that wait for the region, for each client (8)");
  set.number("--max-clients", o.server.max_clients, 1, 65536, "at a time; further ones are refused (1024)");
  set.flag("--writable", o.writable, "bring what clients write back to the region");
  set.duration("--push-interval", o.server.push_interval, "how often (5s); 0s: on request and at the end");
  set.flag("--adopt", o.server.intake.adopt, "take over from a server that died");
  set.number("--connections", o.open.connections, 1, 64, "to a region that is remote (1)");
  set.duration("--io-timeout", o.open.io_timeout, "an outage of TIME is an error (default: it is waited out)");
  tool.run_option();
  set.group("As a client");
  set.text("-c,--connect", "ADDR", o.client.address, "map the region of the server there, and copy it out");
  set.text("-o,--output", "FILE", o.client.output, "where to (standard output)");
  set.flag("--force", o.client.force, "overwrite a file that is not empty");
  set.text("--touch", "{sequential,random}", o.client.touch, "touch each page once instead of copying");
  set.flag("--bench", o.client.bench, "say how long that took");
  set.text("--write", "FILE", o.client.input, "write this into the memory, and have it pushed");
  set.text("--memory", "{anonymous,shared,huge}", o.memory, "what to map: ordinary pages, a memfd, 2 MiB pages");
}

template <class Value>
Value choose(const std::string& option, const std::string& given,
             std::initializer_list<std::pair<const char*, Value>> choices) {
  std::string accepted;
  for (const auto& [name, value] : choices) {
    if (given == name) return value;
    accepted += std::string(accepted.empty() ? "" : ", ") + name;
  }
  throw std::invalid_argument(option + " '" + given + "': " + accepted + " are accepted");
}

bool power_of_two(std::uint64_t number) {
  return number != 0 && (number & (number - 1)) == 0;
}

void check_server(Options& o) {
  if (o.region.empty()) throw std::invalid_argument("REGION is missing: see --help");
  if (o.listen.empty()) throw std::invalid_argument("--listen is missing: unix:PATH");
  const auto kind = parse_address(o.listen).kind;
  if (kind != Address::Kind::unix_socket && kind != Address::Kind::fd)
    throw std::invalid_argument("--listen '" + o.listen + "': memory is handed over through UNIX sockets only (unix:PATH, fd:N)");
  if (!power_of_two(o.server.chunk) || o.server.chunk < 4 * KiB || o.server.chunk > 64 * MiB)
    throw std::invalid_argument("--chunk-size: powers of two from 4K to 64M are accepted");
  if (o.server.most > 64 * MiB) throw std::invalid_argument("--read-ahead: up to 64M is accepted");
  o.server.most = std::max(o.server.most / (4 * KiB) * (4 * KiB), o.server.chunk);
  using enum uffd::Protocol;
  o.server.intake.only = choose<std::optional<uffd::Protocol>>(
      "--protocol", o.protocol, {{"auto", std::nullopt}, {"r3", own}, {"original", original}, {"firecracker", firecracker}});
  check_pull_order(o.server.order.order);
  const bool record = !o.server.order.record.empty();
  o.server.order.rest = !o.no_prefetch && !record;
  // A fault that brings more than was touched would be recorded as more.
  if (record) o.server.most = o.server.chunk;
}

int serve(Tool& tool, Options& o) {
  check_server(o);
  raise_descriptor_limit();
  o.open.read_only = !o.writable;
  o.open.stop = &tool.stop();
  o.open.on_change = [&tool](bool connected) {
    tool.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
  };
  const std::unique_ptr<Backend> region = open_region(parse_region(o.region), o.open);
  if (region->size() == 0) fail(ENODATA, o.region + ": the region is empty");
  if (o.writable && region->read_only()) fail(EROFS, o.region + ": --writable");
  o.server.intake.region = {region->size(), o.server.chunk, o.writable};
  PageServer server(*region, o.server, tool);
  Listener listener(parse_address(o.listen));
  const std::string address = to_text(listener.address());
  tool.control().on("status", [&] { return server.status(); });
  tool.control().on("push", [&] { return Json().add("pushed", server.push()); });
  tool.events().send(Json().add("event", "listening").add("address", address));
  TaskGroup threads;
  threads.spawn([&] { server.run(listener); });
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_ADDRESS=" + address});
  tool.stop().request();
  threads.join();
  server.save_recording();
  return status;
}

int connect(Tool& tool, Options& o) {
  if (!o.region.empty()) throw std::invalid_argument("REGION belongs to the server, not to --connect");
  if (!o.listen.empty()) throw std::invalid_argument("--listen and --connect exclude each other");
  if (!o.client.touch.empty()) choose<int>("--touch", o.client.touch, {{"sequential", 0}, {"random", 1}});
  if (!o.client.input.empty() && !o.client.touch.empty()) throw std::invalid_argument("--write and --touch exclude each other");
  const bool to_stdout = o.client.output == "-" && o.client.touch.empty() && o.client.input.empty();
  if (tool.json() && to_stdout) throw std::invalid_argument("--json needs --output: standard output has the bytes");
  if (o.client.bench && o.client.touch.empty()) throw std::invalid_argument("--bench needs --touch");
  using enum RemoteMemory::Kind;
  o.client.kind = choose<RemoteMemory::Kind>("--memory", o.memory,
                                             {{"anonymous", anonymous}, {"shared", shared}, {"huge", huge}});
  if (parse_address(o.client.address).kind != Address::Kind::unix_socket)
    throw std::invalid_argument("--connect '" + o.client.address + "': unix:PATH is accepted");
  return run_client(tool, o.client);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
             [&](Tool& tool) { return options.client.address.empty() ? serve(tool, options) : connect(tool, options); });
}

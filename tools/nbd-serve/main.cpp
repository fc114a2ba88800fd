// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "libcommon/base/log.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/watchdog.hpp"
#include "tools/nbd-serve/exports.hpp"
#include "tools/nbd-serve/footprint.hpp"
#include "tools/nbd-serve/service.hpp"

namespace {

using namespace r3;

const About kAbout = {
    "nbd-serve", "share regions as NBD exports",
    "nbd-serve disk.img                             on tcp://127.0.0.1:10809\n"
    "nbd-serve -l unix:/run/disk.sock -r disk.img\n"
    "nbd-serve -l tcp://127.0.0.1:0 memory:1G --run sh -c 'nbdinfo $R3_URI'\n"
    "nbd-serve a=disk.img scratch=memory:64M        two exports\n"
    "ssh host nbd-serve - disk.img                  one client, on stdin and stdout\n"};

constexpr std::chrono::seconds kFlushPatience{30};

struct Settings {
  std::vector<std::string> listen;
  std::vector<std::string> regions;
  std::string description;
  bool read_only = false;
  bool plain = false;
  bool exit_with_parent = false;
  unsigned most_connections = 1000;
  std::uint64_t minimum_block = 1;
  std::uint64_t preferred_block = 4 * KiB;
  std::uint64_t maximum_block = 32 * MiB;
  NbdServerOptions server;
};

void declare(Tool& tool, Settings& settings) {
  OptionSet& options = tool.options();
  options.argument("REGION", settings.regions, "what to share: REGION or NAME=REGION");
  options.texts("-l,--listen", "ADDR", settings.listen,
                "where to listen: tcp://HOST:PORT, unix:PATH, vsock://CID:PORT, fd:N or - (repeatable)");
  options.flag("-r,--read-only", settings.read_only, "allow no changes");
  options.text("--description", "TEXT", settings.description, "a text that clients can show");
  options.flag("--plain", settings.plain, "listen where other machines can connect, unencrypted");
  options.size("--min-block", settings.minimum_block, "refuse what is not a multiple of this");
  options.size("--preferred-block", settings.preferred_block, "tell clients what suits best");
  options.size("--max-block", settings.maximum_block, "refuse longer reads and writes");
  options.duration("--handshake-timeout", settings.server.handshake_timeout,
                       "close clients that take longer to choose an export");
  options.number("--max-connections", settings.most_connections, 1, 100'000,
                     "refuse clients beyond this number");
  options.number("--workers", settings.server.workers, 1, 1024,
                     "threads per client for requests that have to wait");
  options.flag("--exit-with-parent", settings.exit_with_parent, "stop when the parent process ends");
  tool.run_option();
}

std::uint32_t block(std::uint64_t size) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(size, UINT32_MAX));
}

void prepare_process(const Settings& settings, Stop& stop) {
  // Long payloads come and go: memory that was freed goes back at once, for all threads.
  ::mallopt(M_MMAP_THRESHOLD, 128 * KiB);
  ::mallopt(M_ARENA_MAX, 2);
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (!settings.exit_with_parent) return;
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) stop.request();  // too late: it has ended already
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening;
}

// Where clients come from: listeners, or connections that are there already.
struct Doors {
  std::vector<Listener> listeners;
  std::size_t inherited = 0;  // the first so many: who made them knows where they are
  std::vector<Channel> channels;
};

Doors open_doors(const Settings& settings, Stop& stop) {
  Doors doors;
  doors.listeners = Listener::from_environment();
  doors.inherited = doors.listeners.size();
  auto wanted = settings.listen;
  if (wanted.empty() && doors.listeners.empty()) wanted = {"tcp://127.0.0.1:10809"};
  for (const auto& text : wanted) {
    const auto address = parse_address(text);
    const bool connected = address.kind == Address::Kind::stdio ||
                           (address.kind == Address::Kind::fd && !is_listening(address.fd));
    if (connected)
      doors.channels.push_back(connect_to(address, settings.server.handshake_timeout, stop));
    else
      doors.listeners.emplace_back(address);
  }
  return doors;
}

Json status_of(const NbdServer& server, const Service& service, std::size_t exports) {
  const auto totals = server.totals();
  return Json()
      .add("exports", std::uint64_t{exports})
      .add("connections", std::uint64_t{service.connections()})
      .add("accepted", service.accepted())
      .add("refused", service.refused())
      .add("requests", totals.requests)
      .add("bytes_read", totals.bytes_read)
      .add("bytes_written", totals.bytes_written);
}

// Tells where the exports are; returns what --run's command finds in its environment.
std::vector<std::string> announce(Tool& tool, const Doors& doors,
                                  const std::vector<NbdExport>& exports) {
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

// All that the command line says is looked at before anything is opened or made.
std::vector<NamedRegion> check_usage(Settings& settings) {
  if (settings.regions.front() == "-") {
    settings.regions.erase(settings.regions.begin());
    settings.listen.push_back("-");
    if (settings.regions.empty()) throw std::invalid_argument("REGION is required");
  }
  settings.server.minimum_block = block(settings.minimum_block);
  settings.server.preferred_block =
      std::max(block(settings.preferred_block), settings.server.minimum_block);
  settings.server.maximum_block = block(settings.maximum_block);
  if (settings.server.handshake_timeout.count() == 0)
    throw std::invalid_argument("--handshake-timeout: no client can choose an export in no time");
  for (const auto& text : settings.listen) require_local_or_plain(parse_address(text), settings.plain);

  std::vector<NamedRegion> named;
  std::vector<NbdExport> exports;
  for (const auto& text : settings.regions) {
    named.push_back(parse_named_region(text));
    exports.push_back({named.back().name, settings.description, nullptr, settings.read_only});
  }
  r3::check_usage(exports, settings.server, {"--min-block", "--preferred-block", "--max-block"});
  return named;
}

using Backends = std::vector<std::unique_ptr<Backend>>;

// What was written is durable before the tool says that it is done; a region that does not answer is not
// waited for without an end.
void flush_all(const Backends& backends) {
  const Watchdog limit(
      kFlushPatience, [] { return 0; },
      [&] {
        for (const auto& each : backends) each->abandon();
      });
  for (const auto& each : backends)
    if (!each->read_only()) each->flush();
}

int serve(Tool& tool, Settings& settings) {
  const std::vector<NamedRegion> named = check_usage(settings);
  prepare_process(settings, tool.stop());
  Backends backends;
  std::vector<NbdExport> exports;
  RegionOptions how;
  how.read_only = settings.read_only;
  how.stop = &tool.stop();
  for (const NamedRegion& each : named) {
    backends.push_back(open_region(each.region, how));
    exports.push_back({each.name, settings.description, backends.back().get(), settings.read_only});
    if (const auto tail = backends.back()->size() % settings.server.minimum_block; tail != 0)
      log_warning(to_text(each.region) + ": the last " + std::to_string(tail) +
                  " bytes do not fill a block of --min-block and are not shared");
  }
  NbdServer server(exports, settings.server);
  auto doors = open_doors(settings, tool.stop());
  Service service(server, tool.stop(), settings.most_connections);
  tool.control().on("status", [&] { return status_of(server, service, exports.size()); });

  const auto environment = announce(tool, doors, exports);
  for (auto& listener : doors.listeners) service.listen(listener);
  for (auto& channel : doors.channels) service.serve_only(std::move(channel));
  r3::release_startup_code();
  tool.ready();
  const int status = tool.serve_until_stopped(environment);
  tool.stop().request();
  if (service.wait_for_end()) {
    flush_all(backends);
  } else {  // something far away does not answer
    for (const auto& each : backends) each->abandon();
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  return run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, settings); },
             [&](Tool& tool) { return serve(tool, settings); });
}

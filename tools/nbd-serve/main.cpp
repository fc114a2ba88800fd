// SPDX-License-Identifier: Apache-2.0
// nbd-serve: shares regions as NBD exports.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/net/shared_regions.hpp"
#include "tools/nbd-serve/doors.hpp"
#include "tools/nbd-serve/footprint.hpp"
#include "tools/nbd-serve/service.hpp"
#include "tools/nbd-serve/settings.hpp"

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

void stop_with_parent(Stop& stop) {
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) stop.request();  // too late: it has ended already
}

std::vector<NbdExport> open_exports(const Settings& settings, const std::vector<NamedRegion>& named,
                                    SharedRegions& regions, const Stop& stop) {
  std::vector<NbdExport> exports;
  RegionOptions how;
  how.read_only = settings.read_only;
  how.stop = &stop;
  for (const NamedRegion& each : named) {
    Backend& region = regions.open(each.region, how);
    exports.push_back({each.name, settings.description, &region, settings.read_only});
    if (const auto tail = region.size() % settings.server.minimum_block; tail != 0)
      log_warning(to_text(each.region) + ": the last " + std::to_string(tail) +
                  " bytes do not fill a block of --min-block and are not shared");
  }
  return exports;
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

// What was written is durable before the tool says that it is done. A region that does not answer is not waited
// for without an end, and not at all where it has nothing to make durable.
void end(Service& service, SharedRegions& regions) {
  struct Waiting {
    SharedRegions& regions;
    const bool none;
    ~Waiting() {
      if (!none) regions.abandon();
    }
  } const waiting{regions, service.wait_for_end()};
  const Watchdog limit(kFlushPatience, [] { return 0; }, [&] { regions.abandon(); });
  regions.flush_changed();
}

int serve(Tool& tool, Settings& settings) {
  const std::vector<NamedRegion> named = check_settings(settings);
  give_freed_memory_back();
  raise_descriptor_limit();
  if (settings.exit_with_parent) stop_with_parent(tool.stop());
  SharedRegions regions;
  const auto exports = open_exports(settings, named, regions, tool.stop());
  NbdServer server(exports, settings.server);
  auto doors = open_doors(settings.listen, settings.server.handshake_timeout, tool.stop());
  Service service(server, tool.stop(), settings.most_connections);
  tool.control().on("status", [&] { return status_of(server, service, exports.size()); });

  const auto environment = announce(tool, doors, exports);
  for (auto& listener : doors.listeners) service.listen(listener);
  for (auto& channel : doors.channels) service.serve_only(std::move(channel));
  release_startup_code();
  tool.ready();
  const int status = tool.serve_until_stopped(environment);
  tool.stop().request();
  end(service, regions);
  return status;
}

void declare(Tool& tool, Settings& settings) {
  declare_settings(tool.options(), settings);
  tool.run_option();
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  return run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, settings); },
             [&](Tool& tool) { return serve(tool, settings); });
}

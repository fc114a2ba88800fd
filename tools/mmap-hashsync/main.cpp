// SPDX-License-Identifier: Apache-2.0
// mmap-hashsync: keeps copies of mapped files in step, by hashes.
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/roles.hpp"
#include "tools/mmap-hashsync/sigbus.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "mmap-hashsync",
    "Keep copies of mapped files in step, by hashes",
    "mmap-hashsync send state.img recv:copy.img --once\n"
    "mmap-hashsync recv --journal /var/copies -l tcp://localhost:10834\n"
    "mmap-hashsync send db.img wal=/run/db.wal tcp://localhost:10834\n"
    "mmap-hashsync send state.img 'exec:ssh host mmap-hashsync recv -l - /copies'\n"
    "mmap-hashsync hub unix:/run/hub.sock",
};

void work(Tool& tool, const sync::Options& options, sync::Service& service) {
  if (options.command == "send") sync::run_send(tool, options, service);
  else if (options.command == "recv") sync::run_recv(tool, options, service);
  else sync::run_hub(tool, options, service);
}

sync::Role role_of(const sync::Options& options) {
  if (options.command == "send") return sync::Role::send;
  return options.command == "recv" ? sync::Role::receive : sync::Role::hub;
}

int serve(Tool& tool, sync::Options& options) {
  sync::check_usage(options);
  sync::install_sigbus_guard();
  sync::Service service(tool, options, role_of(options));
  const auto& keys = options.security;
  if (!keys.key_file.empty() || !keys.psk_file.empty()) tool.on_hang_up([&] { service.reload(); });
  tool.control().on("status", [&] { return service.report().json(); });
  TaskGroup threads;
  bool done = false;
  threads.spawn([&] {
    try {
      work(tool, options, service);
      done = tool.stop_signal() == 0;
    } catch (...) {
      tool.stop().request();
      throw;
    }
    tool.stop().request();
  });
  tool.serve_until_stopped({});
  tool.on_hang_up({});
  threads.join();
  if (options.stats == "text") tool.print(service.report().text());
  if (options.stats == "json") tool.print(service.report().json().text());
  return options.send.once && !done ? 128 + tool.stop_signal() : kDone;
}

}  // namespace

int main(int argc, char** argv) {
  sync::Options options;
  return run(argc, argv, kAbout, [&](Tool& tool) { sync::declare(tool, options); },
             [&](Tool& tool) { return serve(tool, options); });
}

// SPDX-License-Identifier: Apache-2.0
// A tool with nothing of its own but the outside that every tool has, for tests/cli/outside.bats.
#include <stdexcept>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/cli/progress.hpp"
#include "libcommon/cli/tool.hpp"

namespace {

struct Options {
  std::string action;
  std::uint64_t size = 4096;
  std::chrono::milliseconds time{0};
  unsigned number = 1;
  std::string listen;
  bool plain = false;
};

constexpr r3::About kAbout = {
    "probe",
    "do what the tests of the common options need",
    "probe serve                          # serve until stopped\n"
    "probe serve --run sh -c 'exit 7'     # run a command",
};

void declare(r3::Tool& tool, Options& options) {
  r3::OptionSet& set = tool.options();
  set.argument("ACTION", options.action, "serve, fail, refuse, talk, transfer or stubborn");
  set.size("-s,--size", options.size, "a size");
  set.duration("--time", options.time, "a time");
  set.number("--number", options.number, 1, 8, "a number");
  set.text("-l,--listen", "ADDR", options.listen, "an address");
  set.flag("--plain", options.plain, "allow other machines to connect");
  tool.run_option();
}

int transfer(r3::Tool& tool, const Options& options) {
  r3::Progress progress("copying", options.size, tool.events());
  for (std::uint64_t done = 0; done < options.size; done += 4096) progress.update(done);
  progress.update(options.size);
  return r3::kDone;
}

// Takes no notice of the stop: only a second INT ends it.
int be_stubborn(r3::Tool& tool) {
  tool.on_forced_exit([] { r3::log_error("4096 bytes were not written"); });
  tool.ready();
  const r3::Stop never;
  never.wait();
  return r3::kDone;
}

int work(r3::Tool& tool, const Options& options) {
  if (!options.listen.empty())
    r3::require_local_or_plain(r3::parse_address(options.listen), options.plain);
  if (options.action == "fail") r3::fail(ENOSPC, "disk.img");
  if (options.action == "refuse") throw std::invalid_argument("nothing makes sense");
  if (options.action == "talk") {
    tool.stdout_carries_protocol();
    tool.print("protocol");
    return r3::kDone;
  }
  if (options.action == "transfer") return transfer(tool, options);
  if (options.action == "stubborn") return be_stubborn(tool);
  tool.control().on("status", [&] { return r3::Json().add("size", options.size); });
  tool.control().on("clean", [] { return r3::Json().add("answer", "no").add("dirty", 1); });
  tool.control().on("break", []() -> r3::Json { r3::fail(EIO, "disk.img"); });
  tool.ready();
  return tool.serve_until_stopped({"R3_PATH=/a path", "R3_URI=nbd://h"});
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(
      argc, argv, kAbout, [&](r3::Tool& tool) { declare(tool, options); },
      [&](r3::Tool& tool) { return work(tool, options); });
}

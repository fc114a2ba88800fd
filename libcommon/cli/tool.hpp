// SPDX-License-Identifier: Apache-2.0
// What every tool's outside has in common: options, exit status, messages, events, readiness,
// signals, a command to run, the control socket. A tool's main() is one call of run(); what is
// special about the tool is in the two functions that it gives.
//
//   int main(int argc, char** argv) {
//     Options options;
//     return r3::run(argc, argv, kAbout,
//                    [&](r3::Tool& tool) { declare(tool, options); },
//                    [&](r3::Tool& tool) { return serve(tool, options); });
//   }
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/cli/child.hpp"
#include "libcommon/cli/control.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/cli/options.hpp"
#include "libcommon/cli/ready.hpp"

namespace r3 {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kNo = 3;  // the answer to a question

inline constexpr const char* kVersion = "0.1";

struct Arguments;

struct About {
  const char* name;      // of the binary
  const char* purpose;   // one line, no full stop
  const char* examples;  // lines of commands, shown first in --help
};

class Tool {
 public:
  // For declare().
  OptionSet& options() { return options_; }
  // --run CMD...: takes the rest of the command line.
  void run_option();

  // For the body, from here on.
  //
  // Requested by TERM, INT or HUP, by `stop` on the control socket, and when the command of --run ends.
  Stop& stop() { return stop_; }
  // The signal that asked the tool to stop; 0 if none did. Work that is cut short ends with 128 + it.
  int stop_signal() const { return stop_signal_; }
  Events& events() { return *events_; }
  Control& control() { return control_; }
  bool json() const { return json_; }
  // Whether there is a command to run (--run): stdout is its own then.
  bool runs_command() const { return !command_.empty(); }
  // Throws std::invalid_argument if events were to go there too; then not even that is told there.
  void stdout_carries_protocol();
  // The answer, a line on stdout; throws if it cannot be written there.
  void print(std::string_view line);

  // The thing is usable: --ready-fd, NOTIFY_SOCKET and the event {"event":"ready"} say so. Questions
  // wait from now on until serve_until_stopped() answers them.
  void ready();
  // After ready(): runs the command of --run, if there is one, with `environment` ("NAME=VALUE")
  // added and the descriptor, if one is passed, and waits until it ends or the stop is requested; answers the
  // words of control() meanwhile. `ending` runs then, while they are still answered. Returns the exit status
  // for run().
  int serve_until_stopped(const std::vector<std::string>& environment, PassedFd passed = {},
                          const std::function<void()>& ending = {});
  // Called when a second INT leaves at once: says what was not written. Async-signal context does not
  // apply: it runs in the signal thread. An empty one takes it back, and waits for a call under way.
  void on_forced_exit(std::function<void()> last_words);
  // What HUP does instead of stopping (read keys again), in the signal thread; what it throws is reported,
  // and the tool goes on. An empty one takes it back, and waits for a call under way.
  void on_hang_up(std::function<void()> action);

 private:
  friend class Session;
  friend int run(int, char**, const About&, const std::function<void(Tool&)>&,
                 const std::function<int(Tool&)>&);
  explicit Tool(const About& about);
  void declare_common();
  int answer(const Arguments& arguments);
  bool parse(Arguments& arguments);
  int work(const std::function<int(Tool&)>& body);
  void say_stopped(int status);

  const About& about_;
  OptionSet options_;
  Stop stop_;
  std::atomic<int> stop_signal_{0};
  std::atomic<const char*> state_{"starting"};
  Control control_;
  std::unique_ptr<Events> events_;
  std::optional<Readiness> readiness_;
  std::mutex mutex_;
  std::function<void()> last_words_;  // guarded by mutex_
  std::mutex hang_up_mutex_;
  std::function<void()> hang_up_;  // guarded by hang_up_mutex_
  bool help_ = false, version_ = false, verbose_ = false, quiet_ = false, json_ = false;
  bool takes_command_ = false;
  int ready_fd_ = -1, events_fd_ = -1;
  std::string control_address_, metrics_address_;
  std::vector<std::string> command_;
};

// Parses, runs `body`, prints what was thrown, returns the exit status: the body's own, 1 after an
// error, 2 after bad usage (std::invalid_argument or the parser's own).
int run(int argc, char** argv, const About& about, const std::function<void(Tool&)>& declare,
        const std::function<int(Tool&)>& body);

// A listener that other machines can reach needs keys, or the user's word that none are wanted
// (`plain`); throws std::invalid_argument otherwise.
void require_local_or_plain(const Address& address, bool plain);

}  // namespace r3

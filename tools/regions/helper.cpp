// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/helper.hpp"

#include <signal.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/net/r3_connect.hpp"
#include "libcommon/storage/read_only.hpp"
#include "tools/regions/confine.hpp"
#include "tools/regions/spoken.hpp"

namespace r3 {

namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2;
constexpr std::chrono::seconds kEndPatience{30};  // for requests after the end of the client

void print_help(const HelperAbout& about) {
  std::printf("%s: %s\n\nIt is started by tools that take a REGION, see r3-region-helper(7).\n\n"
              "usage: %s [--read-only] [--io-timeout=TIME] REGION\n\nREGION is %s\n",
              about.name, about.purpose, about.name, about.grammar);
}

HelperOptions parse_arguments(int argc, char** argv) {
  HelperOptions options;
  bool found = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    constexpr std::string_view kTimeout = "--io-timeout=";
    if (word == "--read-only") {
      options.read_only = true;
    } else if (word.starts_with(kTimeout)) {
      options.io_timeout = parse_duration(word.substr(kTimeout.size()));
    } else if (word.starts_with("-") || found) {
      throw std::invalid_argument("\"" + std::string(word) + "\": one REGION is accepted, after --read-only "
                                  "and --io-timeout=TIME");
    } else {
      options.region = word;
      found = true;
    }
  }
  if (!found) throw std::invalid_argument("REGION is missing");
  return options;
}

// TERM, INT and HUP end the helper as the end of its input does. Made before there are other threads.
class StopOnSignal {
 public:
  explicit StopOnSignal(Stop& stop) {
    const sigset_t set = signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    waiter_ = std::thread([this, &stop] { wait(stop); });
  }
  ~StopOnSignal() {
    done_ = true;
    ::pthread_kill(waiter_.native_handle(), SIGTERM);
    waiter_.join();
  }
 private:
  static sigset_t signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int one : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, one);
    return set;
  }
  void wait(Stop& stop) {
    const sigset_t set = signals();
    int signal = 0;
    while (!done_)
      if (::sigwait(&set, &signal) == 0 && !done_) stop.request();
  }
  std::atomic<bool> done_{false};
  std::thread waiter_;
};

int serve(const HelperOptions& options, const HelperAbout& about, const Prepare& prepare) {
  Stop stop;
  // The connection is taken before anything else can write into it.
  Channel channel = connect_to(parse_address("-"), {}, stop);
  const Connect connect = prepare(options);
  confine();
  auto [backend, instance] = connect(stop);  // until here TERM just ends the process
  if (options.read_only && !backend->read_only())
    backend = std::make_unique<ReadOnly>(std::move(backend));
  backend = std::make_unique<Spoken>(std::move(backend));
  const StopOnSignal signals(stop);
  R3ServerOptions limits;
  limits.workers = about.workers;
  R3Server server({{.name = "", .backend = backend.get(), .read_only = backend->read_only(),
                    .instance = instance}}, limits);
  auto policy = std::make_shared<R3Policy>();
  policy->plain = true;
  R3Accepted client = r3_accept(std::move(channel), policy, stop, std::chrono::seconds(60));
  const EndAfterStop limit(stop, kEndPatience, [region = backend.get()] { region->abandon(); });
  server.serve(*client.link, client.sums, client.peer, stop);
  return kDone;
}

}  // namespace

int serve_helper(int argc, char** argv, const HelperAbout& about, const Prepare& prepare) {
  set_log(about.name, Verbosity::normal);
  ::signal(SIGPIPE, SIG_IGN);
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--help") return print_help(about), kDone;
    return serve(parse_arguments(argc, argv), about, prepare);
  } catch (const std::invalid_argument& error) {
    log_error(error.what());
    return kUsage;
  } catch (const std::exception& error) {
    log_error(error.what());
    return kFailed;
  }
}

}  // namespace r3

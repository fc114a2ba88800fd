// SPDX-License-Identifier: Apache-2.0
// faultproxy: a bad network between two programs. It listens, connects each client to the target, and
// delays, throttles, cuts up, damages or loses what passes, as its options say; --help lists them.
//
// The address it listens on is printed when it does. At the end one line of JSON says how many bytes
// were delivered each way, and which faults there were; on the control socket (--control) the word
// `stats` asks for the same, `cut` resets all connections, `hole on` and `hole off` stop and resume
// the traffic, and `delay TIME` changes the delay of what comes from then on.
//
// --delay is one way: a round trip takes twice as long. The faults --flip, --drop, --duplicate and
// --reorder are probabilities for each record (--record), and depend only on the seed, the number of
// the connection and the number of the record. A UNIX socket has no RST: the peer sees ECONNRESET if
// bytes that it sent had not been read yet, the end of the stream otherwise.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/socket.hpp"
#include "tests/fault/proxy/proxy.hpp"

namespace r3::fault {

namespace {

constexpr About kAbout{
    "faultproxy", "put a slow, faulty or dead network between two programs",
    "  faultproxy -l unix:p.sock -c unix:server.sock --delay 10ms --rate 1G\n"
    "  faultproxy -l tcp://127.0.0.1:0 -c tcp://127.0.0.1:10809 --flip 0.01 --seed 7\n"};

struct Options {
  std::string listen;
  std::string connect;
  std::string report;
  std::string direction = "both";
  Settings settings;
};

double parse_probability(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= 0 && value <= 1))
    throw std::invalid_argument("\"" + text + "\" is not a number from 0 to 1");
  return value;
}

void declare_link(Tool& tool, Settings& settings) {
  Shape& shape = settings.shape;
  OptionSet& set = tool.options();
  set.parsed("--delay", "TIME", "Delay each way: 0.5ms, 10ms",
             [&shape](const std::string& t) { shape.delay = parse_delay(t); });
  set.parsed("--rate", "BITS", "Bits a second each way: 100M, 1G",
             [&shape](const std::string& t) { shape.bits_per_second = parse_rate(t); });
  set.size("--queue", shape.queue, "With --rate: bytes that wait before the link");
  set.size("--segment", shape.segment, "Hand over at most SIZE bytes at once");
  set.parsed("--slow-loris", "TIME", "Hand over one byte each TIME", [&shape](const std::string& t) {
    shape.segment = 1;
    shape.pause = parse_delay(t);
  });
}

void declare_faults(Tool& tool, Settings& settings) {
  FaultPlan& plan = settings.plan;
  OptionSet& set = tool.options();
  const auto probability = [&set](const char* name, double& value, const char* help) {
    set.parsed(name, "P", help, [&value](const std::string& t) { value = parse_probability(t); });
  };
  set.number("--seed", plan.seed, 0, UINT64_MAX, "Other faults, as many");
  set.parsed("--record", "SIZE|PREFIX",
             "Records: blocks of SIZE (1K), or led by their length: be16, le16, be32, le32",
             [&plan](const std::string& t) { plan.framing = parse_framing(t); });
  set.size("--skip", plan.skip, "Leave the first SIZE bytes each way alone");
  probability("--flip", plan.flip, "Flip a bit of a record");
  probability("--drop", plan.drop, "Drop a record");
  probability("--duplicate", plan.duplicate, "Send a record twice");
  probability("--reorder", plan.reorder, "Send a record after the next one");
  set.size("--reset-after", settings.reset_after, "RST after SIZE bytes one way");
  set.size("--black-hole-after", settings.hole_after, "Silence after SIZE bytes one way");
  set.flag("--half-open", settings.half_open, "Never tell one side that the other has gone");
}

void declare(Tool& tool, Options& options) {
  OptionSet& set = tool.options();
  set.text("-l,--listen", "ADDR", options.listen, "Where to listen", OptionSet::Need::required);
  set.text("-c,--connect", "ADDR", options.connect, "The target", OptionSet::Need::required);
  set.text("--report", "FILE", options.report, "Write the closing line to FILE");
  set.text("--direction", "WAY", options.direction, "Faults in what goes up (to the target), down or both");
  declare_link(tool, options.settings);
  declare_faults(tool, options.settings);
}

void answer_words(Tool& tool, Proxy& proxy) {
  tool.control().on("stats", [&] { return proxy.stats(); });
  tool.control().on("cut", [&] { return proxy.cut(); });
  tool.control().on("hole on", [&] { return proxy.hole(true); });
  tool.control().on("hole off", [&] { return proxy.hole(false); });
  tool.control().on_with("delay", [&](const std::string& time) { return proxy.delay(time); });
}

void accept_clients(Tool& tool, Listener& listener, Proxy& proxy) {
  TaskGroup clients;
  // However this is left: the clients' threads end with the tool.
  const struct Ending {
    Stop& stop;
    ~Ending() { stop.request(); }
  } ending{tool.stop()};
  for (std::uint64_t number = 0;; ++number) {
    auto client = std::make_shared<Fd>(listener.accept(tool.stop()));
    if (!client->valid()) return;
    clients.spawn([&tool, &proxy, number, client] {
      proxy.serve(std::move(*client), number, tool.stop());
    });
  }
}

int serve(Tool& tool, Options& options) {
  if (options.direction != "up" && options.direction != "down" && options.direction != "both")
    throw std::invalid_argument("--direction: \"" + options.direction + "\" is not up, down or both");
  options.settings.faults_up = options.direction != "down";
  options.settings.faults_down = options.direction != "up";
  Proxy proxy(options.settings, parse_address(options.connect));
  answer_words(tool, proxy);
  Listener listener(parse_address(options.listen));
  const std::string address = to_text(listener.address());
  tool.events().send(Json().add("event", "listening").add("address", address));
  if (!tool.json()) write_full(STDOUT_FILENO, as_bytes(address + "\n"), "stdout");
  tool.ready();
  const Control::Opened answering(tool.control());
  accept_clients(tool, listener, proxy);

  const Fd file = options.report.empty() ? duplicate(STDOUT_FILENO)
                                         : open_file(options.report, O_WRONLY | O_CREAT | O_TRUNC);
  write_full(file.get(), as_bytes(proxy.stats().text() + "\n"), "report");
  return kDone;
}

}  // namespace

}  // namespace r3::fault

int main(int argc, char** argv) {
  using namespace r3;
  fault::Options options;
  return run(
      argc, argv, fault::kAbout, [&](Tool& tool) { fault::declare(tool, options); },
      [&](Tool& tool) { return fault::serve(tool, options); });
}

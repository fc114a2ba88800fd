// SPDX-License-Identifier: Apache-2.0
// nbd-load: how fast is an NBD server? A client that costs as little as it can: one thread keeps
// --depth requests under way, takes whatever replies one recv brings, and sends the requests that
// take their places with one send. Prints one line of JSON: operations and megabytes a second,
// latency, its own CPU time an operation and, with --pid, the server's.
//
//   nbd-load unix:server.sock --block 4K --depth 64 --time 2s --pid 1234
//
// With --verify every 8 bytes are to be their own offset (big-endian): writes write that, reads check
// it. Without, bytes are counted only, so that the client does not hide the server.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/socket.hpp"
#include "tests/bench/gather.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

constexpr About kAbout{"nbd-load", "put a load on an NBD server and time it",
                       "  nbd-load unix:server.sock --block 4K --depth 64 --time 2s\n"};

struct Options {
  std::string address;
  std::string export_name;
  bool write = false;
  bool sequential = false;
  bool verify = false;
  bool fill = false;
  std::uint64_t block = 4096;
  std::uint64_t depth = 1;
  std::chrono::milliseconds time{2000};
  std::uint64_t spin_us = 0;
  std::uint64_t seed = 1;
  pid_t pid = 0;
};

// CPU time that a process has used so far, in seconds.
double cpu_of_process(pid_t pid) {
  const std::string stat = read_small_file("/proc/" + std::to_string(pid) + "/stat");
  unsigned long user = 0, system = 0;
  // The name, in parentheses, may hold blanks: the fields are counted from behind it.
  if (std::sscanf(stat.c_str() + stat.rfind(')') + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
    fail(EIO, "/proc/PID/stat");
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double cpu_of_self() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class Load {
 public:
  Load(Channel channel, const Options& options)
      : options_(options), channel_(std::move(channel)), random_(options.seed), slots_(options.depth) {
    negotiate();
    if (options_.block == 0 || options_.block % 8 != 0 || options_.block > nbd::kLongestPayload)
      throw std::invalid_argument("--block is a multiple of 8 up to 32M");
    blocks_ = size_ / options_.block;
    if (blocks_ == 0) throw std::invalid_argument("--block is larger than the export");
    free_.resize(slots_.size());
    std::iota(free_.begin(), free_.end(), 0);
    input_.resize(std::max<std::size_t>(512 * KiB, sizeof(nbd::SimpleReply)));
    payloads_.resize(options_.block * (options_.verify ? options_.depth : 1));
  }

  // Every block once, in order; not timed.
  void write_all() { run(true, true, Clock::time_point::max(), blocks_); }

  void timed() {
    latencies_.clear();
    latencies_.reserve(1 << 22);
    const auto begin = Clock::now();
    const double server = options_.pid != 0 ? cpu_of_process(options_.pid) : 0;
    const double self = cpu_of_self();
    const std::uint64_t done =
        run(options_.write, options_.sequential, begin + options_.time, UINT64_MAX);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    report(done, seconds, options_.pid != 0 ? cpu_of_process(options_.pid) - server : 0,
           cpu_of_self() - self);
  }

  void disconnect() {
    const nbd::Request bye{nbd::kRequestMagic, 0, nbd::kDisconnect, 0, 0, 0};
    send_all(std::as_bytes(std::span(&bye, 1)));
  }

 private:
  struct Slot {
    std::uint64_t offset = 0;
    Clock::time_point sent;
    nbd::Request request;
  };

  void negotiate();
  std::uint64_t run(bool write, bool sequential, Clock::time_point deadline, std::uint64_t count);
  void issue(bool write, bool sequential, Clock::time_point now);
  std::uint64_t parse(ConstBytes input, bool write);
  void complete(std::uint64_t cookie, Clock::time_point now);
  ConstBytes receive();
  void send_all(ConstBytes bytes) { write_full(channel_.output(), bytes, options_.address); }
  void check_payload(ConstBytes part, std::uint64_t at);
  void report(std::uint64_t done, double seconds, double server, double self);

  const Options& options_;
  Channel channel_;
  std::mt19937_64 random_;
  std::uint64_t size_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t next_block_ = 0;
  std::vector<Slot> slots_;           // by cookie
  std::vector<std::uint64_t> free_;   // cookies that are not under way
  Gather output_;
  std::vector<std::byte> input_;
  std::vector<std::byte> payloads_;
  std::size_t kept_ = 0;              // bytes of half a reply at the beginning of input_
  std::uint64_t body_left_ = 0;       // of the reply whose payload is arriving
  std::uint64_t body_cookie_ = 0;
  Clock::time_point received_;
  std::vector<std::uint32_t> latencies_;  // ns
};

void Load::negotiate() {
  const auto read = [&](auto& into) {
    if (read_full(channel_.input(), std::as_writable_bytes(std::span(&into, 1))) != sizeof into)
      throw ProtocolError("the server hung up in the handshake");
  };
  nbd::Hello hello;
  read(hello);
  if (hello.magic != nbd::kHelloMagic || hello.version != nbd::kOptionMagic)
    throw ProtocolError("the server does not speak newstyle NBD");
  struct {
    nbd::Be32 flags{nbd::kFixedNewstyle | nbd::kNoZeroes};
    nbd::OptionRequest option{nbd::kOptionMagic, nbd::kOptGo, 0};
    nbd::Be32 name_length;
  } go;
  const auto name = as_bytes(options_.export_name);
  go.option.length = static_cast<std::uint32_t>(name.size() + 6);
  go.name_length = static_cast<std::uint32_t>(name.size());
  send_all(std::as_bytes(std::span(&go, 1)));
  send_all(name);
  const nbd::Be16 no_infos{0};
  send_all(std::as_bytes(std::span(&no_infos, 1)));
  for (;;) {
    nbd::OptionReply reply;
    read(reply);
    std::vector<std::byte> data(std::min<std::uint32_t>(reply.length, 64 * KiB));
    read_full(channel_.input(), data);
    if (reply.type == nbd::kRepAck) return;
    if (reply.type & nbd::kRepError) throw ProtocolError("the server refused the export");
    nbd::InfoExport info;
    if (data.size() < sizeof info) continue;
    std::memcpy(&info, data.data(), sizeof info);
    if (info.type == nbd::kInfoExport) size_ = info.size;
  }
}

std::uint64_t Load::run(bool write, bool sequential, Clock::time_point deadline,
                        std::uint64_t count) {
  std::uint64_t started = 0, done = 0;
  received_ = Clock::now();
  while (done < started || (started < count && received_ < deadline)) {
    for (; !free_.empty() && started < count && received_ < deadline; ++started)
      issue(write, sequential, received_);
    output_.send(channel_.output());
    if (done < started) done += parse(receive(), write);
  }
  return done;
}

void Load::issue(bool write, bool sequential, Clock::time_point now) {
  const std::uint64_t block = sequential ? next_block_++ % blocks_ : random_() % blocks_;
  const std::uint64_t cookie = free_.back();
  free_.pop_back();
  Slot& slot = slots_[cookie];
  slot.offset = block * options_.block;
  slot.sent = now;
  slot.request = {nbd::kRequestMagic, 0,           write ? nbd::kWrite : nbd::kRead,
                  cookie,             slot.offset, static_cast<std::uint32_t>(options_.block)};
  output_.add(std::as_bytes(std::span(&slot.request, 1)));
  if (!write) return;
  // One payload does for all unless each has to say where it belongs.
  const Bytes payload = Bytes(payloads_).subspan(options_.verify ? cookie * options_.block : 0,
                                                 options_.block);
  if (options_.verify)
    for (std::size_t i = 0; i < payload.size(); i += 8) store_be(&payload[i], slot.offset + i);
  output_.add(payload);
}

// One recv, behind what was kept. Spins for a while first, if asked to: on an idle machine waking up
// costs more than the whole operation.
ConstBytes Load::receive() {
  std::byte* const into = input_.data() + kept_;
  const std::size_t room = input_.size() - kept_;
  ssize_t got = -1;
  if (options_.spin_us > 0) {
    const auto until = Clock::now() + std::chrono::microseconds(options_.spin_us);
    do {
      got = ::recv(channel_.input(), into, room, MSG_DONTWAIT);
    } while (got < 0 && errno == EAGAIN && Clock::now() < until);
  }
  if (got < 0) got = check(::recv(channel_.input(), into, room, 0), options_.address);
  if (got == 0) throw ProtocolError("the server hung up");
  received_ = Clock::now();
  const std::size_t all = kept_ + static_cast<std::size_t>(got);
  kept_ = 0;
  return {input_.data(), all};
}

// Returns how many operations ended in `input`.
std::uint64_t Load::parse(ConstBytes input, bool write) {
  std::uint64_t done = 0;
  while (!input.empty()) {
    if (body_left_ > 0) {
      const auto part = input.first(std::min<std::uint64_t>(body_left_, input.size()));
      if (options_.verify) check_payload(part, options_.block - body_left_);
      input = input.subspan(part.size());
      body_left_ -= part.size();
      if (body_left_ > 0) break;
      complete(body_cookie_, received_);
      ++done;
      continue;
    }
    nbd::SimpleReply reply;
    if (input.size() < sizeof reply) {
      std::memmove(input_.data(), input.data(), input.size());
      kept_ = input.size();
      break;
    }
    std::memcpy(&reply, input.data(), sizeof reply);
    input = input.subspan(sizeof reply);
    if (reply.magic != nbd::kSimpleReplyMagic || reply.cookie >= slots_.size())
      throw ProtocolError("a reply that makes no sense");
    if (reply.error != 0) fail(static_cast<int>(reply.error.operator unsigned()), "the server");
    if (write) {
      complete(reply.cookie, received_);
      ++done;
    } else {
      body_left_ = options_.block;
      body_cookie_ = reply.cookie;
    }
  }
  return done;
}

void Load::complete(std::uint64_t cookie, Clock::time_point now) {
  const auto took = std::chrono::nanoseconds(now - slots_[cookie].sent).count();
  latencies_.push_back(static_cast<std::uint32_t>(std::min<long>(took, UINT32_MAX)));
  free_.push_back(cookie);
}

void Load::check_payload(ConstBytes part, std::uint64_t at) {
  const std::uint64_t offset = slots_[body_cookie_].offset + at;
  for (std::uint64_t i = 0; i < part.size(); ++i) {
    const std::uint64_t word = (offset + i) / 8 * 8;
    const auto expected = static_cast<std::byte>(word >> (8 * (7 - (offset + i) % 8)));
    if (part[i] != expected) throw ProtocolError("wrong byte at " + std::to_string(offset + i));
  }
}

void Load::report(std::uint64_t done, double seconds, double server, double self) {
  const auto quantile = [&](double q) {
    if (latencies_.empty()) return 0.0;
    const auto at = latencies_.begin() +
                    static_cast<std::ptrdiff_t>(q * static_cast<double>(latencies_.size() - 1));
    std::nth_element(latencies_.begin(), at, latencies_.end());
    return *at * 1e-3;
  };
  const double ops = static_cast<double>(done);
  Json json;
  json.add("ops", ops / seconds).add("mb", ops * double(options_.block) / seconds * 1e-6);
  json.add("p50_us", quantile(.5)).add("p99_us", quantile(.99));
  json.add("client_cpu_us", self / ops * 1e6);
  if (options_.pid != 0) json.add("server_cpu_us", server / ops * 1e6);
  std::printf("%s\n", json.text().c_str());
}

void declare(Tool& tool, Options& options) {
  OptionSet& set = tool.options();
  set.argument("ADDRESS", options.address, "unix:PATH or tcp://HOST:PORT");
  set.text("--export", "NAME", options.export_name, "Name of the export");
  set.flag("--write", options.write, "Write; without it, read");
  set.flag("--sequential", options.sequential, "In order; without it, at random");
  set.flag("--verify", options.verify, "Write a pattern, check it when reading");
  set.flag("--fill", options.fill, "Write every block once before the clock starts");
  set.size("--block", options.block, "Bytes of an operation (4096)");
  set.number("--depth", options.depth, 1, 4096, "Operations under way");
  set.duration("--time", options.time, "How long (2s)");
  set.number("--spin", options.spin_us, 0, 1'000'000, "Look for replies for so many microseconds, then wait");
  set.number("--seed", options.seed, 0, UINT64_MAX, "Of the offsets");
  set.parsed("--pid", "N", "The server's process, for its CPU time", [&options](const std::string& text) {
    options.pid = static_cast<pid_t>(parse_number(text, INT32_MAX));
  });
}

int load(Tool& tool, const Options& options) {
  Load load(connect_to(parse_address(options.address), std::chrono::seconds(10), tool.stop()), options);
  if (options.fill) load.write_all();
  if (options.time.count() > 0) load.timed();
  load.disconnect();
  return kDone;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  using namespace r3;
  Options options;
  return run(
      argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
      [&](Tool& tool) { return load(tool, options); });
}

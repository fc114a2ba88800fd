// SPDX-License-Identifier: Apache-2.0
// What hiredis does by itself: DEPTH values of a region's keys are read (GET) or written (SET) in one pipeline over one
// connection. Prints one line of JSON as region-load does.
//
//   redis_straight SOCKET NAME read|write BLOCK DEPTH SECONDS KEYS
#include <hiredis/hiredis.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

struct Straight {
  redisContext* server;
  std::string name;
  bool writes;
  std::vector<char> bytes;  // a block
  unsigned long long keys, next = 0;

  void ask() {
    char key[64];
    std::snprintf(key, sizeof key, "r3:{%s}:%llx", name.c_str(), next++ % keys);
    if (writes) ::redisAppendCommand(server, "SET %s %b", key, bytes.data(), bytes.size());
    else ::redisAppendCommand(server, "GET %s", key);
  }

  // The bytes end where a caller wants them, as ours do.
  void take() {
    void* got = nullptr;
    if (::redisGetReply(server, &got) != REDIS_OK) throw std::runtime_error(server->errstr);
    auto* reply = static_cast<redisReply*>(got);
    const bool right = writes ? reply->type == REDIS_REPLY_STATUS
                              : reply->type == REDIS_REPLY_STRING && reply->len == bytes.size();
    if (right && !writes) std::memcpy(bytes.data(), reply->str, bytes.size());
    ::freeReplyObject(reply);
    if (!right) throw std::runtime_error("another answer than expected");
  }
};

int run(char** argv) {
  Straight one{::redisConnectUnix(argv[1]), argv[2], std::string(argv[3]) == "write", {}, std::strtoull(argv[7], nullptr, 10)};
  if (!one.server || one.server->err) throw std::runtime_error("no server");
  one.bytes.resize(r3::parse_size(argv[4]));
  std::mt19937_64 random(1);
  for (auto& b : one.bytes) b = static_cast<char>(random());
  const unsigned long depth = std::strtoul(argv[5], nullptr, 10);
  const std::chrono::duration<double> seconds(std::strtod(argv[6], nullptr));
  const double before = cpu_seconds();
  const auto begun = Clock::now();
  double done = 0;
  for (unsigned long i = 0; i < depth; ++i) one.ask();
  for (; Clock::now() - begun < seconds; ++done) {
    one.take();
    one.ask();
  }
  const double took = std::chrono::duration<double>(Clock::now() - begun).count();
  r3::Json line;
  line.add("ops", done / took).add("mb", done * static_cast<double>(one.bytes.size()) / took / 1e6)
      .add("cpu_us", (cpu_seconds() - before) / done * 1e6);
  std::puts(line.text().c_str());
  ::redisFree(one.server);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fputs("redis_straight: SOCKET NAME read|write BLOCK DEPTH SECONDS KEYS\n", stderr);
    return 2;
  }
  try {
    return run(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redis_straight: %s\n", error.what());
    return 1;
  }
}

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/events.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <thread>

#include "libcommon/base/fd.hpp"

namespace {

using r3::Json;

std::string quoted(std::string_view text) {
  return Json().add("t", text).text();
}

TEST(Json, KeepsOrderAndTypes) {
  EXPECT_EQ(Json().text(), "{}");
  EXPECT_EQ(Json()
                .add("event", "ready")
                .add("size", ~std::uint64_t{0})
                .add("n", -1)
                .add("rate", 0.5)
                .add("on", true)
                .add_raw("list", "[1]")
                .text(),
            R"({"event":"ready","size":18446744073709551615,"n":-1,"rate":0.5,"on":true,"list":[1]})");
}

TEST(Json, NumbersThatJsonHasNotAreNull) {
  EXPECT_EQ(Json().add("x", std::numeric_limits<double>::infinity()).text(), R"({"x":null})");
  EXPECT_EQ(Json().add("x", std::nan("")).text(), R"({"x":null})");
}

TEST(Json, EscapesWhatWouldEndTheLineOrTheText) {
  EXPECT_EQ(quoted("a\"b\\c\nd\x7f"), R"({"t":"a\"b\\c\u000ad\u007f"})");
  EXPECT_EQ(quoted(std::string_view("\0", 1)), R"({"t":"\u0000"})");
}

TEST(Json, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(quoted("käse 🧀"), R"({"t":"käse 🧀"})");
  EXPECT_EQ(quoted("\xff"), "{\"t\":\"\xef\xbf\xbd\"}");
  EXPECT_EQ(quoted("\xc3"), "{\"t\":\"\xef\xbf\xbd\"}");        // cut short
  EXPECT_EQ(quoted("\xc0\xaf").find('\xc0'), std::string::npos);  // overlong
}

std::string read_all(int fd) {
  std::string all(1 << 20, '\0');
  all.resize(r3::read_full(fd, std::as_writable_bytes(std::span(all))));
  return all;
}

TEST(Events, LinesOfSeveralThreadsNeverMix) {
  auto [read_end, write_end] = r3::make_pipe();
  {
    r3::Events events({write_end.get()});
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&events] {
        for (int i = 0; i < 50; ++i) events.send(Json().add("event", "tick").add("n", 7));
      });
  }
  write_end.reset();
  std::string expected;
  for (int i = 0; i < 200; ++i) expected += "{\"event\":\"tick\",\"n\":7}\n";
  EXPECT_EQ(read_all(read_end.get()), expected);
}

TEST(Events, AReaderThatHasGoneAwayIsKnownButDoesNoHarm) {
  ::signal(SIGPIPE, SIG_IGN);
  auto [read_end, write_end] = r3::make_pipe();
  read_end.reset();
  r3::Events events({write_end.get()});
  EXPECT_EQ(events.error_of(write_end.get()), 0);
  events.send(Json().add("event", "x"));
  EXPECT_EQ(events.error_of(write_end.get()), EPIPE);
}

// A pipe that nobody reads is given up after a second, once; what was lost is counted.
TEST(Events, AReaderThatStallsLosesEventsAndIsTold) {
  auto [read_end, write_end] = r3::make_pipe();
  ::fcntl(write_end.get(), F_SETPIPE_SZ, 4096);
  r3::Events events({write_end.get()});
  const Json big = Json().add("event", std::string(4000, 'x'));
  for (int i = 0; i < 3; ++i) events.send(big);
  std::string first(big.text().size() + 1, '\0');
  r3::read_full(read_end.get(), std::as_writable_bytes(std::span(first)));
  events.send(Json().add("event", "next"));
  write_end.reset();
  EXPECT_EQ(read_all(read_end.get()), "{\"event\":\"lost\",\"count\":2}\n{\"event\":\"next\"}\n");
}

}  // namespace

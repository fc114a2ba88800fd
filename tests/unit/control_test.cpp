// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/control.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/cli/metrics.hpp"

namespace {

using r3::Json;

TEST(Control, AnswersTheToolsWordsOnlyWhileOpened) {
  r3::Control control;
  control.on("flush", [] { return Json().add("flushed", true); });
  EXPECT_EQ(control.reply_to("flush"), R"({"error":"not ready"})");
  {
    const r3::Control::Opened opened(control);
    EXPECT_EQ(control.reply_to("flush"), R"({"flushed":true})");
    EXPECT_EQ(control.reply_to("nonsense"), R"({"error":"unknown word nonsense"})");
  }
  EXPECT_EQ(control.reply_to("flush"), R"({"error":"stopping"})");
}

TEST(Control, StatusIsEverybodysMembersAndThenTheTools) {
  r3::Control control;
  control.set_own("status", [] { return Json().add("state", "ready"); });
  control.on("status", [] { return Json().add("size", 1); });
  EXPECT_EQ(control.reply_to("status"), R"({"state":"ready"})");
  const r3::Control::Opened opened(control);
  EXPECT_EQ(control.reply_to("status"), R"({"state":"ready","size":1})");
}

// A tool may open before it is ready as well as after.
TEST(Control, WhatIsOpenStaysOpenWhenTheToolIsReady) {
  r3::Control control;
  control.on("flush", [] { return Json().add("flushed", true); });
  control.on_with("delay", [](const std::string& time) { return Json().add("delay", time); });
  const r3::Control::Opened opened(control);
  control.expect();
  EXPECT_EQ(control.reply_to("flush"), R"({"flushed":true})");
  EXPECT_EQ(control.reply_to("delay 5 ms"), R"({"delay":"5 ms"})");
}

TEST(Control, AReadyToolsQuestionsWaitForItToOpen) {
  r3::Control control;
  control.on("flush", [] { return Json().add("flushed", true); });
  control.expect();
  std::string reply;
  std::jthread asking([&] { reply = control.reply_to("flush"); });
  const r3::Control::Opened opened(control);
  asking.join();
  EXPECT_EQ(reply, R"({"flushed":true})");
}

TEST(Control, AnAnswerThatThrowsIsAnError) {
  r3::Control control;
  control.on("break", []() -> Json { r3::fail(ENOSPC, "disk.img"); });
  const r3::Control::Opened opened(control);
  EXPECT_EQ(control.reply_to("break"), R"({"error":"disk.img: No space left on device"})");
}

// What an answer uses may be destroyed as soon as Opened has ended.
TEST(Control, ClosingWaitsForTheAnswersUnderWay) {
  r3::Control control;
  std::promise<void> begun, may_end;
  std::atomic<bool> ended{false};
  control.on("slow", [&] {
    begun.set_value();
    may_end.get_future().wait();
    ended = true;
    return Json();
  });
  std::jthread asking;
  std::jthread releasing;
  {
    const r3::Control::Opened opened(control);
    asking = std::jthread([&control] { control.reply_to("slow"); });
    begun.get_future().wait();
    releasing = std::jthread([&may_end] { may_end.set_value(); });
  }
  EXPECT_TRUE(ended);
}

std::string read_line(int fd) {
  std::string line;
  for (char c = 0; c != '\n';) {
    if (r3::read_full(fd, std::as_writable_bytes(std::span(&c, 1))) == 0) break;
    line += c;
  }
  return line;
}

class ControlConnection : public testing::Test {
 protected:
  ControlConnection() : pair(r3::make_socket_pair()) {
    control.set_own("stop", [] { return Json().add("stopping", true); });
  }
  void serve() { r3::serve_control(pair.theirs.get(), control, stop); }
  void send(std::string_view text) { r3::write_full(pair.ours.get(), r3::as_bytes(text)); }

  r3::Control control;
  r3::SocketPair pair;
  r3::Stop stop;
};

TEST_F(ControlConnection, AnswersLineByLineHoweverTheyArrive) {
  std::jthread server([this] { serve(); });
  send("st");
  send("op\r\nstop\nwhat");
  EXPECT_EQ(read_line(pair.ours.get()), "{\"stopping\":true}\n");
  EXPECT_EQ(read_line(pair.ours.get()), "{\"stopping\":true}\n");
  send("\n");
  EXPECT_EQ(read_line(pair.ours.get()), "{\"error\":\"unknown word what\"}\n");
  stop.request();
}

TEST_F(ControlConnection, ALineWithoutEndIsRefused) {
  send(std::string(9000, 'x'));
  EXPECT_THROW(serve(), r3::ProtocolError);
}

TEST_F(ControlConnection, EndsWithItsPeer) {
  pair.ours.reset();
  serve();
}

TEST(Metrics, NumbersBecomeGauges) {
  const Json status =
      Json().add("state", "ready").add("size", 4096).add("round-trip", 0.25).add("on", true);
  EXPECT_EQ(r3::to_openmetrics("nbd-serve", status),
            "# TYPE r3_nbd_serve_size gauge\nr3_nbd_serve_size 4096\n"
            "# TYPE r3_nbd_serve_round_trip gauge\nr3_nbd_serve_round_trip 0.25\n# EOF\n");
}

std::string http(std::string_view request) {
  r3::SocketPair pair = r3::make_socket_pair();
  r3::write_full(pair.ours.get(), r3::as_bytes(request));
  ::shutdown(pair.ours.get(), SHUT_WR);
  const r3::Stop stop;
  r3::serve_metrics(pair.theirs.get(), "t", [] { return Json().add("n", 1); }, stop);
  pair.theirs.reset();
  std::string answer(4096, '\0');
  answer.resize(r3::read_full(pair.ours.get(), std::as_writable_bytes(std::span(answer))));
  return answer;
}

TEST(Metrics, AnswersOneGet) {
  const std::string answer = http("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.0 200 OK\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n# TYPE r3_t_n gauge\nr3_t_n 1\n# EOF\n"));
  EXPECT_NE(answer.find("Content-Length: 35\r\n"), std::string::npos);
}

TEST(Metrics, RefusesTheRest) {
  EXPECT_TRUE(http("GET /secret HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
  EXPECT_TRUE(http("PUT / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405 "));
  EXPECT_EQ(http("GET / HTTP/1.0\r\n"), "");
  EXPECT_EQ(http(std::string(8192, 'x')), "");
}

}  // namespace

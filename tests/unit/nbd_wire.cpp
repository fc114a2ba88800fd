// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd_wire.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "libcommon/base/error.hpp"

namespace r3::test {

using namespace nbd;

WireClient::WireClient(Fd socket) : socket_(std::move(socket)) {
  // A test that waits for bytes that never come has failed.
  const timeval limit{20, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

void WireClient::send(const ByteString& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const auto n = ::send(fd(), &bytes[done], bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0) return;  // the server has closed: the test sees that when it reads
    done += static_cast<std::size_t>(n);
  }
}

ByteString WireClient::receive(std::size_t count) {
  ByteString bytes(count);
  for (std::size_t done = 0; done < count;) {
    const auto n = ::recv(fd(), &bytes[done], count - done, 0);
    if (n < 0 && errno == EAGAIN) ADD_FAILURE() << "no answer within 20 s";
    if (n <= 0) return {};
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

bool WireClient::closed() {
  std::byte one;
  const auto n = ::recv(fd(), &one, 1, 0);
  if (n < 0 && errno == EAGAIN) ADD_FAILURE() << "still open after 20 s";
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

void WireClient::reset_connection() {
  const linger at_once{1, 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket_.reset();
}

void WireClient::greet(std::uint32_t client_flags) {
  const auto hello = receive(sizeof(Hello));
  ASSERT_EQ(hello.size(), sizeof(Hello));
  send(join(Be32(client_flags)));
}

void WireClient::option(std::uint32_t number, const ByteString& data) {
  send(join(OptionRequest{kOptionMagic, number, static_cast<std::uint32_t>(data.size())}, data));
}

OptionAnswer WireClient::answer() {
  const auto head = receive(sizeof(OptionReply));
  if (head.empty()) return {};
  const auto& wire = *reinterpret_cast<const OptionReply*>(head.data());
  EXPECT_EQ(wire.magic, kOptionReplyMagic);
  return {wire.option, wire.type, receive(wire.length)};
}

std::vector<OptionAnswer> WireClient::ask_all(std::uint32_t number, const ByteString& data) {
  option(number, data);
  std::vector<OptionAnswer> all;
  do all.push_back(answer());
  while (all.back().type == kRepServer || all.back().type == kRepInfo ||
         all.back().type == kRepMetaContext);
  return all;
}

ByteString WireClient::go_data(std::string_view name, const std::vector<std::uint16_t>& infos) {
  auto data = join(Be32(static_cast<std::uint32_t>(name.size())), name,
                   Be16(static_cast<std::uint16_t>(infos.size())));
  for (const auto info : infos) append(data, Be16(info));
  return data;
}

ByteString WireClient::meta_data(std::string_view name, const std::vector<std::string>& queries) {
  auto data = join(Be32(static_cast<std::uint32_t>(name.size())), name,
                   Be32(static_cast<std::uint32_t>(queries.size())));
  for (const auto& query : queries)
    append(data, join(Be32(static_cast<std::uint32_t>(query.size())), std::string_view(query)));
  return data;
}

void WireClient::go(std::string_view name) {
  const auto answers = ask_all(kOptGo, go_data(name));
  ASSERT_EQ(answers.back().type, kRepAck);
  for (const auto& each : answers) {
    if (each.type != kRepInfo || load_be<std::uint16_t>(each.data.data()) != kInfoExport) continue;
    const auto& info = *reinterpret_cast<const InfoExport*>(each.data.data());
    size = info.size;
    flags = info.flags;
  }
}

void WireClient::request(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
                         std::uint16_t command_flags, std::uint64_t cookie) {
  send(join(Request{kRequestMagic, command_flags, type, cookie, offset, length}));
}

void WireClient::extended(std::uint16_t type, std::uint64_t offset, std::uint64_t length,
                          std::uint16_t command_flags, std::uint64_t cookie) {
  send(join(ExtendedRequest{kExtendedRequestMagic, command_flags, type, cookie, offset, length}));
}

std::uint32_t WireClient::simple(std::uint64_t cookie) {
  const auto bytes = receive(sizeof(SimpleReply));
  if (bytes.empty()) {
    ADD_FAILURE() << "the server closed instead of answering";
    return ~0U;
  }
  const auto& reply = *reinterpret_cast<const SimpleReply*>(bytes.data());
  EXPECT_EQ(reply.magic, kSimpleReplyMagic);
  EXPECT_EQ(reply.cookie, cookie);
  return reply.error;
}

Chunked WireClient::chunk() {
  const auto bytes = receive(sizeof(ChunkHeader));
  if (bytes.empty()) return {};
  const auto& head = *reinterpret_cast<const ChunkHeader*>(bytes.data());
  EXPECT_EQ(head.magic, kStructuredReplyMagic);
  return {head.flags, head.type, head.cookie, 0, receive(head.length)};
}

Chunked WireClient::extended_chunk() {
  const auto bytes = receive(sizeof(ExtendedChunkHeader));
  if (bytes.empty()) return {};
  const auto& head = *reinterpret_cast<const ExtendedChunkHeader*>(bytes.data());
  EXPECT_EQ(head.magic, kExtendedReplyMagic);
  return {head.flags, head.type, head.cookie, head.offset, receive(head.length)};
}

WireServer::WireServer(std::vector<NbdExport> exports, NbdServerOptions options)
    : server(std::move(exports), options) {}

WireServer::~WireServer() {
  stop.request();
  join();
}

unsigned WireServer::join() {
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  return errors_;
}

WireClient WireServer::start(std::function<void(Channel)> serve) {
  auto pair = make_socket_pair();
  threads_.emplace_back([this, serve, socket = std::move(pair.theirs)]() mutable {
    try {
      serve(Channel(std::move(socket)));
    } catch (const std::exception&) {
      ++errors_;
    }
  });
  return WireClient(std::move(pair.ours));
}

WireClient WireServer::connect() {
  return start([this](Channel channel) { server.serve(std::move(channel), stop); });
}

WireClient WireServer::connect_only() {
  auto client = start([this](Channel channel) { server.serve_only(std::move(channel), stop); });
  client.greet();
  client.go();
  return client;
}

WireClient WireServer::connect_attached(const NbdExport& exported) {
  return start([this, exported](Channel channel) {
    server.serve_attached(std::move(channel), exported, stop);
  });
}

WireClient WireServer::connect_to(std::string_view name) {
  auto client = connect();
  client.greet();
  client.go(name);
  return client;
}

WireClient WireServer::structured(bool with_context) {
  auto client = connect();
  client.greet();
  EXPECT_EQ(client.ask(kOptStructuredReply).type, kRepAck);
  if (with_context)
    client.ask_all(kOptSetMetaContext, WireClient::meta_data("", {"base:allocation"}));
  client.go();
  return client;
}

WireClient WireServer::extended(bool with_context) {
  auto client = connect();
  client.greet();
  EXPECT_EQ(client.ask(kOptExtendedHeaders).type, kRepAck);
  if (with_context)
    client.ask_all(kOptSetMetaContext, WireClient::meta_data("", {"base:allocation"}));
  client.go();
  return client;
}

}  // namespace r3::test

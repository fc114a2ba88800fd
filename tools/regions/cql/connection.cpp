// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/cql/connection.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "tools/regions/kept.hpp"

namespace r3 {

namespace {

constexpr std::size_t kReadPiece = 256 * KiB;
constexpr std::uint16_t kMostStreams = 32767;

enum Code : std::uint32_t {
  server_error = 0x0000, protocol_error = 0x000a, bad_credentials = 0x0100, unavailable = 0x1000, overloaded = 0x1001,
  bootstrapping = 0x1002, write_timeout = 0x1100, read_timeout = 0x1200, cas_unknown = 0x1700, unauthorized = 0x2100,
  invalid = 0x2200, config_error = 0x2300, unprepared = 0x2500,
};

// Another try may do better.
bool is_passing(std::uint32_t code) {
  for (const auto one : {unavailable, overloaded, bootstrapping, write_timeout, read_timeout, cas_unknown, unprepared})
    if (code == one) return true;
  return false;
}

int errno_of(const CqlRefusal& refusal) {
  const auto says = [&](const char* words) { return refusal.text.find(words) != refusal.text.npos; };
  switch (refusal.code) {
    case bad_credentials:
    case unauthorized: return EACCES;
    case invalid:
    case config_error: return says("does not exist") || says("doesn't exist") || says("unconfigured table") ? ENOENT : EINVAL;
    default: return EIO;
  }
}

}  // namespace

CqlConnection::CqlConnection(const Address& server, std::uint8_t version, const CqlLogin& login,
                             std::chrono::milliseconds timeout, const Stop& stop)
    : name_(to_text(server)),
      version_(version),
      channel_(connect_to(server, timeout, stop)),
      stream_(std::make_unique<FdStream>(channel_.input(), channel_.output(), stop)),
      outbox_(version),
      buffer_(kReadPiece) {
  set_deadline(std::chrono::steady_clock::now() + timeout);
  start(login);
}

void CqlConnection::start(const CqlLogin& login) {
  CqlBody options;
  options.u16(1).text("CQL_VERSION").text("3.0.0");
  const CqlFrame answer = exchange(CqlOpcode::startup, options);
  if (answer.version != version_ || (answer.opcode == CqlOpcode::error &&
                                     parse_cql_error(answer.body).code == protocol_error))
    throw CqlVersionUnknown(name_ + ": the server does not speak version " + std::to_string(version_));
  if (answer.opcode == CqlOpcode::error) refuse(answer);
  segments_ = version_ >= 5;
  if (segments_) inbox_.use_segments();
  if (answer.opcode == CqlOpcode::authenticate) return log_in(login);
  if (answer.opcode != CqlOpcode::ready) throw ProtocolError(name_ + ": an answer of the wrong kind");
}

// SASL PLAIN, which is what PasswordAuthenticator and those like it take.
void CqlConnection::log_in(const CqlLogin& login) {
  if (login.user.empty() || login.password.empty())
    throw Refused(EACCES, name_ + ": the server wants a user and a password");
  const std::string token = std::string(1, '\0') + login.user + std::string(1, '\0') + login.password;
  CqlBody body;
  body.value(as_bytes(token));
  const CqlFrame answer = exchange(CqlOpcode::auth_response, body);
  if (answer.opcode == CqlOpcode::error) refuse(answer);
  if (answer.opcode != CqlOpcode::auth_success)
    throw Refused(EACCES, name_ + ": the server wants another way of logging in");
}

void CqlConnection::refuse(const CqlFrame& frame) const {
  const CqlRefusal refusal = parse_cql_error(frame.body);
  const std::string what = name_ + ": the server says " + refusal.text;
  if (is_passing(refusal.code)) throw NotNow(what);
  throw Refused(errno_of(refusal), what);
}

// Frames of before are answered in order; what the server tells unasked (EVENT) was not asked for.
CqlFrame CqlConnection::receive() {
  for (;;) {
    if (auto frame = inbox_.next()) return std::move(*frame);
    const auto n = stream_->read_some(buffer_);
    if (n == 0) fail(ECONNRESET, name_ + ": the server closed the connection");
    inbox_.feed(ConstBytes(buffer_).first(n));
  }
}

CqlFrame CqlConnection::exchange(CqlOpcode opcode, const CqlBody& body) {
  outbox_.add(0, opcode, body, segments_);
  send();
  return receive();
}

std::uint16_t CqlConnection::add(CqlOpcode opcode, const CqlBody& body) {
  const std::uint16_t stream = next_;
  if (!waiting_.emplace(stream, true).second) throw std::logic_error("too many requests in one pipeline");
  next_ = static_cast<std::uint16_t>((next_ + 1) % kMostStreams);
  outbox_.add(stream, opcode, body, segments_);
  return stream;
}

void CqlConnection::send() { stream_->write(outbox_.take()); }

std::vector<std::byte> CqlConnection::answer(std::uint16_t request) {
  while (!answers_.contains(request)) {
    CqlFrame frame = receive();
    if (frame.version != version_ || waiting_.erase(frame.stream) == 0)
      throw ProtocolError(name_ + ": an answer to nothing that was asked");
    answers_.emplace(frame.stream, std::move(frame));
  }
  auto node = answers_.extract(request);
  CqlFrame& frame = node.mapped();
  if (frame.opcode == CqlOpcode::error) refuse(frame);
  if (frame.opcode != CqlOpcode::result) throw ProtocolError(name_ + ": an answer of the wrong kind");
  return std::move(frame.body);
}

std::vector<std::byte> CqlConnection::ask(CqlOpcode opcode, const CqlBody& body) {
  const auto request = add(opcode, body);
  send();
  return answer(request);
}

std::uint16_t CqlConnection::add_execute(const std::string& statement, const CqlBody& parameters) {
  auto known = prepared_.find(statement);
  if (known == prepared_.end()) {
    CqlBody body;
    body.long_text(statement);
    if (version_ >= 5) body.u32(0);
    const auto answered = ask(CqlOpcode::prepare, body);
    known = prepared_.emplace(statement, parse_cql_prepared(answered, version_)).first;
  }
  CqlBody body;
  body.short_bytes(known->second.id);
  if (version_ >= 5) body.short_bytes(known->second.metadata_id);
  body.raw(parameters.bytes());
  return add(CqlOpcode::execute, body);
}

CqlBody cql_parameters(std::uint8_t version, std::uint16_t consistency, std::initializer_list<ConstBytes> values,
                       std::int64_t timestamp) {
  constexpr std::uint8_t kValues = 0x01, kTimestamp = 0x20;
  const auto flags =
      static_cast<std::uint8_t>((values.size() ? kValues : 0) | (timestamp ? kTimestamp : 0));
  CqlBody body;
  body.u16(consistency);
  if (version >= 5) body.u32(flags);
  else body.u8(flags);
  if (values.size() > 0) body.u16(static_cast<std::uint16_t>(values.size()));
  for (const auto value : values) body.value(value);
  if (timestamp) body.u64(static_cast<std::uint64_t>(timestamp));
  return body;
}

}  // namespace r3

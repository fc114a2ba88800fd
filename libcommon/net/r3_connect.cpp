// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_connect.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/net/keys.hpp"
#include "libcommon/net/r3_frame.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

std::chrono::milliseconds time_until(Clock::time_point end) {
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()));
}

bool has_keys(const NoiseKeys& keys) { return keys.peer || keys.psk || keys.own; }

std::string_view plain_preamble() {
  return {reinterpret_cast<const char*>(wire::kPlainPreamble.data()), wire::kPreambleSize};
}

// A stream of which some bytes were read already.
class Resumed final : public Stream {
 public:
  Resumed(ConstBytes first, Stream& rest) : first_(first), rest_(rest) {}
  std::size_t read_some(Bytes into) override {
    if (first_.empty()) return rest_.read_some(into);
    const auto n = std::min(into.size(), first_.size());
    std::copy_n(first_.begin(), n, into.begin());
    first_ = first_.subspan(n);
    return n;
  }
  void write_parts(std::span<const ConstBytes> parts) override { rest_.write_parts(parts); }
  void finish() override { rest_.finish(); }
  void set_deadline(Deadline deadline) override { rest_.set_deadline(deadline); }

 private:
  ConstBytes first_;
  Stream& rest_;
};

R3Peer permissions(const std::shared_ptr<const R3Policy>& policy, const SecureSession& session) {
  R3Peer peer;
  if (session.pattern == NoisePattern::nk) peer.read_only = true;
  if (!session.peer) return peer;
  if (!policy->peers.knows(*session.peer)) throw ProtocolError("key " + to_text(*session.peer) + " is not among --peer-keys");
  peer.name = to_text(*session.peer);
  peer.may_use = [policy, key = *session.peer](const std::string& name, bool& writable) {
    const Peer* line = policy->peers.find(key, name);
    writable = line && line->writable;
    return line != nullptr;
  };
  return peer;
}

}  // namespace

void begin_plain(Channel& channel, const Stop& stop) try {
  FdStream(channel.input(), channel.output(), stop).write(as_bytes(plain_preamble()));
} catch (const std::system_error&) {
  const std::string why = channel.why_ended();
  if (channel.refused_usage()) throw std::invalid_argument(why);
  if (!why.empty()) fail(ECONNRESET, why);
  throw;
}

R3Dial r3_dial(const Address& address, const R3Security& security,
               std::chrono::milliseconds timeout) {
  const bool secure = has_keys(security.keys);
  if (secure) client_pattern(security.keys);  // refuses what is no set of keys
  if (!secure && !security.plain && !is_local(address))
    throw std::invalid_argument(to_text(address) +
                                " is not on this machine: keys are needed, or plain mode");
  const bool once = address.kind == Address::Kind::fd || address.kind == Address::Kind::stdio;
  // A command may be a way to another machine; these never are.
  const bool nearby = address.kind == Address::Kind::unix_socket ||
                         (address.kind == Address::Kind::tcp && is_local(address));
  auto dialled = std::make_shared<std::atomic<bool>>(false);
  return [=, keys = security.keys](const Stop& stop, Clock::time_point until) -> R3Dialled {
    if (once && dialled->exchange(true)) fail(ESHUTDOWN, to_text(address));
    const auto left = [&] { return std::min(timeout, time_until(until)); };
    Channel channel = connect_to(address, left(), stop);
    FdStream plain(channel.input(), channel.output(), stop);
    if (secure) {
      const SecureSession session = client_handshake(plain, keys, left());
      return {make_secure_link(make_plain_link(std::move(channel)), session), false, nearby};
    }
    begin_plain(channel, stop);
    return {make_plain_link(std::move(channel)), true, nearby};
  };
}

R3Accepted r3_accept(Channel channel, const std::shared_ptr<const R3Policy>& policy, const Stop& stop,
                     std::chrono::milliseconds time) {
  FdStream stream(channel.input(), channel.output(), stop);
  stream.set_deadline(std::chrono::steady_clock::now() + time);
  std::array<std::byte, wire::kPreambleSize> preamble;
  if (stream.read_full(preamble) < preamble.size()) fail(ECONNRESET, "preamble");
  if (as_text(preamble) == plain_preamble()) {
    if (!policy->plain) throw ProtocolError("it came without keys, and this server wants them");
    return {make_plain_link(std::move(channel)), true, {}, {}, false};
  }
  if (!policy->keys) throw ProtocolError(preamble[0] == std::byte{'R'} && preamble[1] == std::byte{'3'}
                            ? "it wants encryption, and this server has no keys"
                            : "no r3 client");
  Resumed whole(preamble, stream);
  const SecureSession session = server_handshake(whole, *policy->keys, time);
  R3Peer peer = permissions(policy, session);
  const auto key = session.pattern == NoisePattern::xk || session.pattern == NoisePattern::xk_psk0
                       ? session.peer : std::nullopt;
  const bool with_psk =
      session.pattern == NoisePattern::nn_psk0 || session.pattern == NoisePattern::xk_psk0;
  return {make_secure_link(make_plain_link(std::move(channel)), session), false, std::move(peer), key,
          with_psk};
}

bool same_rights(const std::optional<PublicKey>& key, bool with_psk, const R3Policy& one,
                 const R3Policy& other) {
  if (key && !one.peers.same_rights(*key, other.peers)) return false;
  if (!with_psk) return true;
  return other.keys && other.keys->psk &&
         std::ranges::equal(one.keys->psk.bytes(), other.keys->psk.bytes());
}

}  // namespace r3

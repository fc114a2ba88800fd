// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_handshake.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "libcommon/base/error.hpp"

namespace r3::nbd {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kLongestReply = 64 * KiB;  // of an option; the protocol needs about 4 KiB
constexpr unsigned kMostReplies = 1024;            // to one option
constexpr std::uint64_t kOldstyleMagic = 0x00420281861253;
constexpr std::string_view kAllocation = "base:allocation";

struct Reply {
  std::uint32_t type = 0;
  std::vector<std::byte> data;
};

template <class Struct>
Struct cut(ConstBytes bytes) {
  Struct value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <class Struct>
void append(std::vector<std::byte>& to, const Struct& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_text(std::vector<std::byte>& to, std::string_view text) {
  append(to, Be32(static_cast<std::uint32_t>(text.size())));
  const auto bytes = as_bytes(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

class Handshake {
 public:
  Handshake(const Channel& channel, const std::string& name, const std::string& server,
            Clock::time_point deadline, const Stop& stop, Replies replies)
      : channel_(channel),
        name_(name),
        server_(server),
        deadline_(deadline),
        stop_(stop),
        replies_(replies) {}

  Agreement run();

 private:
  void ask_for_structured_replies();
  void ask_for_allocation();
  bool go();
  void ask_for_export();
  void note_info(ConstBytes data);
  void note_export(std::uint64_t size, std::uint16_t flags);
  void note_block_size(const InfoBlockSize& info);
  [[noreturn]] void refused(const Reply& reply);

  void send(ConstBytes bytes);
  void send_option(std::uint32_t option, ConstBytes data);
  Reply receive_reply(std::uint32_t option);
  void receive(Bytes into);
  template <class Struct>
  Struct receive() {
    Struct value;
    receive(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  const Channel& channel_;
  const std::string& name_;
  const std::string& server_;
  const Clock::time_point deadline_;
  const Stop& stop_;
  const Replies replies_;
  Agreement agreed_;
  bool has_export_ = false;
  bool no_zeroes_ = false;
};

Agreement Handshake::run() {
  const auto hello = receive<Hello>();
  if (hello.magic != kHelloMagic) throw ProtocolError(server_ + ": not an NBD server");
  if (hello.version == kOldstyleMagic)
    throw ProtocolError(server_ + ": an NBD server of before 2012 (oldstyle), which is not supported");
  if (hello.version != kOptionMagic) throw ProtocolError(server_ + ": not an NBD server");
  no_zeroes_ = hello.flags & kNoZeroes;
  const Be32 client_flags = std::uint32_t(hello.flags & (kFixedNewstyle | kNoZeroes));
  send(std::as_bytes(std::span(&client_flags, 1)));
  if (!(hello.flags & kFixedNewstyle)) {
    ask_for_export();  // the only option that such a server has to know
    return agreed_;
  }
  if (replies_ != Replies::simple) ask_for_structured_replies();
  if (agreed_.structured) ask_for_allocation();
  if (!go()) {
    agreed_.allocation.reset();  // belongs to GO
    ask_for_export();
  }
  return agreed_;
}

void Handshake::ask_for_structured_replies() {
  send_option(kOptStructuredReply, {});
  agreed_.structured = receive_reply(kOptStructuredReply).type == kRepAck;
}

void Handshake::ask_for_allocation() {
  std::vector<std::byte> data;
  append_text(data, name_);
  append(data, Be32(1));
  append_text(data, kAllocation);
  send_option(kOptSetMetaContext, data);
  for (unsigned count = 0; count < kMostReplies; ++count) {
    const Reply reply = receive_reply(kOptSetMetaContext);
    if (reply.type & kRepError) agreed_.allocation.reset();
    if (reply.type & kRepError || reply.type == kRepAck) return;
    if (reply.type != kRepMetaContext || reply.data.size() < sizeof(Be32))
      throw ProtocolError(server_ + ": answers a question about contexts with nonsense");
    const ConstBytes data_of_reply = reply.data;
    if (as_text(data_of_reply.subspan(sizeof(Be32))) == kAllocation)
      agreed_.allocation = cut<Be32>(data_of_reply);
  }
  throw ProtocolError(server_ + ": never ends to answer");
}

// False if the server does not know GO.
bool Handshake::go() {
  std::vector<std::byte> data;
  append_text(data, name_);
  append(data, Be16(1));
  append(data, Be16(kInfoBlockSize));
  send_option(kOptGo, data);
  for (unsigned count = 0; count < kMostReplies; ++count) {
    const Reply reply = receive_reply(kOptGo);
    if (reply.type == kRepErrUnsupported) return false;
    if (reply.type & kRepError) refused(reply);
    if (reply.type == kRepInfo) {
      note_info(reply.data);
    } else if (reply.type != kRepAck) {
      throw ProtocolError(server_ + ": answers GO with nonsense");
    } else if (!has_export_) {
      throw ProtocolError(server_ + ": does not tell the size of the export");
    } else {
      return true;
    }
  }
  throw ProtocolError(server_ + ": never ends to answer");
}

void Handshake::ask_for_export() {
  send_option(kOptExportName, as_bytes(name_));
  const auto reply = receive<ExportNameReply>();
  note_export(reply.size, reply.flags);
  std::byte zeroes[124];
  if (!no_zeroes_) receive(zeroes);
}

void Handshake::note_info(ConstBytes data) {
  if (data.size() < sizeof(Be16)) throw ProtocolError(server_ + ": sends a short piece of information");
  const std::uint16_t type = cut<Be16>(data);
  if (type == kInfoExport) {
    if (data.size() != sizeof(InfoExport))
      throw ProtocolError(server_ + ": describes the export in a wrong length");
    const auto info = cut<InfoExport>(data);
    if (has_export_ && (info.size != agreed_.size || info.flags != agreed_.flags))
      throw ProtocolError(server_ + ": describes the export twice, and differently");
    note_export(info.size, info.flags);
  } else if (type == kInfoBlockSize) {
    if (data.size() != sizeof(InfoBlockSize))
      throw ProtocolError(server_ + ": describes block sizes in a wrong length");
    note_block_size(cut<InfoBlockSize>(data));
  }
}

void Handshake::note_export(std::uint64_t size, std::uint16_t flags) {
  if (size >> 63) throw ProtocolError(server_ + ": claims an export of 2^63 bytes or more");
  if (!(flags & kHasFlags)) throw ProtocolError(server_ + ": sends no transmission flags");
  agreed_.size = size;
  agreed_.flags = flags;
  has_export_ = true;
}

void Handshake::note_block_size(const InfoBlockSize& info) {
  const std::uint32_t minimum = info.minimum, preferred = info.preferred, maximum = info.maximum;
  if (!std::has_single_bit(minimum) || minimum > 64 * KiB || !std::has_single_bit(preferred) ||
      preferred < minimum || maximum < minimum)
    throw ProtocolError(server_ + ": has block sizes that make no sense");
  agreed_.minimum = minimum;
  agreed_.preferred = preferred;
  const auto most = std::min<std::uint64_t>(maximum, kLongestPayload);
  agreed_.maximum = static_cast<std::uint32_t>(round_down(most, minimum));
}

void Handshake::refused(const Reply& reply) {
  // The server's own words; control characters stay out of messages.
  std::string said;
  for (const char c : as_text(reply.data).substr(0, 256))
    said += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  const std::string what = server_ + (said.empty() ? "" : ": the server says \"" + said + "\"");
  switch (reply.type) {
    case kRepErrUnknown:
      fail(ENOENT, what + ": export \"" + name_ + "\"");
    case kRepErrPolicy:
      fail(EACCES, what + ": export \"" + name_ + "\"");
    case kRepErrTlsRequired:
      fail(EPROTONOSUPPORT, what + ": the server wants TLS");
    case kRepErrShutdown:
      fail(ESHUTDOWN, what);
    default:
      throw ProtocolError(what + ": refuses the export with error " +
                          std::to_string(reply.type & ~kRepError));
  }
}

void Handshake::send(ConstBytes bytes) {
  while (!bytes.empty()) {
    const auto n = ::send(channel_.output(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno, server_ + " " + channel_.why_ended());
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void Handshake::send_option(std::uint32_t option, ConstBytes data) {
  std::vector<std::byte> message;
  append(message, OptionRequest{kOptionMagic, option, static_cast<std::uint32_t>(data.size())});
  message.insert(message.end(), data.begin(), data.end());
  send(message);
}

Reply Handshake::receive_reply(std::uint32_t option) {
  const auto header = receive<OptionReply>();
  if (header.magic != kOptionReplyMagic || header.option != option)
    throw ProtocolError(server_ + ": answers an option that was not asked for");
  if (header.length > kLongestReply) throw ProtocolError(server_ + ": answers at too much length");
  Reply reply;
  reply.type = header.type;
  reply.data.resize(header.length);
  receive(reply.data);
  return reply;
}

void Handshake::receive(Bytes into) {
  while (!into.empty()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    const auto waited =
        wait_for(channel_.input(), POLLIN, stop_, static_cast<int>(std::max<long>(left, 0)));
    if (waited == Wait::stopped) fail(ECANCELED, server_);
    if (waited == Wait::timed_out) fail(ETIMEDOUT, server_ + ": handshake");
    const auto n = ::recv(channel_.input(), into.data(), into.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ECONNRESET;
      const auto why = channel_.why_ended();
      fail(error, server_ + (why.empty() ? ": the server closed the connection" : ": " + why));
    }
    into = into.subspan(static_cast<std::size_t>(n));
  }
}

}  // namespace

Agreement shake_hands(const Channel& channel, const std::string& export_name,
                      const std::string& server, std::chrono::milliseconds timeout,
                      const Stop& stop, Replies replies) {
  return Handshake(channel, export_name, server, Clock::now() + timeout, stop, replies).run();
}

}  // namespace r3::nbd

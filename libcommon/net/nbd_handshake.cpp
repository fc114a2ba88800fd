// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_handshake.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_options.hpp"

namespace r3::nbd::server {

namespace {

// A handshake needs a handful of options, a client that looks at every export a few for each.
constexpr int kMostOptions = 1000;
constexpr std::uint64_t kMostOptionBytes = 1 * MiB;
// Longer data is skipped: no option that makes sense has more.
constexpr std::uint32_t kLongestOption = 64 * KiB;

class Handshake {
 public:
  Handshake(Stream& stream, std::span<const NbdExport> exports, const NbdServerOptions& options)
      : stream_(stream),
        exports_(exports),
        options_(options) {}

  std::optional<Agreement> run();

 private:
  enum class Next { option, transmission, leave };

  bool greet();
  bool read_option();
  bool skip(std::uint32_t size);
  Next answer_option();
  Next choose_by_name();
  Next describe(bool choose);
  Next list_exports();
  Next agree_on(Format format);
  Next meta_context();

  Next reply(std::uint32_t type, ConstBytes data = {});
  Next refuse(std::uint32_t type, std::string_view why) { return reply(type, as_bytes(why)); }
  Next send(ConstBytes bytes, Next next);
  const NbdExport* find(std::string_view name) const;
  Rules rules(const NbdExport& exported) const;

  Stream& stream_;
  std::span<const NbdExport> exports_;
  const NbdServerOptions& options_;

  bool fixed_ = false;
  bool no_zeroes_ = false;
  std::uint32_t option_ = 0;
  std::vector<std::byte> data_;  // of the option
  std::uint64_t bytes_ = 0;      // of all options
  Format format_ = Format::simple;
  const NbdExport* context_of_ = nullptr;  // the export that base:allocation was asked for
  const NbdExport* chosen_ = nullptr;
};

bool Handshake::greet() {
  const Hello hello{kHelloMagic, kOptionMagic, std::uint16_t{kFixedNewstyle | kNoZeroes}};
  if (stream_.send(std::as_bytes(std::span(&hello, 1))) != Stream::Sent::all) return false;
  Be32 flags;
  if (!stream_.receive_all(std::as_writable_bytes(std::span(&flags, 1)))) return false;
  if (flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes})
    throw ProtocolError("client flags that were not offered");
  fixed_ = flags & kFixedNewstyle;
  no_zeroes_ = flags & kNoZeroes;
  return true;
}

std::optional<Agreement> Handshake::run() {
  if (!greet()) return std::nullopt;
  for (int count = 0; count < kMostOptions; ++count) {
    if (!read_option()) return std::nullopt;
    switch (answer_option()) {
      case Next::option: break;
      case Next::leave: return std::nullopt;
      case Next::transmission: return Agreement{chosen_, rules(*chosen_)};
    }
  }
  throw ProtocolError("too many options");
}

// Reads an option into option_ and data_; one that is too long is answered here, and another is read.
bool Handshake::read_option() {
  for (;;) {
    OptionRequest head;
    if (!stream_.receive_all(std::as_writable_bytes(std::span(&head, 1)))) return false;
    if (head.magic != kOptionMagic) throw ProtocolError("an option without its magic number");
    option_ = head.option;
    bytes_ += sizeof head + head.length;
    if (bytes_ > kMostOptionBytes) throw ProtocolError("options of too many bytes");
    if (head.length <= kLongestOption) {
      data_.resize(head.length);
      return stream_.receive_all(data_);
    }
    if (option_ == kOptExportName) throw ProtocolError("an export's name that is too long");
    if (!skip(head.length)) return false;
    if (refuse(kRepErrTooBig, "the option is too long") == Next::leave) return false;
  }
}

bool Handshake::skip(std::uint32_t size) {
  std::array<std::byte, 4096> rest;
  while (size > 0) {
    const auto now = Bytes(rest).first(std::min<std::size_t>(size, rest.size()));
    if (!stream_.receive_all(now)) return false;
    size -= static_cast<std::uint32_t>(now.size());
  }
  return true;
}

Handshake::Next Handshake::answer_option() {
  if (!fixed_ && option_ != kOptExportName)
    throw ProtocolError("an option that only a client with fixed newstyle may send");
  switch (option_) {
    case kOptExportName: return choose_by_name();
    case kOptAbort: reply(kRepAck); return Next::leave;
    case kOptList: return list_exports();
    case kOptInfo: return describe(false);
    case kOptGo: return describe(true);
    case kOptStructuredReply: return agree_on(Format::structured);
    case kOptExtendedHeaders: return agree_on(Format::extended);
    case kOptListMetaContext: case kOptSetMetaContext: return meta_context();
    case kOptStartTls:
      if (!data_.empty()) return refuse(kRepErrInvalid, "STARTTLS carries no data");
      return refuse(kRepErrUnsupported, "no TLS here");
    default: return refuse(kRepErrUnsupported, "unknown option");
  }
}

Handshake::Next Handshake::send(ConstBytes bytes, Next next) {
  return stream_.send(bytes) == Stream::Sent::all ? next : Next::leave;
}

Handshake::Next Handshake::reply(std::uint32_t type, ConstBytes data) {
  return send(option_reply(option_, type, data), Next::option);
}

const NbdExport* Handshake::find(std::string_view name) const {
  const auto found = std::find_if(exports_.begin(), exports_.end(),
                                  [&](const NbdExport& each) { return each.name == name; });
  return found == exports_.end() ? nullptr : &*found;
}

Rules Handshake::rules(const NbdExport& exported) const {
  auto rules = rules_for(exported, options_);
  rules.format = format_;
  rules.allocation = context_of_ == &exported;
  return rules;
}

// The only option without a reply: what cannot be served is closed.
Handshake::Next Handshake::choose_by_name() {
  if (format_ == Format::extended) throw ProtocolError("EXPORT_NAME after extended headers");
  chosen_ = find(as_text(data_));
  if (!chosen_) throw ProtocolError("an unknown export");
  const auto agreed = rules(*chosen_);
  std::vector<std::byte> bytes(sizeof(ExportNameReply) + (no_zeroes_ ? 0 : 124));
  const ExportNameReply reply{agreed.size, transmission_flags(agreed)};
  std::memcpy(bytes.data(), &reply, sizeof reply);
  return send(bytes, Next::transmission);
}

Handshake::Next Handshake::describe(bool choose) {
  const auto asked = parse_info_request(data_);
  if (!asked) return refuse(kRepErrInvalid, "lengths that do not add up");
  const auto* exported = find(asked->name);
  if (!exported) return refuse(kRepErrUnknown, "unknown export");
  std::vector<std::byte> all;
  const auto add = [&](ConstBytes info) {
    const auto one = option_reply(option_, kRepInfo, info);
    all.insert(all.end(), one.begin(), one.end());
  };
  const auto agreed = rules(*exported);
  const InfoExport main{std::uint16_t{kInfoExport}, agreed.size, transmission_flags(agreed)};
  add(std::as_bytes(std::span(&main, 1)));
  if (asked->wants(kInfoName)) add(info_text(kInfoName, exported->name));
  if (asked->wants(kInfoDescription) && !exported->description.empty())
    add(info_text(kInfoDescription, exported->description));
  // Told to everybody: a client that does not know it has to ignore it.
  const auto preferred = preferred_block(*exported, options_);
  const InfoBlockSize blocks{std::uint16_t{kInfoBlockSize}, agreed.minimum_block, preferred,
                             std::max(agreed.maximum_block, preferred)};
  add(std::as_bytes(std::span(&blocks, 1)));
  const auto ack = option_reply(option_, kRepAck, {});
  all.insert(all.end(), ack.begin(), ack.end());
  if (choose) chosen_ = exported;
  return send(all, choose ? Next::transmission : Next::option);
}

Handshake::Next Handshake::list_exports() {
  if (!data_.empty()) return refuse(kRepErrInvalid, "LIST carries no data");
  std::vector<std::byte> all;
  for (const auto& each : exports_) {
    std::vector<std::byte> entry(sizeof(Be32));
    store_be(entry.data(), static_cast<std::uint32_t>(each.name.size()));
    for (const auto text : {as_bytes(each.name), as_bytes(each.description)})
      entry.insert(entry.end(), text.begin(), text.end());
    const auto one = option_reply(option_, kRepServer, entry);
    all.insert(all.end(), one.begin(), one.end());
  }
  const auto ack = option_reply(option_, kRepAck, {});
  all.insert(all.end(), ack.begin(), ack.end());
  return send(all, Next::option);
}

Handshake::Next Handshake::agree_on(Format format) {
  if (!data_.empty()) return refuse(kRepErrInvalid, "this option carries no data");
  if (format_ == format) return refuse(kRepErrInvalid, "negotiated already");
  if (format_ == Format::extended)
    return refuse(kRepErrExtHeaderRequired, "extended headers have been negotiated");
  format_ = format;
  return reply(kRepAck);
}

Handshake::Next Handshake::meta_context() {
  const bool set = option_ == kOptSetMetaContext;
  // Whatever comes of it, a new question replaces what was selected before.
  if (set) context_of_ = nullptr;
  if (format_ == Format::simple) return refuse(kRepErrInvalid, "needs structured replies");
  const auto asked = parse_meta_request(data_);
  if (!asked) return refuse(kRepErrInvalid, "lengths that do not add up");
  const auto* exported = find(asked->name);
  if (!exported) return refuse(kRepErrUnknown, "unknown export");
  if (set ? asked->selects_allocation() : asked->lists_allocation()) {
    const auto context = meta_context_reply(set);
    if (reply(kRepMetaContext, context) == Next::leave) return Next::leave;
    if (set) context_of_ = exported;
  }
  return reply(kRepAck);
}

}  // namespace

Rules rules_for(const NbdExport& exported, const NbdServerOptions& options) {
  Rules rules;
  rules.size = round_down(exported.backend->size(), options.minimum_block);
  rules.read_only = exported.read_only || exported.backend->read_only();
  rules.minimum_block = options.minimum_block;
  rules.maximum_block = options.maximum_block;
  rules.multi_conn = options.multi_conn;
  return rules;
}

std::optional<Agreement> shake_hands(Stream& stream, std::span<const NbdExport> exports,
                                     const NbdServerOptions& options) {
  stream.set_deadline(Stream::Clock::now() + options.handshake_timeout);
  const auto agreed = Handshake(stream, exports, options).run();
  stream.set_deadline({});
  return agreed;
}

}  // namespace r3::nbd::server

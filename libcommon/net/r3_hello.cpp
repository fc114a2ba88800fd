// SPDX-License-Identifier: Apache-2.0
// The part of a connection that comes first: who wants which export, and what it gets.
#include <poll.h>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_connection.hpp"

namespace r3 {

using namespace wire;

namespace {

// What a client calls something, fit for one line of a log.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return text;
}

}  // namespace

bool R3Connection::hello() {
  if (!receive_hello()) return false;
  const Header request = *reader_.header();
  if (request.type != static_cast<std::uint8_t>(Type::hello))
    throw ProtocolError("the first frame is no HELLO");
  const Hello hello = decode_hello(*reader_.payload());
  reader_.pop();
  account(request, true);
  if (const std::uint16_t error = admit(hello)) {
    append(request, error);
    write_all(link_, out_.parts(), stop_, kDrainTimeout);
    if (error == ESTALE) return false;  // one that came later has its place
    throw R3Refusal(error == ENOENT ? "export '" + printable(hello.name) + "': " +
                                          (export_ ? "not for this key" : "there is none")
                                    : "it speaks version " + std::to_string(hello.version) + " of r3");
  }
  backend_ = export_->backend;
  read_only_ = !may_write_ || export_->read_only || backend_->read_only() || (hello.flags & kHelloReadOnly) != 0;
  fence_ = &server_.fence_of(*export_);
  if (!read_only_) token_ = fence_->enter(request.offset, (hello.flags & kHelloOnlyWriter) != 0);
  const std::string text = encode(welcome(hello.features));
  append(request, 0, as_bytes(text));
  bound_unsent(link_.output());
  return true;
}

bool R3Connection::receive_hello() {
  const auto deadline = std::chrono::steady_clock::now() + server_.options().hello_timeout;
  while (!reader_.payload()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) fail(ETIMEDOUT, "HELLO");
    if (!link_.holds_input() && wait_for(link_.input(), POLLIN, stop_,
                                         static_cast<int>(left.count())) == Wait::stopped)
      return false;
    const auto n = link_.read_some(reader_.space());
    if (n && *n == 0) return false;
    if (n) reader_.received(*n);
  }
  return true;
}

std::uint16_t R3Connection::admit(const Hello& hello) {
  if (hello.version != kVersion) return EPROTONOSUPPORT;
  export_ = server_.find(hello.name);
  bool writable = true;
  if (!export_ || (peer_.may_use && !peer_.may_use(hello.name, writable))) return ENOENT;
  may_write_ = writable && !peer_.read_only;
  seat_ = {peer_.name + '/' + std::string(as_text(hello.session)), hello.slot};
  seated_ = server_.take_seat(seat_, hello.generation, link_, stop_);
  return seated_ ? 0 : ESTALE;
}

Welcome R3Connection::welcome(std::uint32_t wanted) {
  may_migrate_ = export_->migration && may_write_;
  std::uint32_t features =
      kFeatureZstd | kFeatureHash | kFeatureExtents | kFeatureZero | kFeatureDiscard | kFeatureFence;
  if (may_migrate_) features |= kFeatureMigration;
  Welcome welcome;
  welcome.token = token_;
  welcome.flags = read_only_ ? kWelcomeReadOnly : 0;
  welcome.features = wanted & features;
  may_compress_ = (welcome.features & kFeatureZstd) != 0;
  welcome.verifier = server_.verifier();
  welcome.size = backend_->size();
  welcome.instance = export_->volatile_content ? (server_.verifier() | 1) : export_->instance;
  welcome.block_size = static_cast<std::uint32_t>(backend_->block_size());
  welcome.max_transfer = server_.options().max_transfer;
  welcome.max_requests = server_.options().max_requests;
  welcome.max_bytes = server_.options().max_bytes;
  return welcome;
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// The connection below r3/1, plain or encrypted, as both sides use it: calls that take or give what they can
// without waiting, and a wait that watches the stop as well. Knows nothing of frames.
#pragma once

#include <sys/uio.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/r3_payload.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

struct SecureSession;

// One thread may read while another writes; no more than one of each.
class Link {
 public:
  virtual ~Link() = default;

  // At least one byte, or 0 at the end of the stream, or nothing if none is there yet. Throws when the
  // connection broke or its bytes are not authentic.
  virtual std::optional<std::size_t> read_some(Bytes into) = 0;
  // The same, and when `into` is full, some of what comes next into `then`, if that costs no further call.
  virtual std::optional<std::size_t> read_some(Bytes into, [[maybe_unused]] Bytes then) {
    return read_some(into);
  }
  // Takes as many bytes as can be taken now, 0 if none.
  virtual std::size_t write_some(std::span<const iovec> parts) = 0;
  // Passes on what write_some() took and still holds; whether all of it is gone.
  virtual bool push() { return true; }
  // Whether read_some() has bytes that poll() cannot see.
  virtual bool holds_input() const { return false; }

  // Tells the peer, as far as that does not wait, that nothing more will be sent.
  virtual void finish() noexcept = 0;

  // What became of the command behind a connection that ended (Channel's).
  virtual std::string why_ended() const { return {}; }
  virtual bool refused_usage() const { return false; }
  virtual int input() const = 0;
  virtual int output() const = 0;
  // Wakes everybody who waits on the link. Any thread may call.
  virtual void shut_down() noexcept = 0;
};

// The channel's bytes as they are.
std::unique_ptr<Link> make_plain_link(Channel channel);
// After a handshake (noise_session.hpp) over the channel that `below` has now.
std::unique_ptr<Link> make_secure_link(std::unique_ptr<Link> below, const SecureSession& session);

// Keeps the bytes that the kernel has not sent yet to a few, so that what is urgent does not wait there.
void bound_unsent(int socket) noexcept;

// The blocking forms: all bytes, or throws; ECANCELED on stop, ETIMEDOUT when nothing moved for `timeout_ms`.
// `rate` is told how the writing went.
void write_all(Link& link, std::span<const iovec> parts, const Stop& stop, int timeout_ms,
               wire::LinkRate* rate = nullptr);
// Fewer than asked only at the end of the link.
std::size_t read_all(Link& link, Bytes into, const Stop& stop, int timeout_ms);

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// The encrypted and authenticated stream r3-noise/1 (r3-protocol(7)) over any other Stream, once the
// handshake is done:
//
//   FdStream plain(channel.input(), channel.output(), stop);
//   SecureStream stream(plain, client_handshake(plain, keys, 10s));
#pragma once

#include <optional>

#include "libcommon/base/mapping.hpp"
#include "libcommon/net/noise_record.hpp"
#include "libcommon/net/noise_session.hpp"
#include "libcommon/net/stream.hpp"

namespace r3 {

// Reads and writes through the session's records. About 260 KiB of address space, of which only what
// the traffic needs is ever touched. Any ProtocolError is final. Threads as in Stream.
class SecureStream final : public Stream {
 public:
  // `plain` is borrowed.
  SecureStream(Stream& plain, const SecureSession& session);

  // Opens records right into `into` where they fit whole: at least kMostPlaintext bytes of room avoid
  // every copy. The end is only reported when the peer said so (finish); a connection that just breaks
  // off throws std::system_error(ECONNRESET), one that was tampered with ProtocolError.
  std::size_t read_some(Bytes into) override;
  // All parts end up in as few records and system calls as can be; parts of 16 KiB and more are sealed
  // from where they are.
  void write_parts(std::span<const ConstBytes> parts) override;
  // Sends the authenticated end.
  void finish() override;
  void set_deadline(Deadline deadline) override { plain_.set_deadline(deadline); }

  NoisePattern pattern() const { return pattern_; }
  const SymmetricState::Hash& binding() const { return binding_; }
  const std::optional<PublicKey>& peer() const { return peer_; }

 private:
  ConstBytes next_record();
  std::size_t open_records(Bytes into);
  std::size_t take_opened(Bytes into);
  void fill();
  void seal_staged();
  void seal_from(ConstBytes plaintext);
  void send_sealed();

  Stream& plain_;
  const NoisePattern pattern_;
  const SymmetricState::Hash binding_;
  const std::optional<PublicKey> peer_;

  // The reader's.
  RecordOpener opener_;
  Mapping received_;        // sealed bytes from begin_ to end_
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  ConstBytes opened_;       // within received_: the rest of a record that did not fit
  bool ended_ = false;

  // The writer's.
  RecordSealer sealer_;
  Mapping sealed_;          // records up to sealed_end_, then the header's room and staged_ bytes
  std::size_t sealed_end_ = 0;
  std::size_t staged_ = 0;
};

}  // namespace r3

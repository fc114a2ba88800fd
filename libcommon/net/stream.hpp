// SPDX-License-Identifier: Apache-2.0
// A bidirectional byte stream, and the one over descriptors. What speaks a protocol reads and writes a
// Stream, and need not know whether it is encrypted. One thread may read while another writes; two
// readers, or two writers, need a lock of their own.
#pragma once

#include <chrono>
#include <optional>
#include <span>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

class Stream {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  virtual ~Stream() = default;

  // Waits for something, then takes what is there, at most into.size() bytes: 0 only at the end of the
  // stream (or for an empty `into`). Throws std::system_error when the connection is lost.
  virtual std::size_t read_some(Bytes into) = 0;
  // Writes all the parts, one after the other. The bytes have left this process when it returns.
  virtual void write_parts(std::span<const ConstBytes> parts) = 0;
  // Nothing more will be written: the other side's reads end. Called once, by the writer.
  virtual void finish() = 0;
  // From then on both directions fail with ETIMEDOUT; none waits for ever. To be set while no other
  // thread uses the stream.
  virtual void set_deadline(Deadline deadline) = 0;

  // Until `into` is full; less only at the end of the stream.
  std::size_t read_full(Bytes into);
  void write(ConstBytes bytes) { write_parts({&bytes, 1}); }
};

// Borrowed descriptors of any kind (sockets are fastest), blocking or not. When the stop is requested,
// reads that would have to wait fail with ECANCELED; writes may still go on, so that answers get out,
// but fail the same way once the peer has taken nothing for a second.
class FdStream final : public Stream {
 public:
  FdStream(int input, int output, const Stop& stop);

  std::size_t read_some(Bytes into) override;
  void write_parts(std::span<const ConstBytes> parts) override;
  void finish() override;  // shuts a socket's sending side down; does nothing to other descriptors
  void set_deadline(Deadline deadline) override { deadline_ = deadline; }

 private:
  void wait_readable() const;
  void wait_writable() const;
  int milliseconds_left() const;

  const int input_;
  const int output_;
  const bool input_is_socket_;
  const bool output_is_socket_;
  const Stop& stop_;
  Deadline deadline_;
};

}  // namespace r3

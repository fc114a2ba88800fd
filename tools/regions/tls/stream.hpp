// SPDX-License-Identifier: Apache-2.0
// TLS (1.2 or newer, OpenSSL) as a Stream: the server's certificate has to be for the host that was asked for, and
// from an authority that is trusted. Bytes that were changed on the way end the connection.
#pragma once

#include <memory>
#include <string>

#include "libcommon/net/stream.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace r3 {

struct TlsFiles {
  std::string authorities;       // certificates to trust; empty: the system's
  std::string certificate, key;  // ours, for servers that want one; empty: none
};

// What connections have in common. Reads the files: throws std::system_error naming the one that is not fit.
class TlsContext {
 public:
  explicit TlsContext(const TlsFiles& files);
  ssl_ctx_st* get() const { return context_.get(); }

 private:
  std::shared_ptr<ssl_ctx_st> context_;
};

// Over a connected socket, which stays the caller's and becomes non-blocking. One thread at a time.
class TlsStream final : public Stream {
 public:
  TlsStream(const TlsContext& context, int socket, const std::string& host, const Stop& stop);

  // Before anything else, with a deadline set. Throws Refused (EACCES) for a certificate that is not right.
  void shake_hands();

  std::size_t read_some(Bytes into) override;
  void write_parts(std::span<const ConstBytes> parts) override;
  void finish() override;
  void set_deadline(Deadline deadline) override { deadline_ = deadline; }

 private:
  // Waits for what the last call said that it needs; throws when there is nothing to wait for.
  void wait_after(int result);

  const int socket_;
  const std::string host_;
  const Stop& stop_;
  const std::unique_ptr<ssl_st, void (*)(ssl_st*)> tls_;
  Deadline deadline_;
};

}  // namespace r3

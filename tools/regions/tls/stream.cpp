// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/tls/stream.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>

#include <algorithm>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "tools/regions/kept.hpp"

namespace r3 {

namespace {

std::string why() {
  const char* text = ::ERR_reason_error_string(::ERR_peek_last_error());
  ::ERR_clear_error();
  return text ? text : "no reason given";
}

void check_tls(int result, const std::string& what) {
  if (result != 1) fail(EINVAL, what + ": " + why());
}

}  // namespace

TlsContext::TlsContext(const TlsFiles& files) : context_(::SSL_CTX_new(::TLS_client_method()), ::SSL_CTX_free) {
  if (!context_) throw std::bad_alloc();
  SSL_CTX* context = context_.get();
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  ::SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const auto& authorities = files.authorities;
  if (authorities.empty()) check_tls(::SSL_CTX_set_default_verify_paths(context), "the system's certificates");
  else check_tls(::SSL_CTX_load_verify_locations(context, authorities.c_str(), nullptr), authorities);
  if (files.certificate.empty()) return;
  check_tls(::SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()), files.certificate);
  check_tls(::SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM), files.key);
}

TlsStream::TlsStream(const TlsContext& context, int socket, const std::string& host, const Stop& stop)
    : socket_(socket), host_(host), stop_(stop), tls_(::SSL_new(context.get()), ::SSL_free) {
  if (!tls_) throw std::bad_alloc();
  set_nonblocking(socket_, true);
  check_tls(::SSL_set_fd(tls_.get(), socket_), host_);
  // A number is compared with the certificate's addresses, anything else with its names.
  if (::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(tls_.get()), host_.c_str()) == 1) return;
  ::ERR_clear_error();
  check_tls(::SSL_set1_host(tls_.get(), host_.c_str()), host_);
  check_tls(static_cast<int>(::SSL_set_tlsext_host_name(tls_.get(), host_.c_str())), host_);
}

void TlsStream::shake_hands() {
  for (;;) {
    const int result = ::SSL_connect(tls_.get());
    if (result == 1) return;
    const long verdict = ::SSL_get_verify_result(tls_.get());
    if (verdict != X509_V_OK)
      throw Refused(EACCES, host_ + ": the server's certificate: " + ::X509_verify_cert_error_string(verdict));
    wait_after(result);
  }
}

void TlsStream::wait_after(int result) {
  short events = POLLIN;
  switch (::SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ: break;
    case SSL_ERROR_WANT_WRITE: events = POLLOUT; break;
    case SSL_ERROR_SYSCALL:
      if (errno != 0) fail(errno, host_);
      [[fallthrough]];
    case SSL_ERROR_ZERO_RETURN: fail(ECONNRESET, host_ + ": the server ended the TLS connection");
    default: fail(ECONNRESET, host_ + ": TLS: " + why());
  }
  using namespace std::chrono;
  int limit = kForever;
  if (deadline_)
    limit = static_cast<int>(std::clamp<long long>(
        ceil<milliseconds>(*deadline_ - steady_clock::now()).count(), 0, 1 << 30));
  switch (wait_for(socket_, events, stop_, limit)) {
    case Wait::ready: return;
    case Wait::stopped: fail(ECANCELED, host_);
    case Wait::timed_out: fail(ETIMEDOUT, host_);
  }
}

std::size_t TlsStream::read_some(Bytes into) {
  if (into.empty()) return 0;
  for (;;) {
    ::ERR_clear_error();
    errno = 0;
    const int result = ::SSL_read(tls_.get(), into.data(), static_cast<int>(std::min<std::size_t>(into.size(), 1 << 30)));
    if (result > 0) return static_cast<std::size_t>(result);
    if (::SSL_get_error(tls_.get(), result) == SSL_ERROR_ZERO_RETURN) return 0;
    wait_after(result);
  }
}

// In one piece: many small parts would be many records.
void TlsStream::write_parts(std::span<const ConstBytes> parts) {
  std::vector<std::byte> all;
  for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
  for (ConstBytes left = all; !left.empty();) {
    ::ERR_clear_error();
    errno = 0;
    const int result = ::SSL_write(tls_.get(), left.data(), static_cast<int>(std::min<std::size_t>(left.size(), 1 << 30)));
    if (result > 0) left = left.subspan(static_cast<std::size_t>(result));
    else wait_after(result);
  }
}

void TlsStream::finish() { ::SSL_shutdown(tls_.get()); }

}  // namespace r3

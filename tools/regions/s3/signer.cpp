// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/s3/signer.hpp"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "tools/regions/helper_uri.hpp"

namespace r3 {

namespace {

using Digest = std::array<unsigned char, crypto_hash_sha256_BYTES>;

std::string hex(const Digest& digest) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const auto byte : digest) text += {kHex[byte >> 4], kHex[byte & 15]};
  return text;
}

const unsigned char* raw(const void* bytes) { return static_cast<const unsigned char*>(bytes); }

// OpenSSL's uses the processor's own instructions for it, where there are any.
Digest sha256(ConstBytes bytes) {
  Digest digest;
  ::SHA256(raw(bytes.data()), bytes.size(), digest.data());
  return digest;
}

Digest hmac(std::string_view key, std::string_view text) {
  Digest digest;
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(key.data()), key.size());
  crypto_auth_hmacsha256_update(&state, raw(text.data()), text.size());
  crypto_auth_hmacsha256_final(&state, digest.data());
  return digest;
}

std::string_view view(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::string stamp(std::time_t now, const char* format) {
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

S3Signer::S3Signer(S3Credentials credentials, std::string region)
    : credentials_(std::move(credentials)), region_(std::move(region)) {}

std::string s3_query(const std::vector<std::pair<std::string, std::string>>& query) {
  std::vector<std::string> items;
  for (const auto& [name, value] : query) items.push_back(web_encode(name, false) + "=" + web_encode(value, false));
  std::sort(items.begin(), items.end());
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : "&") + item;
  return text;
}

std::vector<std::string> S3Signer::headers(const S3Request& request, std::time_t now) const {
  const std::string payload = hex(sha256(request.body));
  if (credentials_.id.empty()) return {"x-amz-content-sha256: " + payload};
  const std::string time = stamp(now, "%Y%m%dT%H%M%SZ"), day = stamp(now, "%Y%m%d");
  std::string canonical = "host:" + request.host + "\nx-amz-content-sha256:" + payload + "\nx-amz-date:" + time + "\n";
  std::string names = "host;x-amz-content-sha256;x-amz-date";
  if (!credentials_.token.empty()) {
    canonical += "x-amz-security-token:" + credentials_.token + "\n";
    names += ";x-amz-security-token";
  }
  const std::string all = request.method + "\n" + request.path + "\n" + s3_query(request.query) + "\n" + canonical +
                          "\n" + names + "\n" + payload;
  const std::string scope = day + "/" + region_ + "/s3/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + hex(sha256(as_bytes(all)));
  Digest key = hmac("AWS4" + credentials_.secret, day);
  for (const std::string& part : {region_, std::string("s3"), std::string("aws4_request")}) key = hmac(view(key), part);
  std::vector<std::string> headers = {
      "x-amz-content-sha256: " + payload, "x-amz-date: " + time,
      "Authorization: AWS4-HMAC-SHA256 Credential=" + credentials_.id + "/" + scope + ", SignedHeaders=" + names +
          ", Signature=" + hex(hmac(view(key), to_sign))};
  if (!credentials_.token.empty()) headers.push_back("x-amz-security-token: " + credentials_.token);
  return headers;
}

S3Credentials read_s3_credentials(const std::string& path, const std::string& profile) {
  const Fd file = open_file(path, O_RDONLY | O_CLOEXEC);
  struct stat about {};
  check(::fstat(file.get(), &about), path);
  if (S_ISREG(about.st_mode) && (about.st_mode & 077) != 0)
    fail(EACCES, path + " may be read by others (chmod 600 it)");
  std::string text(64 * KiB, '\0');
  text.resize(static_cast<std::size_t>(check(::read(file.get(), text.data(), text.size()), path)));
  std::istringstream lines(text);
  S3Credentials found;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    line = trimmed(line);
    if (line.starts_with("[")) inside = line == "[" + profile + "]";
    const auto equals = line.find('=');
    if (!inside || equals == line.npos) continue;
    const std::string name = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
    if (name == "aws_access_key_id") found.id = value;
    if (name == "aws_secret_access_key") found.secret = value;
    if (name == "aws_session_token") found.token = value;
  }
  if (found.id.empty() || found.secret.empty())
    throw std::invalid_argument(path + " has no aws_access_key_id and aws_secret_access_key in [" + profile + "]");
  return found;
}

}  // namespace r3

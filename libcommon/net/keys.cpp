// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/keys.hpp"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/input.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr std::size_t kChecksum = 4;
constexpr std::size_t kBody = (kKeySize + kChecksum) / 3 * 4;  // characters of base64
constexpr std::size_t kMostFile = 64 * KiB;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::string_view kSpace = " \t\r\n";
constexpr KeyKind kKinds[] = {KeyKind::secret, KeyKind::open, KeyKind::shared};
using Decoded = Wiped<kKeySize + kChecksum>;

std::string_view name_of(KeyKind kind) {
  switch (kind) {
    case KeyKind::secret: return "private key";
    case KeyKind::open: return "public key";
    case KeyKind::shared: return "pre-shared key";
  }
  return "";
}

[[noreturn]] void refuse(std::string_view where, std::string_view what, std::string_view reason) {
  std::string text(where);
  for (const std::string_view part : {what, reason})
    if (!part.empty()) text += (text.empty() ? "" : ": ") + std::string(part);
  throw std::invalid_argument(text);
}

void put_checksum(KeyKind kind, Bytes key_and_checksum) {
  const std::string_view prefix = prefix_of(kind);
  Wiped<crypto_hash_sha256_BYTES> hash;
  crypto_hash_sha256_state state;
  ::crypto_hash_sha256_init(&state);
  ::crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(prefix.data()),
                              prefix.size());
  ::crypto_hash_sha256_update(
      &state, reinterpret_cast<const unsigned char*>(key_and_checksum.data()), kKeySize);
  ::crypto_hash_sha256_final(&state, reinterpret_cast<unsigned char*>(hash.data()));
  ::sodium_memzero(&state, sizeof state);
  std::copy_n(hash.data(), kChecksum, &key_and_checksum[kKeySize]);
}

std::string encode(KeyKind kind, ConstBytes key) {
  start_crypto();
  Decoded decoded;
  std::copy(key.begin(), key.end(), decoded.data());
  put_checksum(kind, decoded.bytes());
  std::string text(prefix_of(kind));
  const std::size_t start = text.size();
  text.resize(start + kBody + 1);
  ::sodium_bin2base64(&text[start], kBody + 1,
                      reinterpret_cast<const unsigned char*>(decoded.data()),
                      decoded.bytes().size(), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  text.pop_back();
  return text;
}

std::string_view body_of(KeyKind kind, std::string_view text, std::string_view where) {
  for (const KeyKind other : kKinds) {
    if (!text.starts_with(prefix_of(other))) continue;
    if (other == kind) return text.substr(prefix_of(kind).size());
    refuse(where, name_of(kind), "this is a " + std::string(name_of(other)) + " (" +
                                     std::string(prefix_of(other)) + "...)");
  }
  refuse(where, name_of(kind), "should begin with " + std::string(prefix_of(kind)));
}

Decoded decode(KeyKind kind, std::string_view text, std::string_view where) {
  start_crypto();
  const std::string_view body = body_of(kind, text, where);
  if (body.size() != kBody)
    refuse(where, name_of(kind),
           std::string(body.size() < kBody ? "cut short" : "too long") + ": " +
               std::to_string(body.size()) + " characters after " + std::string(prefix_of(kind)) +
               " instead of " + std::to_string(kBody));
  Decoded decoded;
  std::size_t length = 0;
  // libsodium takes a byte above 127 for some letters.
  if (body.find_first_not_of(kAlphabet) != std::string_view::npos ||
      ::sodium_base642bin(reinterpret_cast<unsigned char*>(decoded.data()), decoded.bytes().size(),
                          body.data(), body.size(), nullptr, &length, nullptr,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
      length != decoded.bytes().size())
    refuse(where, name_of(kind), "a character that no key has (letters, digits, - and _)");
  Decoded expected = decoded;
  put_checksum(kind, expected.bytes());
  if (::sodium_memcmp(expected.data(), decoded.data(), decoded.bytes().size()) != 0)
    refuse(where, name_of(kind), "mistyped: its checksum does not match");
  return decoded;
}

// A file's text, wiped when it was read.
struct Text {
  ~Text() { wipe(std::as_writable_bytes(std::span(bytes))); }
  std::string bytes;
};

Fd open_key_file(const std::string& path) {
  if (path == "-") return duplicate(STDIN_FILENO);
  if (path.starts_with("fd:"))
    return duplicate(static_cast<int>(parse_number(std::string_view(path).substr(3), 1 << 20)));
  return open_input(path);
}

void refuse_if_others_may_read(int fd, const std::string& path) {
  struct stat found;
  check(::fstat(fd, &found), path);
  const unsigned mode = found.st_mode & 07777;
  if (!S_ISREG(found.st_mode) || (mode & 077) == 0) return;
  char octal[8];
  std::snprintf(octal, sizeof octal, "%04o", mode);
  fail(EACCES, path + ": a secret that others may read (mode " + octal + "; chmod 600 it)");
}

void read_text(int fd, const std::string& path, const Stop* stop, Text& text) {
  text.bytes.resize(kMostFile + 1);
  text.bytes.resize(read_input(fd, std::as_writable_bytes(std::span(text.bytes)), path, stop));
  if (text.bytes.size() > kMostFile) fail(EFBIG, path);
}

struct Line {
  std::string_view text;
  std::string where;  // FILE:LINE
};

// The one line that is neither empty nor a comment.
Line line_with_key(KeyKind kind, const std::string& path, std::string_view text) {
  Line found;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    line = line.substr(0, line.find_last_not_of(kSpace) + 1);
    if (line.empty() || line.front() == '#') continue;
    const std::string where = path + ":" + std::to_string(number);
    if (!found.text.empty()) refuse(where, "a second line with a key", "");
    found = {line, where};
  }
  if (found.text.empty()) refuse(path == "-" ? "standard input" : path, "no " + std::string(name_of(kind)) + " in it", "");
  return found;
}

}  // namespace

std::string_view prefix_of(KeyKind kind) {
  switch (kind) {
    case KeyKind::secret: return "r3sk1_";
    case KeyKind::open: return "r3pk1_";
    case KeyKind::shared: return "r3psk1_";
  }
  return "";
}

std::string to_text(const PublicKey& key) {
  return encode(KeyKind::open, key);
}

std::string to_text(KeyKind kind, const SecretKey& key) {
  return encode(kind, key.bytes());
}

PublicKey parse_public_key(std::string_view text, std::string_view where) {
  const Decoded decoded = decode(KeyKind::open, text, where);
  PublicKey key;
  std::copy_n(decoded.data(), key.size(), key.begin());
  return key;
}

SecretKey parse_secret_key(KeyKind kind, std::string_view text, std::string_view where) {
  return SecretKey::copy_of(decode(kind, text, where).bytes().first(kKeySize));
}

SecretKey read_secret_key(KeyKind kind, const std::string& path, const Stop* stop) {
  const Fd file = open_key_file(path);
  refuse_if_others_may_read(file.get(), path);
  Text text;
  read_text(file.get(), path, stop, text);
  const Line line = line_with_key(kind, path, text.bytes);
  return parse_secret_key(kind, line.text, line.where);
}

PublicKey read_public_key(const std::string& path, const Stop* stop) {
  const Fd file = open_key_file(path);
  Text text;
  read_text(file.get(), path, stop, text);
  const Line line = line_with_key(KeyKind::open, path, text.bytes);
  return parse_public_key(line.text, line.where);
}

}  // namespace r3

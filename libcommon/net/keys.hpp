// SPDX-License-Identifier: Apache-2.0
// Keys as people handle them (r3-key(1)): one line of text that names its kind and carries a checksum,
// and files of such lines. Nothing here ever repeats a key in an error: the text may be a secret in the
// wrong place.
//
//   kind "_" base64url(32 bytes of key, 4 bytes of SHA-256(kind "_" key))    kind: r3sk1, r3pk1, r3psk1
#pragma once

#include <string>
#include <string_view>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/secret.hpp"

namespace r3 {

enum class KeyKind { secret, open, shared };  // a private key, a public key, a pre-shared key

// "r3pk1_": what the text of a key of that kind begins with.
std::string_view prefix_of(KeyKind kind);

std::string to_text(const PublicKey& key);
// The text of a private key (KeyKind::secret) or pre-shared key (KeyKind::shared). To be wiped by the
// caller when it was used.
std::string to_text(KeyKind kind, const SecretKey& key);

// Throw std::invalid_argument with a text that says what is wrong: another kind of key, cut short, a
// character that no key has, mistyped (the checksum). `where` stands first in it ("FILE:LINE").
PublicKey parse_public_key(std::string_view text, std::string_view where = {});
SecretKey parse_secret_key(KeyKind kind, std::string_view text, std::string_view where = {});

// The one key of that kind in a file: a line of its own, among empty lines and comments (#). `path` may
// be "-" (standard input) or "fd:N". A file that others may read is refused (std::system_error, EACCES);
// what is wrong with its text is std::invalid_argument with the line's number. A FIFO or terminal is waited
// for until `stop` is requested; without one, for two seconds.
SecretKey read_secret_key(KeyKind kind, const std::string& path, const Stop* stop = nullptr);
// The same for a public key; anybody may read such a file.
PublicKey read_public_key(const std::string& path, const Stop* stop = nullptr);

}  // namespace r3

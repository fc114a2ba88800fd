// SPDX-License-Identifier: Apache-2.0
// Foreign bytes to everything that reads them before or after authentication: preamble and handshake
// messages of either role, records (sealed ones too, so that the fuzzer gets past the tag), keys as text
// and peer files. The first byte says which.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/keys.hpp"
#include "libcommon/net/peer_keys.hpp"
#include "libcommon/net/secure_stream.hpp"

namespace {

using namespace std::chrono_literals;
using r3::Bytes;
using r3::ConstBytes;

// Gives the input in pieces of uneven length and swallows what is written.
class Input final : public r3::Stream {
 public:
  explicit Input(ConstBytes bytes) : bytes_(bytes) {}
  std::size_t read_some(Bytes into) override {
    step_ = step_ * 5 + 1;
    const std::size_t n = std::min({into.size(), bytes_.size(), step_ % 37 + 1});
    std::copy_n(bytes_.begin(), n, into.begin());
    bytes_ = bytes_.subspan(n);
    return n;
  }
  void write_parts(std::span<const ConstBytes>) override {}
  void finish() override {}
  void set_deadline(Deadline) override {}

 private:
  ConstBytes bytes_;
  std::size_t step_ = 0;
};

const r3::SecretKey& fixed_key() {
  static const std::vector<std::byte> bytes(32, std::byte{9});
  static const r3::SecretKey key = r3::SecretKey::copy_of(bytes);
  return key;
}

std::size_t read_records(ConstBytes bytes) {
  const r3::CipherState cipher(fixed_key().bytes());
  Input input(bytes);
  r3::SecureStream stream(input, {r3::NoisePattern::xk, cipher, cipher, {}, {}});
  std::vector<std::byte> into(1 + bytes.size() % 300);
  std::size_t total = 0;
  while (const std::size_t n = stream.read_some(into)) total += n;
  return total;
}

// Seals the input in records whose lengths it gives; they have to come out as they went in.
void seal_and_read(ConstBytes bytes) {
  r3::RecordSealer sealer{r3::CipherState(fixed_key().bytes())};
  std::vector<std::byte> sealed;
  std::size_t expected = 0;
  const auto add = [&](ConstBytes plaintext) {
    const std::size_t at = sealed.size();
    sealed.resize(at + plaintext.size() + r3::kRecordOverhead);
    sealer.seal(plaintext, &sealed[at]);
    expected += plaintext.size();
  };
  while (!bytes.empty()) {
    const auto length = std::min(bytes.size(), std::to_integer<std::size_t>(bytes.front()) + 1);
    add(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  add({});
  if (read_records(sealed) != expected) std::abort();
}

void take(unsigned char what, ConstBytes bytes) {
  const auto& key = fixed_key();
  Input input(bytes);
  switch (what % 10) {
    case 0: r3::server_handshake(input, {key, {}, true}, 1h); break;
    case 1: r3::server_handshake(input, {{}, key, false}, 1h); break;
    case 2: r3::server_handshake(input, {key, key, false}, 1h); break;
    case 3: r3::client_handshake(input, {key, key.public_key(), {}}, 1h); break;
    case 4: r3::client_handshake(input, {{}, {}, key}, 1h); break;
    case 5: r3::client_handshake(input, {key, key.public_key(), key}, 1h); break;
    case 6: read_records(bytes); break;
    case 7: seal_and_read(bytes); break;
    case 8: r3::parse_public_key(r3::as_text(bytes)); break;
    default: r3::PeerKeys::parse(r3::as_text(bytes), "peers"); break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    take(data[0], std::as_bytes(std::span(data, size)).subspan(1));
  } catch (const r3::ProtocolError&) {
  } catch (const std::invalid_argument&) {
  } catch (const std::system_error&) {
  }
  return 0;
}

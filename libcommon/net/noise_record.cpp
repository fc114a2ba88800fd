// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/noise_record.hpp"

#include <cassert>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

void rekey_if_due(CipherState& cipher) {
  if (cipher.nonce() % kRecordsPerKey == 0) cipher.rekey();
}

}  // namespace

std::size_t RecordSealer::seal(ConstBytes plaintext, std::byte* into) {
  assert(plaintext.size() <= kMostPlaintext);
  const std::size_t sealed = plaintext.size() + kTagSize;
  cipher_.seal({}, plaintext, into + kRecordHeader);
  store_be(into, static_cast<std::uint16_t>(sealed));
  rekey_if_due(cipher_);
  return kRecordHeader + sealed;
}

std::size_t RecordOpener::length_of(ConstBytes bytes) {
  if (bytes.size() < kRecordHeader) return 0;
  const std::size_t sealed = load_be<std::uint16_t>(bytes.data());
  if (sealed < kTagSize) throw ProtocolError("a record that is too short to be one");
  return kRecordHeader + sealed;
}

void RecordOpener::open(ConstBytes record, std::byte* into) {
  assert(record.size() >= kRecordOverhead && record.size() <= kMostRecord);
  broken_ = broken_ || !cipher_.open({}, record.subspan(kRecordHeader), into);
  if (broken_) throw ProtocolError("a record that is not authentic: changed, repeated or left out");
  rekey_if_due(cipher_);
}

}  // namespace r3

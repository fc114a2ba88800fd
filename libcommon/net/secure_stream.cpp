// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/secure_stream.hpp"

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

// Larger ones leave the processor's second cache and are slower (measured).
constexpr std::size_t kBuffer = 2 * kMostRecord;
// From here on one record more (about 0.6 us) costs less than copying the part (measured).
constexpr std::size_t kSealInPlace = 16 * KiB;

}  // namespace

SecureStream::SecureStream(Stream& plain, const SecureSession& session)
    : plain_(plain),
      pattern_(session.pattern),
      binding_(session.binding),
      peer_(session.peer),
      opener_(session.receiving),
      received_(Mapping::anonymous(kBuffer)),
      sealer_(session.sending),
      sealed_(Mapping::anonymous(kBuffer)) {}

std::size_t SecureStream::read_some(Bytes into) {
  if (into.empty()) return 0;
  for (;;) {
    if (!opened_.empty()) return take_opened(into);
    if (ended_) return 0;
    const std::size_t done = open_records(into);
    if (done > 0) return done;
    if (opened_.empty() && !ended_) fill();
  }
}

// The whole record that comes next, or nothing when it has not arrived.
ConstBytes SecureStream::next_record() {
  const ConstBytes there = ConstBytes(received_.bytes()).subspan(begin_, end_ - begin_);
  const std::size_t length = RecordOpener::length_of(there);
  if (length == 0 || length > there.size()) return {};
  return there.first(length);
}

// Opens what has arrived, straight into `into` while it fits. A record that is larger than all of
// `into` is opened in place, for take_opened.
std::size_t SecureStream::open_records(Bytes into) {
  std::size_t done = 0;
  while (!ended_) {
    const ConstBytes record = next_record();
    if (record.empty()) break;
    const std::size_t length = record.size() - kRecordOverhead;
    const bool fits = length <= into.size() - done;
    if (!fits && done > 0) break;
    std::byte* const in_place = &received_.bytes()[begin_ + kRecordHeader];
    opener_.open(record, fits ? into.data() + done : in_place);
    begin_ += record.size();
    ended_ = length == 0;
    if (!fits) {
      opened_ = {in_place, length};
      break;
    }
    done += length;
  }
  return done;
}

std::size_t SecureStream::take_opened(Bytes into) {
  const std::size_t length = std::min(into.size(), opened_.size());
  std::memcpy(into.data(), opened_.data(), length);
  opened_ = opened_.subspan(length);
  return length;
}

void SecureStream::fill() {
  const Bytes buffer = received_.bytes();
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer.size() - begin_ < kMostRecord) {
    std::memmove(buffer.data(), &buffer[begin_], end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const std::size_t n = plain_.read_some(buffer.subspan(end_));
  if (n == 0) fail(ECONNRESET, "the connection broke off");
  end_ += n;
}

void SecureStream::write_parts(std::span<const ConstBytes> parts) {
  for (ConstBytes part : parts) {
    while (!part.empty()) {
      std::size_t taken;
      if (part.size() >= kSealInPlace) {
        seal_staged();
        taken = std::min(part.size(), kMostPlaintext);
        seal_from(part.first(taken));
      } else {
        taken = std::min(part.size(), kMostPlaintext - staged_);
        std::byte* const stage = &sealed_.bytes()[sealed_end_ + kRecordHeader];
        std::memcpy(stage + staged_, part.data(), taken);
        staged_ += taken;
        if (staged_ == kMostPlaintext) seal_staged();
      }
      part = part.subspan(taken);
    }
  }
  seal_staged();
  send_sealed();
}

void SecureStream::seal_staged() {
  if (staged_ == 0) return;
  const std::size_t length = staged_;
  staged_ = 0;
  seal_from({&sealed_.bytes()[sealed_end_ + kRecordHeader], length});
}

// There is always room for one whole record behind sealed_end_.
void SecureStream::seal_from(ConstBytes plaintext) {
  sealed_end_ += sealer_.seal(plaintext, &sealed_.bytes()[sealed_end_]);
  if (sealed_.bytes().size() - sealed_end_ < kMostRecord) send_sealed();
}

void SecureStream::send_sealed() {
  const std::size_t length = std::exchange(sealed_end_, 0);
  if (length > 0) plain_.write(ConstBytes(sealed_.bytes()).first(length));
}

void SecureStream::finish() {
  seal_from({});
  send_sealed();
  plain_.finish();
}

}  // namespace r3

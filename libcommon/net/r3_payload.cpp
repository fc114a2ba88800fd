// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_payload.hpp"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"

namespace r3::wire {

namespace {

constexpr std::size_t kWord = 8;
constexpr std::size_t kSmallest = 512;   // below, a header weighs more than what is saved
constexpr unsigned kFirstProbe = 16;     // pieces until the next try when it does not pay
constexpr unsigned kLastProbe = 1024;    // and when it has not for long
constexpr double kTooFast = 1e9;         // bytes a second: no compressor keeps up with such a link
constexpr std::chrono::duration<double> kRateWindow{0.02};
constexpr std::uint64_t kUnhindered = 4 * MiB;  // sent without a wait: the link may do twice as much
constexpr double kOld = 0.75;            // weight of the past in the running means

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

bool repeats(ConstBytes data) {
  return data.size() > kWord && data.size() % kWord == 0 &&
         std::memcmp(data.data(), data.data() + kWord, data.size() - kWord) == 0;
}

}  // namespace

void LinkRate::tried(std::size_t taken, bool some_left, Clock::time_point now) {
  if (waiting_since_ != Clock::time_point{}) {
    waited_ += now - waiting_since_;
    carried_ += taken;
    free_bytes_ = 0;
  } else {
    free_bytes_ += taken;
  }
  waiting_since_ = some_left ? now : Clock::time_point{};
  if (waited_ >= kRateWindow) {
    rate_ = static_cast<double>(carried_) / waited_.count();
    waited_ = {};
    carried_ = 0;
  } else if (rate_ > 0 && free_bytes_ >= kUnhindered) {
    rate_ *= 2;
    free_bytes_ = 0;
  }
}

bool Thrift::worth_trying(double wire_rate) {
  if (wire_rate <= 0 || wire_rate > kTooFast) return false;
  if (seconds_per_byte_ == 0) return true;
  const double saved = (1 - ratio_) / wire_rate;
  if (saved > seconds_per_byte_) {
    patience_ = skipped_ = 0;
    return true;
  }
  if (patience_ == 0) patience_ = kFirstProbe;
  if (++skipped_ < patience_) return false;
  skipped_ = 0;
  patience_ = std::min(2 * patience_, kLastProbe);
  return true;
}

void Thrift::compressed(std::size_t from, std::size_t to, Seconds took) {
  const double bytes = static_cast<double>(from);
  const double cost = took.count() / bytes;
  const double ratio = static_cast<double>(to) / bytes;
  const bool first = seconds_per_byte_ == 0;
  seconds_per_byte_ = first ? cost : kOld * seconds_per_byte_ + (1 - kOld) * cost;
  ratio_ = first ? ratio : kOld * ratio_ + (1 - kOld) * ratio;
}

struct Packer::Zstd {
  std::unique_ptr<ZSTD_CCtx, FreeContext> context{ZSTD_createCCtx()};
  std::vector<std::byte> out;
};

Packer::Packer() = default;
Packer::~Packer() = default;

Packed Packer::pack(ConstBytes data, bool may_compress, double wire_rate) {
  if (repeats(data)) {
    const auto word = data.first(kWord);
    if (all_zero(word)) return {kZeroes, {}};
    return {kRepeat, word};
  }
  if (!may_compress || data.size() < kSmallest || !thrift_.worth_trying(wire_rate))
    return {0, data};
  if (!zstd_) zstd_ = std::make_unique<Zstd>();
  zstd_->out.resize(data.size());
  const auto start = std::chrono::steady_clock::now();
  // No room for a result that is not smaller: zstd gives up then.
  const auto n = ZSTD_compressCCtx(zstd_->context.get(), zstd_->out.data(),
                                   data.size() - data.size() / 16, data.data(), data.size(), 1);
  const bool smaller = !ZSTD_isError(n);
  thrift_.compressed(data.size(), smaller ? n : data.size(),
                     std::chrono::steady_clock::now() - start);
  if (!smaller) return {0, data};
  return {kZstd, ConstBytes(zstd_->out).first(n)};
}

struct Unpacker::Zstd {
  std::unique_ptr<ZSTD_DCtx, FreeContext> context{ZSTD_createDCtx()};
};

Unpacker::Unpacker() = default;
Unpacker::~Unpacker() = default;

void Unpacker::unpack(std::uint8_t flags, ConstBytes payload, Bytes into) {
  switch (flags & (kZeroes | kRepeat | kZstd)) {
    case 0:
      if (payload.size() != into.size()) throw ProtocolError("a payload of the wrong length");
      if (!into.empty()) std::memcpy(into.data(), payload.data(), into.size());
      return;
    case kZeroes:
      if (!payload.empty()) throw ProtocolError("zeroes with a payload");
      if (!into.empty()) std::memset(into.data(), 0, into.size());
      return;
    case kRepeat:
      if (payload.size() != kWord || into.size() % kWord != 0)
        throw ProtocolError("a repeated word of the wrong length");
      for (std::size_t at = 0; at < into.size(); at += kWord)
        std::memcpy(into.data() + at, payload.data(), kWord);
      return;
    case kZstd: {
      if (!zstd_) zstd_ = std::make_unique<Zstd>();
      const auto n = ZSTD_decompressDCtx(zstd_->context.get(), into.data(), into.size(),
                                         payload.data(), payload.size());
      if (ZSTD_isError(n) || n != into.size())
        throw ProtocolError("compressed data do not fill their length");
      return;
    }
    default: throw ProtocolError("data in two forms at once");
  }
}

}  // namespace r3::wire

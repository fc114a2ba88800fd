// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/leech_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <shared_mutex>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/cached_map.hpp"

namespace r3 {

namespace {

constexpr std::string_view kMagic = "R3LEECH\1";
// r3-leech(1) has the same table: a page with this, the map that is mapped, the map that is durable.
enum At : std::size_t { kMagicAt = 0, kSizeAt = 8, kChunkAt = 16, kBootAt = 24, kLabelSize = 64 };
constexpr std::size_t kPage = 4096;
static_assert(kBootAt + 36 <= kLabelSize && kLabelSize <= kPage);

std::array<std::byte, kLabelSize> label_of(std::uint64_t size) {
  std::array<std::byte, kLabelSize> label{};
  std::ranges::copy(as_bytes(kMagic), label.begin() + kMagicAt);
  store_le(label.data() + kSizeAt, size);
  store_le(label.data() + kChunkAt, LeechStore::kChunk);
  std::string boot = read_small_file("/proc/sys/kernel/random/boot_id");
  boot.resize(36);
  std::ranges::copy(as_bytes(boot), label.begin() + kBootAt);
  return label;
}

}  // namespace

LeechStore::LeechStore(Backend& local, const std::string& map_path, Begin begin)
    : local_(local),
      words_(std::max<std::size_t>(1, ((local.size() + kChunk - 1) / kChunk + 63) / 64)),
      dirty_(words_),
      path_(map_path),
      durable_(words_) {
  if (path_.empty()) {
    memory_.resize(words_);
    live_ = memory_.data();
  } else {
    open_map(map_path, begin);
    // What was here may have been written here: nobody is to take the seeder's bytes for it.
    if (begin == Begin::where_it_was) std::copy_n(live_, words_, dirty_.begin());
  }
}

void LeechStore::open_map(const std::string& path, Begin begin) {
  const bool anew = begin == Begin::anew;
  file_ = open_file(path, O_RDWR | O_CREAT, 0600);
  const auto label = label_of(local_.size());
  const auto bytes = round_up(words_ * 8, kPage);
  if (anew) {
    check(::ftruncate(file_.get(), 0), path);
    check(::ftruncate(file_.get(), static_cast<off_t>(kPage + 2 * bytes)), path);
    pwrite_full(file_.get(), label, 0, path);
    // With its blocks allocated, writing it later needs no journal, behind which all that was pulled waits.
    const std::vector<std::byte> zeroes(2 * bytes);
    pwrite_full(file_.get(), zeroes, kPage, path);
    check(::fsync(file_.get()), path);
  }
  std::array<std::byte, kLabelSize> found;
  if (pread_full(file_.get(), found, 0, path) < kLabelSize ||
      !std::equal(found.begin(), found.begin() + kBootAt, label.begin()) ||
      check(::lseek(file_.get(), 0, SEEK_END), path) != static_cast<off_t>(kPage + 2 * bytes))
    fail(EINVAL, path + ": is no map of this region");
  mapping_ = Mapping::of_file(file_.get(), kPage, bytes, true);
  live_ = reinterpret_cast<std::uint64_t*>(mapping_.bytes().data());
  pread_full(file_.get(), std::as_writable_bytes(std::span(durable_)), kPage + bytes, path);
  if (found == label) return;
  // Another boot: the mapped one may say more than is on the disk.
  std::ranges::copy(durable_, live_);
  pwrite_full(file_.get(), label, 0, path);
  check(::fsync(file_.get()), path);
}

void LeechStore::write(ConstBytes from, std::uint64_t offset) {
  try {
    local_.write_at(from, offset);
    error_ = 0;
  } catch (...) {
    error_ = errno_of_current_exception();
    throw;
  }
}

void LeechStore::zero(std::uint64_t offset, std::uint64_t length) { local_.zero_at(offset, length); }

std::vector<std::uint64_t> LeechStore::snapshot() const {
  std::vector<std::uint64_t> words(words_);
  constexpr auto kWords = ChunkMap::kGroup / 64;
  for (std::size_t at = 0; at < words_; at += kWords) {
    const std::shared_lock lock(map_->lock_of(at * 64));
    std::copy_n(live_ + at, std::min<std::size_t>(kWords, words_ - at), words.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return words;
}

void LeechStore::write_durable(const std::vector<std::uint64_t>& words) {
  if (path_.empty() || words == durable_) return;
  const auto bytes = round_up(words_ * 8, kPage);
  pwrite_full(file_.get(), std::as_bytes(std::span(words)), kPage + bytes, path_);
  check(::fdatasync(file_.get()), path_);
  durable_ = words;
}

void LeechStore::sync() {
  const std::lock_guard lock(mutex_);
  const auto words = snapshot();  // first: what comes meanwhile is not covered by this flush
  local_.flush();
  write_durable(words);
}

void LeechStore::distrust() {
  const std::lock_guard lock(mutex_);
  write_durable(std::vector<std::uint64_t>(words_));
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/owner_record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/whole_file.hpp"

namespace r3 {

namespace {

constexpr std::string_view kMagic = "R3OWNER\1";
// r3-seed(1) has the same table.
enum At : std::size_t { kMagicAt = 0, kStateAt = 8, kZeroAt = 12, kSizeAt = 16, kLeecherAt = 24, kTokenAt = 40,
                        kSumAt = 48 };
static_assert(kSumAt + sizeof(std::uint64_t) == kOwnerRecordSize);
static_assert(kLeecherAt + sizeof(OwnerRecord::leecher) == kTokenAt);

std::uint64_t sum_of(ConstBytes bytes) { return XXH3_64bits(bytes.data(), kSumAt); }

}  // namespace

std::string encode(const OwnerRecord& record) {
  std::array<std::byte, kOwnerRecordSize> out{};
  std::ranges::copy(as_bytes(kMagic), out.begin() + kMagicAt);
  store_le(out.data() + kStateAt, static_cast<std::uint32_t>(record.state));
  store_le(out.data() + kSizeAt, record.size);
  std::ranges::copy(record.leecher, out.begin() + kLeecherAt);
  store_le(out.data() + kTokenAt, record.token);
  store_le(out.data() + kSumAt, sum_of(out));
  return std::string(as_text(out));
}

OwnerRecord decode_owner_record(ConstBytes bytes, const std::string& name) {
  if (bytes.size() != kOwnerRecordSize || as_text(bytes.first(kMagic.size())) != kMagic ||
      load_le<std::uint64_t>(bytes.data() + kSumAt) != sum_of(bytes))
    fail(EINVAL, name + ": is no record of who owns a region, or is damaged");
  OwnerRecord record;
  const auto state = load_le<std::uint32_t>(bytes.data() + kStateAt);
  if (state < 1 || state > 6) fail(EINVAL, name + ": was written by another version");
  record.state = static_cast<OwnerRecord::State>(state);
  record.size = load_le<std::uint64_t>(bytes.data() + kSizeAt);
  std::copy_n(bytes.begin() + kLeecherAt, record.leecher.size(), record.leecher.begin());
  record.token = load_le<std::uint64_t>(bytes.data() + kTokenAt);
  return record;
}

const char* to_text(OwnerRecord::State state) {
  switch (state) {
    case OwnerRecord::State::owner: return "the region is here";
    case OwnerRecord::State::suspended: return "the region is here, its application was told to stop";
    case OwnerRecord::State::given: return "the region was given to another host, which does not have all of it yet";
    case OwnerRecord::State::gone: return "the region was moved to another host";
    case OwnerRecord::State::pulling: return "this is a copy that r3-leech has not completed";
    case OwnerRecord::State::committing: return "r3-leech has to find out whether the region is here";
  }
  return "unknown";
}

OwnerFile::OwnerFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  check_whole_file(path_);
  const std::string name = path_ + ".lock";
  lock_ = Fd(check(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), name));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
    fail(errno == EWOULDBLOCK ? EBUSY : errno, path_ + ": another r3-seed or r3-leech uses the region");
}

std::optional<OwnerRecord> OwnerFile::read() const {
  if (path_.empty()) return std::nullopt;
  const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid() && errno == ENOENT) return std::nullopt;
  check(file.get(), path_);
  std::array<std::byte, kOwnerRecordSize + 1> bytes;
  const auto length = pread_full(file.get(), bytes, 0);
  return decode_owner_record(ConstBytes(bytes).first(length), path_);
}

void OwnerFile::write(const OwnerRecord& record) const {
  if (!path_.empty()) write_whole_file(path_, encode(record), 0600, Existing::replace);
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/swap_area.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

constexpr std::size_t kHeader = 1024;
constexpr std::uint64_t kLook = MiB;         // where file systems, partition tables and RAIDs leave their marks
constexpr std::uint64_t kLeastPages = 10;    // the kernel refuses less
constexpr std::uint64_t kMostPages = 1ULL << 32;  // counted in 32 bits
constexpr std::string_view kMagic = "SWAPSPACE2";
constexpr std::string_view kHibernation = "S1SUSPEND\0";
constexpr std::string_view kRecord{"ram-dl\0\1", 8};
constexpr std::size_t kLongestOwner = 256;

// In the machine's own byte order: a machine of the other one does not take it, as it must not.
struct Header {
  std::uint32_t version = 1;
  std::uint32_t last_page = 0;
  std::uint32_t bad_pages = 0;
  std::uint8_t uuid[16];
  char label[16] = "r3 ram-dl";
};
static_assert(sizeof(Header) == 44);

void make_uuid(std::uint8_t (&uuid)[16]) {
  check(::getrandom(uuid, sizeof uuid, 0), "getrandom");
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);  // RFC 9562: version 4
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
}

std::string uuid_in(ConstBytes page) {
  std::string text;
  for (const std::byte byte : page.subspan(kHeader + offsetof(Header, uuid), sizeof Header::uuid)) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
    text += digits;
  }
  return text;
}

std::string owner_in(ConstBytes page) {
  if (as_text(page.first(kRecord.size())) != kRecord) return {};
  const std::string_view text = as_text(page.subspan(kRecord.size(), kLongestOwner));
  return std::string(text.substr(0, text.find('\0')));
}

}  // namespace

SwapArea::SwapArea(Backend& region, std::string name)
    : region_(region),
      name_(std::move(name)),
      page_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))),
      pages_(region.size() / page_) {
  if (pages_ < kLeastPages)
    fail(EINVAL, name_ + ": swap needs at least " + std::to_string(kLeastPages * page_) + " bytes");
  if (pages_ > kMostPages) fail(EFBIG, name_ + ": swap has at most 2^32 pages");
  look();
}

void SwapArea::look() {
  std::vector<std::byte> first(std::min(kLook, region_.size()));
  std::vector<std::byte> last(first.size());
  region_.read_at(first, 0);
  region_.read_at(last, region_.size() - last.size());
  const std::string_view mark = as_text(ConstBytes(first).subspan(page_ - kMagic.size(), kMagic.size()));
  if (mark == kMagic)
    state_ = AreaState::swap;
  else if (mark.starts_with(kHibernation.substr(0, 9)))
    state_ = AreaState::hibernation;
  else if (all_zero(first) && all_zero(last))
    state_ = AreaState::empty;
  if (state_ != AreaState::swap) return;
  owner_ = owner_in(first);
  uuid_ = uuid_in(first);
}

void SwapArea::check_free(const std::string& me) const {
  if (state_ == AreaState::hibernation) fail(EEXIST, name_ + ": a hibernated system is there");
  if (state_ == AreaState::other) fail(EEXIST, name_ + ": neither empty nor swap; --force overwrites it");
  if (!owner_.empty() && owner_ != me)
    fail(EBUSY, name_ + ": " + owner_ + " swaps there; --force takes it, if that is long gone");
}

void SwapArea::write(const std::string& me) {
  std::vector<std::byte> page(page_);
  Header header;
  header.last_page = static_cast<std::uint32_t>(pages_ - 1);
  make_uuid(header.uuid);
  std::memcpy(page.data(), kRecord.data(), kRecord.size());
  me.copy(reinterpret_cast<char*>(page.data()) + kRecord.size(), kLongestOwner - 1);
  std::memcpy(page.data() + kHeader, &header, sizeof header);
  std::memcpy(page.data() + page_ - kMagic.size(), kMagic.data(), kMagic.size());
  region_.write_at(page, 0);
  region_.flush();
  uuid_ = uuid_in(page);
}

void SwapArea::release() {
  const std::vector<std::byte> nobody(kRecord.size() + kLongestOwner);
  region_.write_at(nobody, 0);
  region_.flush();
}

std::string name_of_machine() {
  char name[128] = "";
  ::gethostname(name, sizeof name - 1);
  std::string id;
  try {
    id = read_small_file("/etc/machine-id");
    id.erase(std::min(id.find('\n'), id.size()));
  } catch (const std::system_error&) {  // a machine need not have one
  }
  return std::string(name) + (id.empty() ? "" : " (" + id.substr(0, 12) + ")");
}

}  // namespace r3

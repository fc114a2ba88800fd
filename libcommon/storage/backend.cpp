// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/backend.hpp"

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

bool within(std::uint64_t size, std::uint64_t offset, std::uint64_t length) {
  return offset <= size && length <= size - offset;
}

}  // namespace

void Backend::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write_range(size(), offset, length);
  if (how.only_if_fast) fail(EOPNOTSUPP, "zeroing faster than by writing");
  static constexpr std::array<std::byte, 64 * KiB> zeroes{};
  while (length > 0) {
    const auto part = std::min<std::uint64_t>(length, zeroes.size());
    write_at(ConstBytes(zeroes).first(part), offset);
    offset += part;
    length -= part;
  }
}

void Backend::discard_at(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (read_only()) fail(EPERM, "discard");
}

void Backend::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
}

void Backend::read_background(Bytes into, std::uint64_t offset) {
  read_at(into, offset);
}

std::vector<Extent> Backend::extents(std::uint64_t offset, std::uint64_t length, std::size_t) {
  check_read_range(size(), offset, length);
  if (length == 0) return {};
  return {{offset, length, false, false}};
}

bool Backend::try_read_at(Bytes, std::uint64_t) {
  return false;
}

bool Backend::try_write_at(ConstBytes, std::uint64_t) {
  return false;
}

ConstBytes Backend::borrow(std::uint64_t, std::uint64_t) {
  return {};
}

void Backend::abandon() noexcept {}

void check_read_range(std::uint64_t size, std::uint64_t offset, std::uint64_t length) {
  if (!within(size, offset, length)) fail(EINVAL, "access past the end");
}

void check_write_range(std::uint64_t size, std::uint64_t offset, std::uint64_t length) {
  if (!within(size, offset, length)) fail(ENOSPC, "write past the end");
}

void append_extent(std::vector<Extent>& extents, const Extent& next) {
  if (next.length == 0) return;
  if (!extents.empty()) {
    Extent& last = extents.back();
    if (last.hole == next.hole && last.zero == next.zero) {
      last.length += next.length;
      return;
    }
  }
  extents.push_back(next);
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/mapping.hpp"

#include <sys/mman.h>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

Bytes map(std::size_t length, int protection, int flags, int fd, std::uint64_t offset) {
  if (length == 0) return {};
  void* address = ::mmap(nullptr, length, protection, flags, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) fail(errno, "mmap of " + std::to_string(length) + " bytes");
  return {static_cast<std::byte*>(address), length};
}

}  // namespace

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Mapping Mapping::anonymous(std::size_t length) {
  return Mapping(
      map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

Mapping Mapping::of_file(int fd, std::uint64_t offset, std::size_t length, bool writable) {
  return Mapping(map(length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, offset));
}

Mapping Mapping::of_file_if_possible(int fd, std::size_t length) {
  void* address = length > 0 ? ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  return address == MAP_FAILED ? Mapping() : Mapping(Bytes(static_cast<std::byte*>(address), length));
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// The kernel's userfaultfd interface, with what is newer than the headers of Linux 6.1. Constants and
// structures only. Source: the kernel's include/uapi/linux/userfaultfd.h and fs.h, 6.7 and later.
#pragma once

#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace r3::uffd_kernel {

inline constexpr std::uint64_t kFeaturePoison = 1 << 14;
inline constexpr std::uint64_t kFeatureWriteAsync = 1 << 15;
// In the features that fdinfo shows: UFFDIO_API has been done.
inline constexpr std::uint64_t kInitialized = 1u << 31;
inline constexpr std::uint64_t kEvents = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                                         UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;

struct Poison {
  uffdio_range range;
  std::uint64_t mode;
  std::int64_t updated;
};
static_assert(sizeof(Poison) == 32);

struct PageRegion {
  std::uint64_t start, end, categories;
};

struct ScanArguments {
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(ScanArguments) == 96);

enum PageCategory : std::uint64_t {
  kWriteAllowed = 1, kWritten = 2, kOfFile = 4, kPresent = 8, kSwapped = 16, kZeroPage = 32
};
enum ScanFlag : std::uint64_t { kProtectMatching = 1, kCheckAsync = 2 };

#define R3_UFFDIO_POISON _IOWR(0xAA, 0x08, r3::uffd_kernel::Poison)
#define R3_USERFAULTFD_NEW _IO(0xAA, 0x00)
#define R3_PAGEMAP_SCAN _IOWR('f', 16, r3::uffd_kernel::ScanArguments)

}  // namespace r3::uffd_kernel

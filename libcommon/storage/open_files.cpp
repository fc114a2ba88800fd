// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/open_files.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

std::size_t limit_of_process() {
  rlimit limit{};
  check(::getrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
  return static_cast<std::size_t>(std::clamp<rlim_t>(limit.rlim_cur / 2, 8, 1024));
}

}  // namespace

OpenFiles::OpenFiles(std::size_t most) : most_(most > 0 ? most : limit_of_process()) {}

void OpenFiles::join(Keeper& keeper) {
  std::lock_guard lock(mutex_);
  keepers_.push_back(&keeper);
}

void OpenFiles::leave(Keeper& keeper) {
  std::lock_guard lock(mutex_);
  std::erase(keepers_, &keeper);
}

void OpenFiles::opened(Keeper& keeper) {
  if (++open_ <= most_) return;
  std::lock_guard lock(mutex_);
  if (open_ > most_) who_gives_up(keeper)->close_oldest();
}

OpenFiles::Keeper* OpenFiles::who_gives_up(Keeper& asking) {
  if (asking.open_now() > most_ / keepers_.size()) return &asking;
  return *std::ranges::max_element(keepers_, {}, [](Keeper* each) { return each->open_now(); });
}

}  // namespace r3

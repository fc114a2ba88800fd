// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/chunk_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

std::string folder_of(std::uint64_t chunk) {
  char text[24];
  std::snprintf(text, sizeof text, "%010llx",
                static_cast<unsigned long long>(chunk / ChunkStore::kChunksInFolder));
  return text;
}

std::string leaf_of(std::uint64_t chunk) {
  char text[24];
  std::snprintf(text, sizeof text, "%03llx",
                static_cast<unsigned long long>(chunk % ChunkStore::kChunksInFolder));
  return text;
}

// openat that takes "not there" as an answer, and never follows a link or waits for a fifo.
Fd open_below(int folder, const std::string& leaf, int flags, const std::string& name) {
  Fd file(::openat(folder, leaf.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  if (!file.valid() && errno != ENOENT) fail(errno, name);
  return file;
}

std::uint64_t regular_length(const Fd& file, const std::string& name) {
  struct stat status {};
  check(::fstat(file.get(), &status), name);
  if (!S_ISREG(status.st_mode)) fail(EIO, name + ": not a regular file");
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

ChunkStore::ChunkStore(Fd root, std::string name, bool read_only, std::shared_ptr<OpenFiles> files)
    : root_(std::move(root)),
      name_(std::move(name)),
      read_only_(read_only),
      files_(std::move(files)) {
  files_->join(*this);
}

ChunkStore::~ChunkStore() {
  files_->leave(*this);
  files_->closed(entries_.size());
}

std::string ChunkStore::file_name(std::uint64_t chunk) const {
  return name_ + "/" + folder_of(chunk) + "/" + leaf_of(chunk);
}

Fd ChunkStore::open_folder(std::uint64_t chunk) {
  return open_below(root_.get(), folder_of(chunk), O_RDONLY | O_DIRECTORY,
                    name_ + "/" + folder_of(chunk));
}

SharedFd ChunkStore::open(std::uint64_t chunk, std::uint64_t length) {
  if (auto file = open_already(chunk)) return file;
  const Fd folder = open_folder(chunk);
  if (!folder.valid()) return nullptr;
  const auto name = file_name(chunk);
  Fd file = open_below(folder.get(), leaf_of(chunk), read_only_ ? O_RDONLY : O_RDWR, name);
  if (!file.valid()) return nullptr;
  const auto found = regular_length(file, name);
  if (found == 0) return nullptr;
  if (found != length)
    fail(EIO, name + ": " + std::to_string(found) + " bytes instead of " + std::to_string(length));
  return keep(chunk, std::move(file));
}

SharedFd ChunkStore::open_already(std::uint64_t chunk) {
  std::lock_guard lock(mutex_);
  const auto found = by_chunk_.find(chunk);
  if (found == by_chunk_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->file;
}

SharedFd ChunkStore::create(std::uint64_t chunk, std::uint64_t length) {
  const auto name = file_name(chunk);
  const Fd folder = make_folder(chunk);
  Fd file = open_below(folder.get(), leaf_of(chunk), O_RDWR | O_CREAT, name);
  if (!file.valid()) fail(EIO, name + ": its directory vanished");
  if (regular_length(file, name) == 0)
    check(::ftruncate(file.get(), static_cast<off_t>(length)), name);
  return keep(chunk, std::move(file));
}

Fd ChunkStore::make_folder(std::uint64_t chunk) {
  const auto name = name_ + "/" + folder_of(chunk);
  Fd folder = open_folder(chunk);
  if (folder.valid()) return folder;
  if (::mkdirat(root_.get(), folder_of(chunk).c_str(), 0777) < 0 && errno != EEXIST)
    fail(errno, name);
  folder = open_folder(chunk);
  if (!folder.valid()) fail(EIO, name + ": vanished");
  return folder;
}

void ChunkStore::remove(std::uint64_t chunk) {
  forget(chunk);
  const Fd folder = open_folder(chunk);
  if (!folder.valid()) return;
  if (::unlinkat(folder.get(), leaf_of(chunk).c_str(), 0) < 0 && errno != ENOENT)
    fail(errno, file_name(chunk));
}

bool ChunkStore::present(std::uint64_t chunk) {
  struct stat status {};
  const auto path = folder_of(chunk) + "/" + leaf_of(chunk);
  if (::fstatat(root_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return status.st_size > 0;
  if (errno != ENOENT) fail(errno, file_name(chunk));
  return false;
}

bool ChunkStore::folder_present(std::uint64_t chunk) {
  if (::faccessat(root_.get(), folder_of(chunk).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    return true;
  if (errno != ENOENT) fail(errno, name_ + "/" + folder_of(chunk));
  return false;
}

// Whoever made the folder, perhaps a process that was killed before it could make its name durable: it
// is done here, once for each folder.
void ChunkStore::sync_folder(std::uint64_t chunk) {
  const Fd folder = open_folder(chunk);
  if (!folder.valid()) return;
  check(::fsync(folder.get()), name_ + "/" + folder_of(chunk));
  const auto number = chunk / kChunksInFolder;
  {
    std::lock_guard lock(mutex_);
    if (durable_folders_.contains(number)) return;
  }
  check(::fsync(root_.get()), name_);
  std::lock_guard lock(mutex_);
  durable_folders_.insert(number);
}

void ChunkStore::sync_all() {
  check(::syncfs(root_.get()), name_);
  // Not every file system empties the disk's own cache when it finds nothing to do above.
  check(::fsync(root_.get()), name_);
}

std::size_t ChunkStore::open_now() {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

SharedFd ChunkStore::keep(std::uint64_t chunk, Fd file) {
  auto shared = std::make_shared<const Fd>(std::move(file));
  {
    std::lock_guard lock(mutex_);
    if (const auto found = by_chunk_.find(chunk); found != by_chunk_.end()) return found->second->file;
    entries_.push_front({chunk, shared});
    by_chunk_[chunk] = entries_.begin();
  }
  files_->opened(*this);
  return shared;
}

void ChunkStore::forget(std::uint64_t chunk) {
  SharedFd closed;  // after the lock is released
  std::lock_guard lock(mutex_);
  const auto found = by_chunk_.find(chunk);
  if (found == by_chunk_.end()) return;
  closed = std::move(found->second->file);
  entries_.erase(found->second);
  by_chunk_.erase(found);
  files_->closed(1);
}

void ChunkStore::close_oldest() {
  SharedFd closed;  // after the lock is released
  std::lock_guard lock(mutex_);
  if (entries_.empty()) return;
  closed = std::move(entries_.back().file);
  by_chunk_.erase(entries_.back().chunk);
  entries_.pop_back();
  files_->closed(1);
}

}  // namespace r3

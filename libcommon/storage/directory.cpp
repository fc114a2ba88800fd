// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/directory.hpp"

#include <unistd.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/ranges.hpp"

namespace r3 {

namespace {

// Up to so many files are synced one by one; beyond, syncing the file system is faster.
constexpr std::size_t kFew = 8;

}  // namespace

DirectoryBackend::DirectoryBackend(const std::string& path, const DirectoryOptions& options)
    : DirectoryBackend(open_region_directory(path, options), path, options) {}

DirectoryBackend::DirectoryBackend(OpenedDirectory opened, const std::string& path,
                                   const DirectoryOptions& options)
    : name_(path),
      read_only_(options.read_only),
      lock_(std::move(opened.lock)),
      size_(opened.size),
      chunk_size_(opened.chunk_size),
      store_(std::move(opened.directory), path, options.read_only, options.open_files ? options.open_files : std::make_shared<OpenFiles>()) {
  stripes_[0].changes.many = true;  // by a process that was killed: nobody knows which
}

DirectoryBackend::Part DirectoryBackend::part_at(std::uint64_t offset, std::uint64_t end) const {
  const auto in_chunk = offset % chunk_size_;
  return {offset / chunk_size_, in_chunk, std::min(chunk_size_ - in_chunk, end - offset)};
}

std::uint64_t DirectoryBackend::chunk_length(std::uint64_t chunk) const {
  return std::min(chunk_size_, size_ - chunk * chunk_size_);
}

void DirectoryBackend::note(std::uint64_t chunk, std::vector<std::uint64_t> Changes::*list) {
  Stripe& its = stripe(chunk);
  std::lock_guard lock(its.mutex);
  if (its.changes.many) return;
  auto& noted = its.changes.*list;
  if (std::ranges::find(noted, chunk) != noted.end()) return;
  if (noted.size() < kFew) {
    noted.push_back(chunk);
  } else {
    its.changes = {{}, {}, true};
  }
}

void DirectoryBackend::check_write(std::uint64_t offset, std::uint64_t length) const {
  if (read_only_) fail(EPERM, name_);
  check_write_range(size_, offset, length);
}

std::uint64_t DirectoryBackend::without_folder(std::uint64_t offset, std::uint64_t end) {
  const auto chunk = offset / chunk_size_;
  if (store_.folder_present(chunk)) return 0;
  const auto next = (chunk / ChunkStore::kChunksInFolder + 1) * ChunkStore::kChunksInFolder;
  const auto last = (size_ + chunk_size_ - 1) / chunk_size_;
  return (next < last ? std::min(next * chunk_size_, end) : end) - offset;
}

void DirectoryBackend::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  while (!into.empty()) {
    const Part part = part_at(offset, offset + into.size());
    read_part(part, into.first(part.length));
    into = into.subspan(part.length);
    offset += part.length;
  }
}

void DirectoryBackend::read_part(const Part& part, Bytes into) {
  std::shared_lock lock(stripe(part.chunk).existence);
  const auto file = store_.open(part.chunk, chunk_length(part.chunk));
  if (!file) {
    std::ranges::fill(into, std::byte{0});
  } else if (pread_full(file->get(), into, part.offset, name_) < into.size()) {
    fail(EIO, store_.file_name(part.chunk) + ": the file has become shorter");
  }
}

// Changes are noted when they are done: a flush that took the note before would leave them out.
template <class Action>
bool DirectoryBackend::change_part(const Part& part, Action action) {
  const auto length = chunk_length(part.chunk);
  {
    std::shared_lock lock(stripe(part.chunk).existence);
    if (const auto file = store_.open(part.chunk, length)) {
      const bool done = action(file->get());
      note(part.chunk, &Changes::data);
      return done;
    }
  }
  std::unique_lock lock(stripe(part.chunk).existence);
  const auto file = store_.create(part.chunk, length);
  note(part.chunk, &Changes::names);
  const bool done = action(file->get());
  note(part.chunk, &Changes::data);
  return done;
}

void DirectoryBackend::write_at(ConstBytes from, std::uint64_t offset) {
  check_write(offset, from.size());
  while (!from.empty()) {
    const Part part = part_at(offset, offset + from.size());
    change_part(part, [&](int file) {
      pwrite_full(file, from.first(part.length), part.offset, store_.file_name(part.chunk));
      return true;
    });
    from = from.subspan(part.length);
    offset += part.length;
  }
}

bool DirectoryBackend::zero_part(const Part& part, bool keep_allocated) {
  const auto zero = [&](int file) {
    return zero_quickly(file, part.offset, part.length, keep_allocated,
                        store_.file_name(part.chunk));
  };
  if (keep_allocated) return change_part(part, zero);
  if (whole(part)) {
    std::unique_lock lock(stripe(part.chunk).existence);
    store_.remove(part.chunk);
    note(part.chunk, &Changes::names);
    return true;
  }
  std::shared_lock lock(stripe(part.chunk).existence);
  const auto file = store_.open(part.chunk, chunk_length(part.chunk));
  if (!file) return true;
  const bool done = zero(file->get());
  note(part.chunk, &Changes::data);
  return done;
}

void DirectoryBackend::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write(offset, length);
  const auto end = offset + length;
  while (offset < end) {
    const Part part = part_at(offset, end);
    const auto absent = how.keep_allocated ? 0 : without_folder(offset, end);
    if (absent == 0 && !zero_part(part, how.keep_allocated))
      Backend::zero_at(offset, part.length, how);
    offset += std::max(absent, part.length);
  }
}

void DirectoryBackend::discard_at(std::uint64_t offset, std::uint64_t length) {
  if (read_only_) fail(EPERM, name_);
  check_read_range(size_, offset, length);
  const auto end = offset + length;
  while (offset < end) {
    const Part part = part_at(offset, end);
    const auto absent = without_folder(offset, end);
    if (absent == 0) zero_part(part, false);
    offset += std::max(absent, part.length);
  }
}

std::vector<Extent> DirectoryBackend::extents(std::uint64_t offset, std::uint64_t length,
                                              std::size_t most) {
  check_read_range(size_, offset, length);
  std::vector<Extent> found;
  const auto end = offset + length;
  bool folder_known = false;
  while (offset < end && found.size() <= most) {
    const Part part = part_at(offset, end);
    if (part.chunk % ChunkStore::kChunksInFolder == 0) folder_known = false;
    const auto absent = folder_known ? 0 : without_folder(offset, end);
    folder_known = absent == 0;
    const auto step = std::max(absent, part.length);
    const bool hole = absent > 0 || !store_.present(part.chunk);
    append_extent(found, {offset, step, hole, hole});
    offset += step;
  }
  if (found.size() > most) found.resize(most);
  return found;
}

bool DirectoryBackend::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (into.empty()) return true;
  const Part part = part_at(offset, offset + into.size());
  if (part.length < into.size()) return false;
  std::shared_lock lock(stripe(part.chunk).existence, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  const auto file = store_.open_already(part.chunk);
  return file && read_without_waiting(file->get(), into, part.offset);
}

DirectoryBackend::Changes DirectoryBackend::take_changes() {
  Changes all;
  for (Stripe& its : stripes_) {
    std::lock_guard lock(its.mutex);
    all.data.insert(all.data.end(), its.changes.data.begin(), its.changes.data.end());
    all.names.insert(all.names.end(), its.changes.names.begin(), its.changes.names.end());
    all.many |= its.changes.many;
    its.changes = {};
  }
  all.many |= all.data.size() > kFew || all.names.size() > kFew;
  return all;
}

void DirectoryBackend::make_durable(const Changes& changes) {
  if (changes.many) return store_.sync_all();
  for (const auto chunk : changes.data) {
    std::shared_lock lock(stripe(chunk).existence);
    const auto file = store_.open(chunk, chunk_length(chunk));
    lock.unlock();  // who wants to remove the chunk does not have to wait for the disk
    if (file) check(::fdatasync(file->get()), store_.file_name(chunk));
  }
  std::vector<std::uint64_t> synced;
  for (const auto chunk : changes.names) {
    const auto folder = chunk / ChunkStore::kChunksInFolder;
    if (std::ranges::find(synced, folder) != synced.end()) continue;
    store_.sync_folder(chunk);
    synced.push_back(folder);
  }
}

void DirectoryBackend::flush() {
  if (read_only_) return;
  std::lock_guard lock(flushing_);
  if (flush_error_ != 0) fail(flush_error_, name_ + ": an earlier flush failed");
  flush_error_ = EIO;  // unless what follows succeeds
  make_durable(take_changes());
  flush_error_ = 0;
}

}  // namespace r3

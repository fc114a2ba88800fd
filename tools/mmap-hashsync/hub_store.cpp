// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hub_store.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "libcommon/net/r3_payload.hpp"
#include "libcommon/storage/ranges.hpp"
#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/landing_file.hpp"

namespace r3::sync {

namespace {

void wake(const Lack& lack) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(lack.changed.get(), &one, sizeof one);
}

}  // namespace

void HubStore::claim(const Announcement& announced) {
  check_name(announced.name);
  std::unique_lock lock(mutex_);
  File& file = files_[announced.name];
  if (!released_.wait_for(lock, kTimeToRelease, [&] { return !file.claimed; }))
    fail(EBUSY, announced.name + ": another source sends this file");
  if (!file.fd.valid()) file.fd = Fd(check(::memfd_create("hub", MFD_CLOEXEC), "memfd_create"));
  if (file.whole && file.table.geometry().chunk != announced.geometry.chunk)
    throw std::invalid_argument(announced.name + ": the hub has it in chunks of " +
                                std::to_string(file.table.geometry().chunk));
  if (!file.whole) file.table.resize({0, announced.geometry.chunk});
  file.claimed = true;
}

void HubStore::release(const std::string& name) {
  {
    std::unique_lock lock(mutex_);
    files_.at(name).claimed = false;
  }
  released_.notify_all();
}

// Only its source changes a file, and that is who asks.
HashTable HubStore::hash(const std::string& name, const Geometry& geometry, const Hasher& hasher,
                         unsigned threads) {
  Fd fd;
  {
    std::shared_lock lock(mutex_);
    fd = duplicate(files_.at(name).fd.get());
  }
  FileView view(std::move(fd), name);
  view.do_not_map();
  view.refresh();
  HashTable table;
  table.resize(geometry);
  hash_file({hasher, threads}, view, table);
  return table;
}

HubChunk HubStore::chunk_of(const File& file, std::uint64_t index, std::size_t length) const {
  const Geometry& geometry = file.table.geometry();
  HubChunk chunk;
  if (index < geometry.chunks()) chunk.hash = file.table.at(index);
  if (chunk.hash == Hash{}) return chunk;
  chunk.bytes.resize(length);
  pread_full(file.fd.get(), chunk.bytes, geometry.offset(index));
  return chunk;
}

// Who is being sent this chunk gets it as it was when the round began.
void HubStore::put_aside(const std::string& name, const File& file, std::uint64_t index) {
  for (const auto& lack : lacks_) {
    const auto found = lack->files.find(name);
    if (found == lack->files.end() || !found->second.sending.contains(index) ||
        found->second.aside.contains(index))
      continue;
    found->second.aside[index] = chunk_of(file, index, found->second.geometry.length(index));
  }
}

void HubStore::rehash(File& file, std::uint64_t index) {
  const Geometry& geometry = file.table.geometry();
  if (index >= geometry.chunks()) return;
  std::vector<std::byte> bytes(geometry.length(index));
  pread_full(file.fd.get(), bytes, geometry.offset(index));
  file.table.set(index, hasher_.of(bytes));
}

// The chunks at the old and the new end change their length, and with it their hash.
void HubStore::resize(const std::string& name, File& file, std::uint64_t size,
                      std::set<std::uint64_t>& touched) {
  const Geometry before = file.table.geometry();
  if (before.size == size) return;
  const Geometry after{size, before.chunk};
  for (std::uint64_t i = size / after.chunk; i < before.chunks(); ++i) put_aside(name, file, i);
  const std::uint64_t ends[] = {before.size / before.chunk, size / after.chunk};
  if (size > before.size) put_aside(name, file, ends[0]);
  check(::ftruncate(file.fd.get(), static_cast<off_t>(size)), name);
  file.table.resize(after);
  for (const std::uint64_t end : ends) {
    rehash(file, end);
    if (end < after.chunks()) touched.insert(end);
  }
}

void HubStore::apply(const HubEpoch::Part& part, File& file, std::set<std::uint64_t>& touched) {
  wire::Unpacker unpacker;
  std::vector<std::byte> bytes;
  for (const auto& [size, frame] : part.frames) {
    std::size_t length = 0;
    resize(part.name, file, size, touched);
    const Geometry& geometry = file.table.geometry();
    const auto entries = decode_entries(frame.header, frame.payload, geometry, length);
    const bool zeroes = frame.header.flags == wire::kZeroes;
    for (const Entry& entry : entries) {
      put_aside(part.name, file, entry.index);
      touched.insert(entry.index);
      file.table.set(entry.index, entry.hash);
    }
    if (!zeroes) {
      bytes.resize(length);
      unpacker.unpack(frame.header.flags, ConstBytes(frame.payload).subspan(entries.size() * kEntrySize), bytes);
    }
    for_each_run(entries, geometry, [&](std::uint64_t offset, std::uint64_t count, std::size_t at) {
      if (zeroes) zero_quickly(file.fd.get(), offset, count, false, part.name);
      else pwrite_full(file.fd.get(), ConstBytes(bytes).subspan(at, count), offset, part.name);
    });
  }
}

void HubStore::commit(std::shared_ptr<const HubEpoch> epoch) {
  std::unique_lock lock(mutex_);
  std::map<std::string, std::set<std::uint64_t>> touched;
  for (const HubEpoch::Part& part : epoch->parts) {
    File& file = files_.at(part.name);
    apply(part, file, touched[part.name]);
    resize(part.name, file, part.size, touched[part.name]);
    file.whole = true;
  }
  for (const auto& lack : lacks_) {
    bool knows_all = true, lacks_nothing = !lack->in_round && !lack->epoch;
    for (const auto& [name, file] : lack->files) lacks_nothing &= file.chunks.empty();
    for (const auto& [name, chunks] : touched) knows_all &= lack->files.contains(name);
    if (lacks_nothing && knows_all) {
      lack->epoch = epoch;
    } else {
      if (const auto late = std::exchange(lack->epoch, nullptr)) {
        for (const HubEpoch::Part& part : late->parts)
          if (const auto known = lack->files.find(part.name); known != lack->files.end())
            for (const auto& [size, frame] : part.frames)
              for (std::uint32_t i = 0; i < frame.header.aux; ++i)
                known->second.chunks.insert(load_le<std::uint64_t>(&frame.payload[i * kEntrySize]));
      }
      for (const auto& [name, chunks] : touched)
        if (const auto known = lack->files.find(name); known != lack->files.end())
          known->second.chunks.insert(chunks.begin(), chunks.end());
    }
    wake(*lack);
  }
}

std::shared_ptr<Lack> HubStore::join() {
  auto lack = std::make_shared<Lack>();
  lack->changed = Fd(check(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"));
  std::unique_lock lock(mutex_);
  lacks_.push_back(lack);
  return lack;
}

void HubStore::leave(const std::shared_ptr<Lack>& lack) {
  std::unique_lock lock(mutex_);
  lacks_.remove(lack);
}

std::optional<HubStore::Introduction> HubStore::introduce(
    Lack& lack, const std::function<bool(const std::string&)>& may_read) {
  std::unique_lock lock(mutex_);
  for (const auto& [name, file] : files_) {
    if (!file.whole || lack.files.contains(name) || !may_read(name)) continue;
    lack.files[name].told_size = file.table.geometry().size;
    return Introduction{name, file.table.clone()};
  }
  return std::nullopt;
}

void HubStore::lacks(Lack& lack, const std::string& name,
                     const std::vector<std::pair<std::uint64_t, std::uint64_t>>& runs) {
  std::unique_lock lock(mutex_);
  auto& chunks = lack.files.at(name).chunks;
  for (const auto& [first, count] : runs)
    for (std::uint64_t i = first; i < first + count; ++i) chunks.insert(chunks.end(), i);
}

bool HubStore::begin_round(Lack& lack, std::shared_ptr<const HubEpoch>& epoch) {
  std::unique_lock lock(mutex_);
  bool any = lack.epoch != nullptr;
  epoch = std::exchange(lack.epoch, nullptr);
  for (auto& [name, file] : lack.files) {
    const Geometry& now = files_.at(name).table.geometry();
    if (!epoch) {
      any |= !file.chunks.empty() || now.size != file.told_size;
      file.sending = std::exchange(file.chunks, {});
      file.sending.erase(file.sending.lower_bound(now.chunks()), file.sending.end());
      file.geometry = now;
    }
    file.told_size = now.size;
  }
  lack.in_round = any;
  return any;
}

std::vector<std::pair<std::string, Geometry>> HubStore::round_files(const Lack& lack) {
  std::shared_lock lock(mutex_);
  std::vector<std::pair<std::string, Geometry>> files;
  for (const auto& [name, file] : lack.files) files.emplace_back(name, file.geometry);
  return files;
}

std::vector<std::uint64_t> HubStore::round_chunks(const Lack& lack, const std::string& name) {
  std::shared_lock lock(mutex_);
  const auto& sending = lack.files.at(name).sending;
  return {sending.begin(), sending.end()};
}

HubChunk HubStore::take(Lack& lack, const std::string& name, std::uint64_t index) {
  std::unique_lock lock(mutex_);
  Lack::File& file = lack.files.at(name);
  file.sending.erase(index);
  if (const auto kept = file.aside.extract(index)) return kept.mapped();
  return chunk_of(files_.at(name), index, file.geometry.length(index));
}

void HubStore::end_round(Lack& lack) {
  std::unique_lock lock(mutex_);
  lack.in_round = false;
}

std::size_t HubStore::files() const {
  std::shared_lock lock(mutex_);
  return files_.size();
}

}  // namespace r3::sync

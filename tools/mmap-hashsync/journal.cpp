// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/journal.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/journal_files.hpp"

namespace r3::sync {

namespace {

constexpr std::uint32_t kMagic = 0x6a733372;  // "r3sj"

std::string journal_name(std::uint64_t instance) {
  char number[17];
  std::snprintf(number, sizeof number, "%016llx", static_cast<unsigned long long>(instance));
  return std::string(kJournalPrefix) + number;
}

std::uint64_t draw_serial() {
  std::uint64_t serial;
  check(::getrandom(&serial, sizeof serial, 0), "getrandom");
  return serial;
}

bool has_payload(RecordType type) { return type == RecordType::file || type == RecordType::data; }

}  // namespace

void store_record(std::byte* to, const Record& record, ConstBytes payload) {
  store_le(to, kMagic);
  store_le(to + 4, static_cast<std::uint32_t>(record.type));
  store_le(to + 8, record.number);
  store_le<std::uint32_t>(to + 12, 0);
  store_le(to + 16, record.serial);
  store_le(to + 24, record.offset);
  store_le(to + 32, record.length);
  store_le(to + 40, checksum({to, 40}, payload));
}

bool load_record(ConstBytes from, Record& record, ConstBytes& payload) {
  if (from.size() < kRecordHeader || load_le<std::uint32_t>(&from[0]) != kMagic) return false;
  record.type = static_cast<RecordType>(load_le<std::uint32_t>(&from[4]));
  record.number = load_le<std::uint32_t>(&from[8]);
  record.serial = load_le<std::uint64_t>(&from[16]);
  record.offset = load_le<std::uint64_t>(&from[24]);
  record.length = load_le<std::uint64_t>(&from[32]);
  if (record.type < RecordType::file || record.type > RecordType::commit) return false;
  const auto rest = from.subspan(kRecordHeader);
  const auto length = has_payload(record.type) ? record.length : 0;
  if (length > rest.size()) return false;
  payload = rest.first(static_cast<std::size_t>(length));
  return load_le<std::uint64_t>(&from[40]) == checksum(from.first(40), payload);
}

Contents read_journal(ConstBytes bytes) {
  Contents contents;
  Record record;
  ConstBytes payload;
  std::optional<std::uint64_t> serial;
  while (!contents.whole && load_record(bytes, record, payload)) {
    if (serial.value_or(record.serial) != record.serial) break;
    serial = record.serial;
    switch (record.type) {
      case RecordType::file: contents.names[record.number] = as_text(payload); break;
      case RecordType::size: contents.sizes[record.number] = record.offset; break;
      case RecordType::commit: contents.whole = true; break;
      default: contents.writes.emplace_back(record, payload);
    }
    bytes = bytes.subspan(kRecordHeader + payload.size());
  }
  return contents;
}

JournaledEpoch::JournaledEpoch(const Directory& directory, std::uint64_t instance)
    : directory_(directory), name_(journal_name(instance)),
      fd_(directory.open(name_, O_RDWR | O_CREAT | O_TRUNC)), serial_(draw_serial()) {
  directory.sync_entry(name_);
}

JournaledEpoch::~JournaledEpoch() {
  if (decided_) return;
  try {
    forget();
    directory_.remove(name_);
  } catch (...) {
    log_warning(directory_.path_of(name_) + ": cannot be removed");
  }
}

bool JournaledEpoch::has(const std::string& name) const { return files_.contains(name); }

JournaledEpoch::File& JournaledEpoch::file(const std::string& name, std::uint32_t chunk) {
  const auto found = files_.find(name);
  if (found != files_.end() && found->second.chunk != chunk)
    throw ProtocolError(name + ": other chunks than in the same epoch before");
  if (found != files_.end()) return found->second;
  File file{static_cast<std::uint32_t>(files_.size()), chunk, {}};
  append({RecordType::file, file.number, 0, 0, name.size()}, as_bytes(name));
  return files_.emplace(name, std::move(file)).first->second;
}

void JournaledEpoch::write(File& file, const Geometry& geometry, const Arrival& chunks) {
  for_each_run(chunks.entries, geometry, [&](std::uint64_t offset, std::uint64_t length, std::size_t at) {
    const bool zeroes = chunks.bytes.empty();
    const auto payload = zeroes ? ConstBytes() : chunks.bytes.subspan(at, length);
    const Record record{zeroes ? RecordType::zeroes : RecordType::data, file.number, 0, offset, length};
    const auto where = append(record, payload);
    for (std::uint64_t done = 0; done < length; done += geometry.chunk)
      file.chunks[(offset + done) / geometry.chunk] = {zeroes ? 0 : where + kRecordHeader + done,
                                                       std::min<std::uint64_t>(geometry.chunk, length - done)};
  });
}

void JournaledEpoch::overlay(const File& file, std::uint64_t index, Bytes bytes) const {
  const auto found = file.chunks.find(index);
  if (found == file.chunks.end()) return;
  const auto& [where, length] = found->second;
  bytes = bytes.first(std::min<std::size_t>(bytes.size(), length));
  if (where == 0) std::ranges::fill(bytes, std::byte{0});
  else pread_full(fd_.get(), bytes, where, directory_.path_of(name_));
}

std::uint64_t JournaledEpoch::append(Record record, ConstBytes payload) {
  record.serial = serial_;
  std::array<std::byte, kRecordHeader> head;
  store_record(head.data(), record, payload);
  const std::string what = directory_.path_of(name_);
  pwrite_full(fd_.get(), head, end_, what);
  pwrite_full(fd_.get(), payload, end_ + head.size(), what);
  return std::exchange(end_, end_ + head.size() + payload.size());
}

void JournaledEpoch::decide(const std::map<std::uint32_t, std::uint64_t>& sizes) {
  for (const auto& [number, size] : sizes) append({RecordType::size, number, 0, size, 0}, {});
  append({RecordType::commit, 0, 0, 0, 0}, {});
  check(::fdatasync(fd_.get()), directory_.path_of(name_));
  decided_ = true;
}

void JournaledEpoch::apply(const Directory& directory, bool sparse) {
  const Mapping mapping = Mapping::of_file(fd_.get(), 0, static_cast<std::size_t>(end_), false);
  apply_contents(read_journal(mapping.bytes()), directory, sparse);
  forget();
}

void JournaledEpoch::forget() {
  check(::ftruncate(fd_.get(), 0), directory_.path_of(name_));
  check(::fdatasync(fd_.get()), directory_.path_of(name_));
  end_ = 0;
  decided_ = false;
  serial_ = draw_serial();
  files_.clear();
}

}  // namespace r3::sync

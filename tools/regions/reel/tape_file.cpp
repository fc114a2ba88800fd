// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/tape_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint32_t kLengthBits = 0x00ffffff;
constexpr std::uint32_t kBad = 0x80000000;  // the class of a record that was read with errors
constexpr std::uint64_t kWord = 4;
constexpr std::uint64_t kMostMarks = 1024;  // in a row: then they are the zeroes of a file that grew, and lost its bytes
constexpr std::chrono::milliseconds kBuffered{250};  // of streaming that the drive's own memory holds

std::uint64_t on_file(std::uint32_t length) { return 2 * kWord + round_up(length, 2); }

}  // namespace

TapeFile::TapeFile(const std::string& path, const TapeFileOptions& options)
    : Tape(path), options_(options),
      file_(open_file(path, (options.read_only ? O_RDONLY : O_RDWR) | (options.create ? O_CREAT : 0))) {
  struct stat about {};
  check(::fstat(file_.get(), &about), name());
  if (!S_ISREG(about.st_mode)) fail(EINVAL, name() + " is no regular file");
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
    fail(errno == EWOULDBLOCK ? EBUSY : errno, name() + ": another process uses this tape");
  find_records();
}

void TapeFile::find_records() {
  struct stat about {};
  check(::fstat(file_.get(), &about), name());
  const auto size = static_cast<std::uint64_t>(about.st_size);
  std::uint64_t marks = 0;
  while (end_ + kWord <= size) {
    const std::uint32_t word = length_at(end_), length = word & kLengthBits;
    if (word == ~0U) break;  // the end of the medium
    if (word == 0) {
      if (++marks > kMostMarks) {
        offsets_.resize(offsets_.size() - (kMostMarks - 1));  // the first may be one
        end_ -= (kMostMarks - 1) * kWord;
        break;
      }
      offsets_.push_back(end_);
      end_ += kWord;
      continue;
    }
    marks = 0;
    if (end_ + on_file(length) > size || length_at(end_ + on_file(length) - kWord) != word) break;
    offsets_.push_back(end_);
    written_ += length;
    end_ += on_file(length);
  }
  torn_ = end_ < size;
}

std::uint32_t TapeFile::length_at(std::uint64_t offset) {
  std::array<std::byte, kWord> word{};
  if (pread_full(file_.get(), word, offset, name()) < word.size()) fail(EIO, name() + " became shorter");
  return load_le<std::uint32_t>(word.data());
}

std::uint64_t TapeFile::offset_of(std::uint64_t position) const {
  return position < offsets_.size() ? offsets_[position] : end_;
}

Tape::Got TapeFile::read(Bytes into) {
  Got got = read_one(into);
  while (block_ != 0 && got.met == Met::record && into.size() >= got.length + block_ && at_ < offsets_.size() &&
         length_at(offsets_[at_]) != 0)
    got.length += read_one(into.subspan(got.length)).length;
  stream(got.length);
  return got;
}

Tape::Got TapeFile::read_one(Bytes into) {
  if (at_ == offsets_.size()) return {};
  const auto offset = offsets_[at_];
  const std::uint32_t word = length_at(offset), length = word & kLengthBits;
  ++at_;
  if (word == 0) return {Met::filemark, 0};
  const auto where = [&] { return name() + ": the record at " + std::to_string(at_ - 1); };
  if ((word & kBad) != 0) fail(EIO, where() + " is bad");
  if (length > into.size()) fail(ENOMEM, where() + " is longer than what is read");
  if (block_ != 0 && length != block_) fail(EIO, where() + " is no block of " + std::to_string(block_) + " bytes");
  if (pread_full(file_.get(), into.first(length), offset + kWord, name()) < length)
    fail(EIO, name() + " became shorter");
  return {Met::record, length};
}

void TapeFile::write(ConstBytes bytes) {
  if (options_.read_only) fail(EROFS, name() + " is write-protected");
  if (block_ != 0 && bytes.size() % block_ != 0) fail(EINVAL, name() + ": no multiple of the block size");
  cut();
  if (options_.capacity != 0 && written_ + bytes.size() > options_.capacity)
    fail(ENOSPC, name() + ": the end of the tape");
  stream(bytes.size());
  const std::size_t part = block_ == 0 ? bytes.size() : block_;
  for (std::size_t i = 0; i < bytes.size(); i += part) write_one(bytes.subspan(i, part));
}

void TapeFile::write_one(ConstBytes bytes) {
  const auto length = static_cast<std::uint32_t>(bytes.size());
  if (length == 0 || length > kLengthBits) fail(EINVAL, name() + ": a record of " + std::to_string(length) + " bytes");
  std::array<std::byte, kWord> head;
  std::array<std::byte, 1 + kWord> tail{};  // the first byte makes it even
  store_le(head.data(), length);
  store_le(tail.data() + 1, length);
  const ConstBytes after = ConstBytes(tail).subspan(length % 2 == 0 ? 1 : 0);
  torn_ = true;  // until all of it is there
  write_parts(head, bytes, after);
  torn_ = false;
  offsets_.push_back(end_);
  end_ += on_file(length);
  written_ += length;
  ++at_;
}

// In one call if the system takes it so.
void TapeFile::write_parts(ConstBytes head, ConstBytes bytes, ConstBytes after) {
  const auto part = [](ConstBytes one) { return iovec{const_cast<std::byte*>(one.data()), one.size()}; };
  const iovec parts[] = {part(head), part(bytes), part(after)};
  const auto written = ::pwritev(file_.get(), parts, 3, static_cast<off_t>(end_));
  if (written >= 0 && static_cast<std::size_t>(written) == head.size() + bytes.size() + after.size()) return;
  pwrite_full(file_.get(), head, end_, name());
  pwrite_full(file_.get(), bytes, end_ + head.size(), name());
  pwrite_full(file_.get(), after, end_ + head.size() + bytes.size(), name());
}

void TapeFile::write_filemark() {
  if (options_.read_only) fail(EROFS, name() + " is write-protected");
  cut();
  const std::array<std::byte, kWord> mark{};
  torn_ = true;
  pwrite_full(file_.get(), mark, end_, name());
  torn_ = false;
  offsets_.push_back(end_);
  end_ += kWord;
  ++at_;
  check(::fdatasync(file_.get()), name());
  wait_until(streamed_);
}

// What follows the position is no more.
void TapeFile::cut() {
  if (at_ == offsets_.size() && !torn_) return;
  for (auto i = at_; i < offsets_.size(); ++i) written_ -= length_at(offsets_[i]) & kLengthBits;
  end_ = offset_of(at_);
  offsets_.resize(at_);
  torn_ = true;
  check(::ftruncate(file_.get(), static_cast<off_t>(end_)), name());
  torn_ = false;
}

void TapeFile::seek(std::uint64_t position) {
  if (position > offsets_.size()) fail(EIO, name() + ": seek to " + std::to_string(position) + ", past the end");
  const auto from = offset_of(at_), to = offset_of(position);
  const auto length = options_.capacity != 0 ? options_.capacity : std::max<std::uint64_t>(end_, 1);
  const auto share = static_cast<double>(from < to ? to - from : from - to) / static_cast<double>(length);
  const std::chrono::duration<double> time = options_.seek * share;
  wait_until(std::max(streamed_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(time));
  at_ = position;
}

std::uint64_t TapeFile::seek_end() {
  seek(offsets_.size());
  return at_;
}

// The medium goes on at its rate as long as the drive's memory has room, or something to give.
void TapeFile::stream(std::uint64_t bytes) {
  if (options_.rate == 0) return;
  const std::chrono::duration<double> time(static_cast<double>(bytes) / static_cast<double>(options_.rate));
  const auto now = Clock::now();
  streamed_ = std::max(streamed_, now - kBuffered) + std::chrono::duration_cast<Clock::duration>(time);
  if (streamed_ > now + kBuffered) wait_until(streamed_ - kBuffered);
}

void TapeFile::wait_until(Clock::time_point when) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - Clock::now());
  if (left.count() > 0 && halted_.wait_for(left)) fail(ESHUTDOWN, name());
}

}  // namespace r3

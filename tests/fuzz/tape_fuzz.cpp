// SPDX-License-Identifier: Apache-2.0
// Tapes of somebody else: a file in the format of SIMH that holds anything, and tapes whose records are what their
// hashes say, in any order. The index is made from the tape or refused, and what was written then is found again by the
// next one, beside all that was there.
//
//   first byte: 0 a file as it is; else 1 --force, 2 fixed blocks, 4 a label of any figures; then steps (see build)
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/regions/reel/open_tape.hpp"
#include "tools/regions/reel/tape_file.hpp"

namespace {

using namespace r3;

constexpr std::uint64_t kChunk = 4096, kBlocks = 20;
constexpr std::uint32_t kTapeBlock = 512;
constexpr std::uint64_t kTape = 7;

void require(bool holds) {
  if (!holds) std::abort();
}

// Where the tape and its index are: in memory, if the machine lets us.
struct Place {
  Place() {
    set_log("tape_fuzz", Verbosity::quiet);
    std::string name = std::filesystem::exists("/dev/shm") ? "/dev/shm/r3fuzz.XXXXXX" : "/tmp/r3fuzz.XXXXXX";
    require(::mkdtemp(name.data()) != nullptr);
    directory = name;
  }
  ~Place() {
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  }
  std::string directory;
};

class Input {
 public:
  explicit Input(ConstBytes bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  template <class Integer>
  Integer take() {
    Integer value{};
    const auto size = std::min(sizeof value, left_.size());
    std::memcpy(&value, left_.data(), size);
    left_ = left_.subspan(size);
    return value;
  }
  ConstBytes rest() const { return left_; }

 private:
  ConstBytes left_;
};

// A tape's file, record by record.
class Builder {
 public:
  explicit Builder(std::uint32_t block) : block_(block) {}
  void mark() { word(0); }
  void record(std::vector<std::byte> bytes, std::uint32_t kind = 0) {
    if (block_ == 0) return one(bytes, kind);
    bytes.resize(round_up(std::max<std::size_t>(bytes.size(), 1), block_));
    for (std::size_t at = 0; at < bytes.size(); at += block_) one(ConstBytes(bytes).subspan(at, block_), kind);
  }
  void raw(ConstBytes bytes) { file_.insert(file_.end(), bytes.begin(), bytes.end()); }
  ConstBytes file() const { return file_; }

 private:
  void word(std::uint32_t value) {
    std::array<std::byte, 4> bytes;
    store_le(bytes.data(), value);
    raw(bytes);
  }
  void one(ConstBytes bytes, std::uint32_t kind) {
    const auto length = static_cast<std::uint32_t>(bytes.size()) | kind;
    word(length), raw(bytes);
    if (bytes.size() % 2 != 0) file_.push_back(std::byte{0});
    word(length);
  }
  const std::uint32_t block_;
  std::vector<std::byte> file_;
};

// A record whose hash is right, whatever it says.
std::vector<std::byte> sealed(const RecordHeader& header, std::byte fill) {
  std::vector<std::byte> bytes(kRecordHeader + header.length, fill);
  encode_header(header, tape_hash(ConstBytes(bytes).subspan(kRecordHeader)), bytes);
  return bytes;
}

RecordHeader any_header(Input& in) {
  RecordHeader header;
  header.tape = kTape + in.take<std::uint8_t>() / 255;
  header.generation = in.take<std::uint8_t>();
  header.sequence = in.take<std::uint8_t>();
  header.block = static_cast<std::uint64_t>(in.take<std::int16_t>());  // the far end, too
  header.count = static_cast<std::uint64_t>(in.take<std::int16_t>());
  header.kind = RecordKind{in.take<std::uint8_t>() % 6u};
  header.length = static_cast<std::uint32_t>(in.take<std::uint16_t>() % (kChunk + 300));
  for (auto& one : header.before)
    one = {static_cast<std::uint64_t>(in.take<std::int8_t>()), static_cast<std::uint64_t>(in.take<std::int8_t>())};
  return header;
}

TapeLabel label_of(Input& in, unsigned flags) {
  TapeLabel label{kTape, 9, kBlocks * kChunk - 100, kChunk, (flags & 2) != 0 ? kTapeBlock : 0, 0};
  if ((flags & 4) == 0) return label;
  label.chunk = in.take<std::uint64_t>();
  label.size = in.take<std::uint64_t>();
  label.block = in.take<std::uint16_t>();
  label.copied = in.take<std::uint8_t>();
  return label;
}

// Steps: 0 filemark, 1 any record, 2 bytes, 3 a bad place, 4 the next record as it should be, 5 the commit and filemark
// as they should be, 6 the same without the filemark, 7 a sequence number is left out.
void build(Input& in, Builder& tape) {
  RecordHeader next{kTape, 1, 1, 0, 1, RecordKind::data, kChunk, {}};
  std::uint64_t records = 0;
  const auto add = [&] {
    tape.record(sealed(next, std::byte(next.sequence)));
    std::rotate(next.before.begin(), next.before.end() - 1, next.before.end());
    next.before[0] = next.kind == RecordKind::commit ? RecordHeader::Before{~0ULL, 0} : RecordHeader::Before{next.block, next.count};
    ++next.sequence;
  };
  for (int steps = 0; !in.empty() && steps < 64; ++steps) {
    const auto step = in.take<std::uint8_t>();
    switch (step % 8) {
      case 0: tape.mark(); break;
      case 1: tape.record(sealed(any_header(in), std::byte{step})); break;
      case 2: {
        const auto bytes = in.rest().first(std::min<std::size_t>(in.rest().size(), step));
        tape.record({bytes.begin(), bytes.end()});
        break;
      }
      case 3: tape.record(std::vector<std::byte>(kRecordHeader), 0x80000000); break;
      case 4:
        next.block = step / 8 % kBlocks, next.count = 1, next.kind = RecordKind::data;
        next.length = next.block + 1 == kBlocks ? kChunk - 100 : kChunk;
        if (step >= 224) next.kind = RecordKind::zero, next.length = 0, next.count = 2;
        ++records;
        add();
        break;
      case 5: case 6:
        next.block = 0, next.count = records, next.kind = RecordKind::commit, next.length = 0;
        add();
        if (step % 8 == 5) tape.mark();
        ++next.generation;
        records = 0;
        break;
      default: ++next.sequence; ++records;
    }
  }
}

void write_file(const std::string& path, ConstBytes bytes) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()),
                                              static_cast<std::streamsize>(bytes.size()));
}

// Each place of a tape once, and how long its record is; 0: a filemark, ~0: it cannot be read.
std::vector<std::size_t> walk(TapeFile& tape) {
  std::vector<std::byte> bytes(70'000);
  std::vector<std::size_t> lengths;
  tape.seek(0);
  for (;;) try {
      const auto got = tape.read(bytes);
      if (got.met == Tape::Met::end) return lengths;
      lengths.push_back(got.length);
    } catch (const std::system_error&) {
      lengths.push_back(~std::size_t{0});
      tape.seek(lengths.size());
    }
}

void use_file(const std::string& path, ConstBytes bytes) {
  write_file(path, bytes);
  std::vector<std::size_t> before;
  {
    TapeFile tape(path, {});
    before = walk(tape);
    require(before.size() <= bytes.size() / 4);
    before.resize(before.size() / 2);
    tape.seek(before.size());
    tape.write(std::vector<std::byte>(33));
    tape.write_filemark();
  }
  before.insert(before.end(), {33, 0});
  TapeFile again(path, {});
  require(walk(again) == before);
}

// What each block of the region reads as: its bytes' hash, or an errno.
std::vector<std::pair<int, TapeHash>> look(TapeRegion& region) {
  std::vector<std::pair<int, TapeHash>> all;
  std::vector<std::byte> bytes(region.block_size());
  for (std::uint64_t offset = 0; offset < region.size() && all.size() < 64; offset += bytes.size()) try {
      const Bytes part = Bytes(bytes).first(std::min<std::uint64_t>(bytes.size(), region.size() - offset));
      region.read_at(part, offset);
      all.emplace_back(0, tape_hash(part));
    } catch (const std::system_error& error) {
      require(error.code().value() == EIO);
      all.emplace_back(error.code().value(), TapeHash{});
    }
  return all;
}

void use_tape(const TapeChoice& choice) {
  try {
    rebuild_index(choice);
  } catch (const std::system_error&) {
    return;
  }
  std::vector<std::pair<int, TapeHash>> seen;
  {
    const auto region = open_tape_region(choice);
    seen = look(*region);
    const auto length = std::min(region->block_size(), region->size());
    if (length == 0) return;
    const std::vector<std::byte> bytes(length, std::byte{0xee});
    region->write_at(bytes, 0);
    region->flush();
    seen[0] = {0, tape_hash(bytes)};
    require(look(*region) == seen);
  }
  std::filesystem::remove(choice.index);
  rebuild_index(choice);
  require(look(*open_tape_region(choice)) == seen);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  if (size == 0) return 0;
  TapeChoice choice;
  choice.path = place.directory + "/tape";
  choice.index = place.directory + "/index";
  choice.force = (data[0] & 1) != 0;
  Input in(std::as_bytes(std::span(data, size)).subspan(1));
  if (data[0] == 0) return use_file(choice.path, in.rest()), 0;
  const auto label = label_of(in, data[0]);
  Builder tape(label.block);
  tape.record(encode_label(label));
  tape.mark();
  build(in, tape);
  write_file(choice.path, tape.file());
  std::filesystem::remove(choice.index);
  use_tape(choice);
  return 0;
}

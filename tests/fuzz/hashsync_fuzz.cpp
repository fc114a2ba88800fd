// SPDX-License-Identifier: Apache-2.0
// A source that says anything to a destination, and a journal of any bytes: nothing but the destination's own
// directory may change, and nothing may be read or written that is not there. The first byte chooses.
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/journal.hpp"
#include "tools/mmap-hashsync/receiver.hpp"
#include "tools/mmap-hashsync/sigbus.hpp"

namespace {

using namespace r3;
using namespace r3::sync;

constexpr std::uint64_t kMostSize = 4 * MiB;  // of a file: the fuzzer is not to wait for large ones

// Takes what is written, and answers nothing; reads from the input, whose frames get right checksums.
class Script final : public Stream {
 public:
  explicit Script(ConstBytes input) : input_(input.begin(), input.end()) { repair(); }
  std::size_t read_some(Bytes into) override {
    const auto n = std::min(into.size(), input_.size() - at_);
    if (n > 0) std::memcpy(into.data(), &input_[at_], n);
    at_ += n;
    return n;
  }
  void write_parts(std::span<const ConstBytes>) override {}
  void finish() override {}
  void set_deadline(Deadline) override {}

 private:
  void repair() {
    for (std::size_t at = 0; at + kHeaderSize <= input_.size();) {
      const auto length = load_le<std::uint32_t>(&input_[at + 4]);
      if (length > input_.size() - at - kHeaderSize) return;
      const ConstBytes payload = ConstBytes(input_).subspan(at + kHeaderSize, length);
      // A file's size, which would only make the destination slow.
      if (input_[at] == std::byte{2} && length > 8)
        store_le(&input_[at + kHeaderSize], load_le<std::uint64_t>(payload.data()) % kMostSize);
      store_le(&input_[at + 24], checksum({&input_[at], 24}, payload));
      at += kHeaderSize + length;
    }
  }
  std::vector<std::byte> input_;
  std::size_t at_ = 0;
};

struct Scratch {
  Scratch() {
    char name[] = "/dev/shm/r3fuzz.XXXXXX";
    if (!::mkdtemp(name)) std::abort();
    path = name;
    install_sigbus_guard();
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string path;
};

void try_source(ConstBytes input, Keep keep, const std::string& path) {
  DestinationOptions options;
  options.keep = keep;
  options.fsync = Fsync::none;
  Destination destination(path, options);
  Script script(input);
  sync::Link link(script, {});
  HashSecret secret{};
  const Hasher hasher(secret);
  Report report;
  const auto inbox = destination.inbox(1, {});
  Receiver(link, *inbox, hasher, report).run();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Scratch scratch;
  if (size == 0) return 0;
  const ConstBytes input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const std::string inside = scratch.path + "/inside";
  std::filesystem::create_directory(inside);
  try {
    if (data[0] % 4 == 3) read_journal(input);
    else try_source(input, static_cast<Keep>(data[0] % 4), inside);
  } catch (const std::exception&) {
    // A refusal.
  }
  std::filesystem::remove_all(inside);
  if (!std::filesystem::is_empty(scratch.path)) std::abort();
  return 0;
}

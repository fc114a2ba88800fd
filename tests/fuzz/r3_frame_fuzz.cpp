// SPDX-License-Identifier: Apache-2.0
// Foreign bytes to both sides of r3/1: a server before and after its HELLO, with and without checksums, and a
// client with requests in flight. The first byte says which.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_frame_reader.hpp"
#include "libcommon/net/r3_payload.hpp"
#include "libcommon/net/r3_server.hpp"
#include "libcommon/net/r3_slot.hpp"
#include "libcommon/storage/memory.hpp"

namespace {

using namespace r3;

// Gives the input in pieces of uneven length, then the end; swallows what is written.
class Input final : public Link {
 public:
  Input(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::optional<std::size_t> read_some(Bytes into) override {
    step_ = step_ * 5 + 1;
    const auto n = std::min({into.size(), bytes_.size() - at_, step_ % 377 + 1});
    if (n > 0) std::memcpy(into.data(), bytes_.data() + at_, n);
    at_ += n;
    return n;
  }
  std::size_t write_some(std::span<const iovec> parts) override {
    std::size_t n = 0;
    for (const iovec& part : parts) n += part.iov_len;
    return n;
  }
  bool holds_input() const override { return true; }
  void finish() noexcept override {}
  int input() const override { return -1; }
  int output() const override { return -1; }
  void shut_down() noexcept override { at_ = bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
  std::size_t step_ = 0;
};

std::vector<std::byte> frame_before(wire::Header header, std::string_view payload, ConstBytes rest) {
  header.payload = static_cast<std::uint32_t>(payload.size());
  std::vector<std::byte> out(wire::kHeaderSize);
  wire::store(out.data(), header);
  const auto bytes = as_bytes(payload);
  out.insert(out.end(), bytes.begin(), bytes.end());
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

void serve(std::vector<std::byte> bytes, bool sums) {
  static MemoryBackend memory(64 * KiB);
  static R3ServerOptions options{.max_transfer = 64 * KiB, .max_requests = 16, .max_bytes = 256 * KiB,
                                 .workers = 2, .hello_timeout = std::chrono::milliseconds(1000)};
  static R3Server server({{"", &memory, false, false}}, options);
  const Stop stop;
  Input link(std::move(bytes));
  server.serve(link, sums, {}, stop);
}

void ask(std::vector<std::byte> bytes) {
  bool dialled = false;
  const R3Dial dial = [&](const Stop&, std::chrono::steady_clock::time_point) -> R3Dialled {
    if (dialled) fail(ESHUTDOWN, "fuzz");
    dialled = true;
    return {std::make_unique<Input>(std::move(bytes)), false};
  };
  R3Client client(dial, {});
  std::vector<std::byte> into(48 * KiB);
  R3Call first, second;
  client.start_read(first, into, 0, false, true);
  client.start_read(second, Bytes(into).first(100), 50, true, true);
  const auto each = [](auto what) {
    try {
      what();
    } catch (const std::exception&) {
    }
  };
  each([&] { client.wait(first); });
  each([&] { client.wait(second); });
  each([&] { client.extents(0, 64 * KiB, 10); });
  each([&] { client.hash(0, 64 * KiB, 4096); });
  each([&] { client.write_at(into, 0); });
  each([&] { client.flush(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const std::vector<std::byte> copy(bytes.begin(), bytes.end());
  wire::Header hello;
  hello.type = 1;
  try {
    switch (data[0] % 5) {
      case 0: serve(copy, true); break;
      case 1: serve(copy, false); break;
      case 2: serve(frame_before(hello, wire::encode(wire::Hello{.features = 31}), bytes), false); break;
      case 3: {
        hello.type |= wire::kReply;
        const wire::Welcome welcome{.features = 31, .size = 64 * KiB, .max_transfer = 64 * KiB,
                                    .max_requests = 16, .max_bytes = 256 * KiB};
        ask(frame_before(hello, wire::encode(welcome), bytes));
        break;
      }
      default: {
        if (bytes.size() < 2) break;
        std::vector<std::byte> into(std::to_integer<std::size_t>(bytes[1]) * 64);
        wire::Unpacker().unpack(std::to_integer<std::uint8_t>(bytes[0]), bytes.subspan(2), into);
      }
    }
  } catch (const std::system_error&) {
  } catch (const ProtocolError&) {
  }
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// An NBD client made of bytes, for tests: says exactly what a test wants it to say, sense or not, to a
// server on the other end of a socket pair. Nothing here checks anything but that bytes arrive.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/nbd_server.hpp"

namespace r3::test {

using ByteString = std::vector<std::byte>;

// Wire structs, integers (Be) and texts, one after the other.
inline void append(ByteString& to, ConstBytes bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }
inline void append(ByteString& to, const ByteString& bytes) { append(to, ConstBytes(bytes)); }
inline void append(ByteString& to, std::string_view text) { append(to, as_bytes(text)); }
template <class Wire>
  requires std::is_trivially_copyable_v<Wire>
void append(ByteString& to, const Wire& wire) {
  append(to, std::as_bytes(std::span(&wire, 1)));
}
template <class... Parts>
ByteString join(const Parts&... parts) {
  ByteString all;
  (append(all, parts), ...);
  return all;
}

struct OptionAnswer {
  std::uint32_t option = 0;
  std::uint32_t type = 0;
  ByteString data;
  std::string text() const { return std::string(as_text(data)); }
};

struct Chunked {
  std::uint16_t flags = 0;
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;  // of an extended header
  ByteString payload;
  bool done() const { return flags & nbd::kChunkDone; }
  std::uint32_t error() const { return load_be<std::uint32_t>(payload.data()); }
};

class WireClient {
 public:
  explicit WireClient(Fd socket);
  WireClient(WireClient&&) = default;

  void send(const ByteString& bytes);
  // Nothing when the server closed before that.
  ByteString receive(std::size_t count);
  bool closed();  // waits for the end of the stream; false if bytes come instead
  void hang_up() { socket_.reset(); }
  void reset_connection();
  int fd() const { return socket_.get(); }

  // Handshake.
  void greet(std::uint32_t client_flags = nbd::kFixedNewstyle | nbd::kNoZeroes);
  void option(std::uint32_t option, const ByteString& data = {});
  OptionAnswer answer();
  OptionAnswer ask(std::uint32_t number, const ByteString& data = {}) {
    option(number, data);
    return answer();
  }
  // All answers up to the one that ends them.
  std::vector<OptionAnswer> ask_all(std::uint32_t number, const ByteString& data = {});
  static ByteString go_data(std::string_view name, const std::vector<std::uint16_t>& infos = {});
  static ByteString meta_data(std::string_view name, const std::vector<std::string>& queries);
  void go(std::string_view name = "");  // asserts success
  std::uint64_t size = 0;               // what go() was told
  std::uint16_t flags = 0;

  // Transmission.
  void request(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
               std::uint16_t command_flags = 0, std::uint64_t cookie = 7);
  void extended(std::uint16_t type, std::uint64_t offset, std::uint64_t length,
                std::uint16_t command_flags = 0, std::uint64_t cookie = 7);
  // The error of a simple reply; fails the test if the cookie is another one.
  std::uint32_t simple(std::uint64_t cookie = 7);
  Chunked chunk();
  Chunked extended_chunk();
  std::uint32_t transact(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
                         std::uint16_t command_flags = 0) {
    request(type, offset, length, command_flags);
    return simple();
  }

 private:
  Fd socket_;
};

// A server for any number of such clients, each in its own thread; all end in the destructor.
class WireServer {
 public:
  explicit WireServer(std::vector<NbdExport> exports, NbdServerOptions options = {});
  ~WireServer();

  WireClient connect();
  // Greeted and in transmission, over a connection that is the only one that can be.
  WireClient connect_only();
  WireClient connect_attached(const NbdExport& exported);
  // Greeted, and in the transmission phase of `name`.
  WireClient connect_to(std::string_view name = "");
  WireClient structured(bool with_context = false);
  WireClient extended(bool with_context = false);

  Stop stop;
  NbdServer server;
  // Waits for the connections to end; how many ended with an exception.
  unsigned join();

 private:
  WireClient start(std::function<void(Channel)> serve);
  std::vector<std::thread> threads_;
  std::atomic<unsigned> errors_{0};
};

}  // namespace r3::test

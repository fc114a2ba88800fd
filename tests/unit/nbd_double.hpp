// SPDX-License-Identifier: Apache-2.0
// A small NBD server for tests of the client: it can do without most of the protocol, answers out of
// order and in pieces, crashes on demand and then loses what was not flushed, and lies when told to.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/socket.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {

struct DoubleOptions {
  std::uint64_t size = 0;
  std::uint16_t flags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim |
                        nbd::kSendWriteZeroes | nbd::kSendFastZero | nbd::kSendCache;
  std::uint16_t hello_flags = nbd::kFixedNewstyle | nbd::kNoZeroes;
  bool knows_go = true;
  bool structured = true;
  bool allocation = true;
  std::optional<nbd::InfoBlockSize> blocks = {};
  // Instead of the answer to a request: true if it has sent something itself.
  std::function<bool(const nbd::Request&, int socket)> answer = {};
  // Instead of the hello, the whole conversation.
  std::function<void(int socket)> converse = {};
};

class NbdDouble {
 public:
  explicit NbdDouble(DoubleOptions options);
  ~NbdDouble();

  const Address& address() const { return address_; }
  // Ends all connections in the middle of what they do; what was not flushed is lost.
  void crash();
  void stop();
  void start();
  DoubleOptions& options() { return options_; }  // change it while stopped

  // The crash comes by itself while the request number `count` from now is being served.
  void crash_after(unsigned count);
  unsigned crashes() const;
  std::vector<std::byte> durable() const;
  unsigned connections() const;  // so far
  unsigned requests(nbd::Command command) const;

 private:
  struct Reply {
    std::vector<std::byte> bytes;
  };
  struct Running;

  void serve(int socket, std::uint64_t seed);
  void shake_hands(int socket);
  void take_option(int socket, const nbd::OptionRequest& option, bool& done);
  std::vector<std::byte> execute(const nbd::Request& request, const std::vector<std::byte>& payload);
  std::vector<std::byte> read_reply(const nbd::Request& request);
  std::vector<std::byte> status_reply(const nbd::Request& request);

  TemporaryDirectory directory_;
  Address address_;
  DoubleOptions options_;
  std::unique_ptr<Running> running_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<std::byte> cached_;
  std::vector<std::byte> durable_;
  std::map<std::uint16_t, unsigned> requests_;
  unsigned connections_ = 0;
  unsigned until_crash_ = 0;
  unsigned crashes_ = 0;
  bool crash_is_due_ = false;
  bool ending_ = false;
  TaskGroup crasher_;
};

void send_bytes(int socket, const std::vector<std::byte>& bytes);

template <class Struct>
void append(std::vector<std::byte>& to, const Struct& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

inline std::vector<std::byte> simple(std::uint64_t cookie, std::uint32_t error = 0) {
  std::vector<std::byte> bytes;
  append(bytes, nbd::SimpleReply{nbd::kSimpleReplyMagic, error, cookie});
  return bytes;
}

// A client of such a server. A warning for each lost connection is right, and noise here.
class NbdClient : public testing::Test {
 protected:
  NbdClient() { testing::internal::CaptureStderr(); }
  ~NbdClient() override { said(); }
  std::string said() {
    if (!std::exchange(captured_, false)) return {};
    return testing::internal::GetCapturedStderr();
  }
  bool captured_ = true;
};

}  // namespace r3::test

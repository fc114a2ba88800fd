// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd_double.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::test {

using namespace nbd;

namespace {

constexpr std::uint32_t kContext = 77;

// The client is gone, or the server is.
struct Ended {};

template <class Struct>
Struct receive(int socket) {
  Struct value;
  const auto bytes = std::as_writable_bytes(std::span(&value, 1));
  if (read_full(socket, bytes) < bytes.size()) throw Ended();
  return value;
}

std::vector<std::byte> receive_bytes(int socket, std::size_t length) {
  std::vector<std::byte> bytes(length);
  if (read_full(socket, bytes) < length) throw Ended();
  return bytes;
}

void reply_option(int socket, const OptionRequest& option, std::uint32_t type,
                  const std::vector<std::byte>& data = {}) {
  std::vector<std::byte> bytes;
  append(bytes, OptionReply{kOptionReplyMagic, option.option, type, static_cast<std::uint32_t>(data.size())});
  bytes.insert(bytes.end(), data.begin(), data.end());
  send_bytes(socket, bytes);
}

}  // namespace

void send_bytes(int socket, const std::vector<std::byte>& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const auto n = ::send(socket, &bytes[done], bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0) throw Ended();
    done += static_cast<std::size_t>(n);
  }
}

struct NbdDouble::Running {
  std::mutex mutex;
  std::vector<int> sockets;  // guarded by mutex
  Listener listener;
  TaskGroup connections;
  TaskGroup acceptor;
  explicit Running(const Address& address) : listener(address) {}
  ~Running() {
    acceptor.stop().request();
    acceptor.join();
    std::lock_guard lock(mutex);
    for (const int socket : sockets) ::shutdown(socket, SHUT_RDWR);
  }
};

NbdDouble::NbdDouble(DoubleOptions options)
    : options_(std::move(options)), cached_(options_.size), durable_(options_.size) {
  address_ = parse_address("unix:" + directory_.path() + "/nbd");
  start();
  crasher_.spawn([this] {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return crash_is_due_ || ending_; });
      if (ending_) return;
      lock.unlock();
      crash();
      lock.lock();
      crash_is_due_ = false;
    }
  });
}

NbdDouble::~NbdDouble() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  crasher_.join();
  stop();
}

void NbdDouble::start() {
  running_ = std::make_unique<Running>(address_);
  running_->acceptor.spawn([this, running = running_.get()] {
    for (;;) {
      Fd connection = running->listener.accept(running->acceptor.stop());
      if (!connection.valid()) return;
      std::uint64_t seed = 0;
      {
        std::lock_guard lock(mutex_);
        seed = ++connections_;
      }
      {
        std::lock_guard lock(running->mutex);
        running->sockets.push_back(connection.get());
      }
      running->connections.spawn([this, running, seed, socket = connection.release()] {
        try {
          serve(socket, seed);
        } catch (const Ended&) {
        } catch (const std::system_error&) {
        }
        std::lock_guard lock(running->mutex);
        std::erase(running->sockets, socket);
        ::close(socket);
      });
    }
  });
}

void NbdDouble::stop() {
  running_.reset();
}

void NbdDouble::crash() {
  stop();
  {
    std::lock_guard lock(mutex_);
    cached_ = durable_;
    ++crashes_;
  }
  start();
}

void NbdDouble::crash_after(unsigned count) {
  std::lock_guard lock(mutex_);
  until_crash_ = count;
}

unsigned NbdDouble::crashes() const {
  std::lock_guard lock(mutex_);
  return crashes_;
}

unsigned NbdDouble::connections() const {
  std::lock_guard lock(mutex_);
  return connections_;
}

unsigned NbdDouble::requests(Command command) const {
  std::lock_guard lock(mutex_);
  const auto found = requests_.find(command);
  return found == requests_.end() ? 0 : found->second;
}

std::vector<std::byte> NbdDouble::durable() const {
  std::lock_guard lock(mutex_);
  return durable_;
}

// Answers in batches, each in random order.
void NbdDouble::serve(int socket, std::uint64_t seed) {
  if (options_.converse) return options_.converse(socket);
  shake_hands(socket);
  std::minstd_rand random(static_cast<unsigned>(seed));
  std::vector<std::vector<std::byte>> replies;
  for (;;) {
    pollfd watched{socket, POLLIN, 0};
    if (replies.size() >= 8 || ::poll(&watched, 1, 0) == 0) {
      std::shuffle(replies.begin(), replies.end(), random);
      for (const auto& reply : replies) send_bytes(socket, reply);
      replies.clear();
    }
    const auto request = receive<Request>(socket);
    if (request.magic != kRequestMagic || request.type == kDisconnect) return;
    std::vector<std::byte> payload;
    if (request.type == kWrite) payload = receive_bytes(socket, request.length);
    {
      std::lock_guard lock(mutex_);
      ++requests_[request.type];
      if (until_crash_ > 0 && --until_crash_ == 0) {
        crash_is_due_ = true;
        changed_.notify_all();
      }
    }
    if (options_.answer && options_.answer(request, socket)) continue;
    replies.push_back(execute(request, payload));
  }
}

void NbdDouble::shake_hands(int socket) {
  std::vector<std::byte> hello;
  append(hello, Hello{kHelloMagic, kOptionMagic, options_.hello_flags});
  send_bytes(socket, hello);
  if (receive<Be32>(socket) != options_.hello_flags) throw Ended();
  for (bool done = false; !done;) {
    const auto option = receive<OptionRequest>(socket);
    if (option.magic != kOptionMagic) throw Ended();
    take_option(socket, option, done);
  }
}

void NbdDouble::take_option(int socket, const OptionRequest& option, bool& done) {
  const auto data = receive_bytes(socket, option.length);
  if (option.option == kOptExportName) {
    std::vector<std::byte> reply;
    append(reply, ExportNameReply{options_.size, options_.flags});
    if (!(options_.hello_flags & kNoZeroes)) reply.resize(reply.size() + 124);
    send_bytes(socket, reply);
    done = true;
  } else if (option.option == kOptStructuredReply && options_.structured) {
    reply_option(socket, option, kRepAck);
  } else if (option.option == kOptSetMetaContext && options_.allocation) {
    std::vector<std::byte> context;
    append(context, Be32(kContext));
    const auto name = as_bytes("base:allocation");
    context.insert(context.end(), name.begin(), name.end());
    reply_option(socket, option, kRepMetaContext, context);
    reply_option(socket, option, kRepAck);
  } else if (option.option == kOptGo && options_.knows_go) {
    std::vector<std::byte> info;
    append(info, InfoExport{std::uint16_t{kInfoExport}, options_.size, options_.flags});
    reply_option(socket, option, kRepInfo, info);
    if (options_.blocks) {
      std::vector<std::byte> blocks;
      append(blocks, *options_.blocks);
      reply_option(socket, option, kRepInfo, blocks);
    }
    reply_option(socket, option, kRepAck);
    done = true;
  } else {
    reply_option(socket, option, kRepErrUnsupported);
  }
}

std::vector<std::byte> NbdDouble::execute(const Request& request, const std::vector<std::byte>& payload) {
  std::lock_guard lock(mutex_);
  std::uint32_t error = 0;
  const bool inside = request.offset <= options_.size && request.length <= options_.size - request.offset;
  const auto minimum = options_.blocks ? std::uint32_t(options_.blocks->minimum) : 1;
  if (!inside || request.offset % minimum != 0 || request.length % minimum != 0) {
    error = kEInval;
  } else if (request.type == kRead && options_.structured) {
    return read_reply(request);
  } else if (request.type == kBlockStatus) {
    return status_reply(request);
  } else if (request.type == kWrite) {
    std::copy(payload.begin(), payload.end(), cached_.begin() + static_cast<long>(request.offset));
  } else if (request.type == kWriteZeroes) {
    std::fill_n(cached_.begin() + static_cast<long>(request.offset), std::uint32_t(request.length), std::byte{0});
  } else if (request.type == kFlush) {
    durable_ = cached_;
  } else if (request.type != kRead && request.type != kTrim && request.type != kCache) {
    error = kEInval;
  }
  if (request.flags & kFua) durable_ = cached_;
  std::vector<std::byte> reply;
  append(reply, SimpleReply{kSimpleReplyMagic, error, request.cookie});
  if (request.type == kRead && error == 0) {
    const auto from = cached_.begin() + static_cast<long>(request.offset);
    reply.insert(reply.end(), from, from + std::uint32_t(request.length));
  }
  return reply;
}

// The second half first, as a hole if it is one.
std::vector<std::byte> NbdDouble::read_reply(const Request& request) {
  std::vector<std::byte> reply;
  const std::uint32_t first = request.length / 2, second = request.length - first;
  const auto from = ConstBytes(cached_).subspan(request.offset, request.length);
  const auto last = first == 0 ? kChunkDone : 0;
  if (all_zero(from.subspan(first))) {
    append(reply, ChunkHeader{kStructuredReplyMagic, static_cast<std::uint16_t>(last),
                              std::uint16_t{kChunkOffsetHole}, request.cookie, sizeof(HoleChunk)});
    append(reply, HoleChunk{request.offset + first, second});
  } else {
    append(reply, ChunkHeader{kStructuredReplyMagic, static_cast<std::uint16_t>(last),
                              std::uint16_t{kChunkOffsetData}, request.cookie, second + 8});
    append(reply, Be64(request.offset + first));
    reply.insert(reply.end(), from.begin() + first, from.end());
  }
  if (first == 0) return reply;
  append(reply, ChunkHeader{kStructuredReplyMagic, std::uint16_t{0}, std::uint16_t{kChunkOffsetData},
                            request.cookie, first + 8});
  append(reply, Be64(request.offset));
  reply.insert(reply.end(), from.begin(), from.begin() + first);
  append(reply, ChunkHeader{kStructuredReplyMagic, kChunkDone, std::uint16_t{kChunkNone}, request.cookie,
                            std::uint32_t{0}});
  return reply;
}

// At most two extents, told apart at the next 4 KiB; the last one reaches past the end of the request.
std::vector<std::byte> NbdDouble::status_reply(const Request& request) {
  const std::uint64_t boundary = round_down(request.offset, 4096) + 4096;
  std::vector<std::byte> descriptors;
  std::uint64_t offset = request.offset;
  for (const auto end : {std::min(boundary, options_.size), std::min(boundary + 4096, options_.size)}) {
    if (end <= offset) continue;
    const bool zero = all_zero(ConstBytes(cached_).subspan(offset, end - offset));
    append(descriptors, StatusDescriptor{static_cast<std::uint32_t>(end - offset),
                                         std::uint32_t(zero ? kStateHole | kStateZero : 0U)});
    offset = end;
  }
  std::vector<std::byte> reply;
  append(reply, ChunkHeader{kStructuredReplyMagic, kChunkDone, std::uint16_t{kChunkBlockStatus},
                            request.cookie, static_cast<std::uint32_t>(4 + descriptors.size())});
  append(reply, Be32(kContext));
  reply.insert(reply.end(), descriptors.begin(), descriptors.end());
  return reply;
}

}  // namespace r3::test

// SPDX-License-Identifier: Apache-2.0
// What the tests of mmap-hashsync share: a directory that goes away, files in it, both ends of a conversation
// in one process.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "libcommon/net/stream.hpp"
#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/endpoint.hpp"
#include "tools/mmap-hashsync/receiver.hpp"
#include "tools/mmap-hashsync/send_session.hpp"
#include "tools/mmap-hashsync/sigbus.hpp"

namespace r3::sync {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/r3sync.XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string random_text(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool exists(const std::string& path) { return std::filesystem::exists(path); }

// A source's hello, as bytes on a socket, and what the other end makes of it.
struct Ends {
  Ends() : ours(pair.ours.get(), pair.ours.get(), stop), theirs(pair.theirs.get(), pair.theirs.get(), stop) {}
  Stop stop;
  SocketPair pair = make_socket_pair();
  FdStream ours, theirs;
};

// Keeps the files in step once, and gives what the source's side threw.
inline void send_once(Destination& destination, const std::vector<SourceSpec>& files, SendOptions options,
                      std::uint64_t instance = 1) {
  install_sigbus_guard();
  Ends ends;
  const Hasher hasher(draw_secret());
  Report reports[2];
  std::thread receiving([&] {
    Link link(ends.theirs, {});
    try {
      const auto inbox = destination.inbox(instance, {});
      Receiver(link, *inbox, hasher, reports[0]).run();
    } catch (const std::exception&) {
      // The source has been told.
    }
    ends.pair.theirs.reset();
  });
  options.once = true;
  try {
    Link link(ends.ours, {});
    SendSession(link, ends.pair.ours.get(), hasher, files, options, reports[1]).run(ends.stop);
  } catch (...) {
    ends.pair.ours.reset();
    receiving.join();
    throw;
  }
  receiving.join();
}

}  // namespace r3::sync

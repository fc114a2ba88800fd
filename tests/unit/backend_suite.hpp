// SPDX-License-Identifier: Apache-2.0
// One suite that holds every Backend to its contract (libcommon/storage/backend.hpp). To put a backend
// through it, write in its own test file:
//
//   BackendUnderTest make_mine(std::uint64_t size) { return {std::make_unique<Mine>(size)}; }
//   INSTANTIATE_TEST_SUITE_P(Mine, BackendSuite, testing::Values(BackendCase{"mine", make_mine}),
//                            case_name);
//
// with `using namespace r3::test`. The tests run as "Mine/BackendSuite.<Test>/mine". What the backend
// needs as long as it lives (a server, a directory) goes into BackendUnderTest::keep.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "libcommon/storage/backend.hpp"

namespace r3::test {

struct BackendUnderTest {
  std::unique_ptr<Backend> backend;  // ends before `keep`
  std::shared_ptr<void> keep;
  BackendUnderTest(std::unique_ptr<Backend> made, std::shared_ptr<void> kept = nullptr)
      : backend(std::move(made)), keep(std::move(kept)) {}
  BackendUnderTest(BackendUnderTest&&) = default;
  ~BackendUnderTest() { backend.reset(); }
};

#ifdef __SANITIZE_THREAD__
inline constexpr unsigned kSteps = 150;  // it takes twenty times as long
#else
inline constexpr unsigned kSteps = 1500;
#endif

struct BackendCase {
  std::string name;
  // A fresh region of `size` bytes: all zero if it can be written.
  std::function<BackendUnderTest(std::uint64_t size)> make;
  // For what is read-only: the byte at an offset.
  std::function<std::byte(std::uint64_t offset)> content = nullptr;
  // Sizes and ranges are rounded to this: for what can do no less (1: anything goes).
  std::uint64_t granularity = 1;
  // How many steps the random tests take: fewer for what is slow.
  unsigned steps = kSteps;
};

inline void PrintTo(const BackendCase& which, std::ostream* out) { *out << which.name; }

class BackendSuite : public testing::TestWithParam<BackendCase> {};

inline std::string case_name(const testing::TestParamInfo<BackendCase>& info) {
  return info.param.name;
}

// A directory of its own that is removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The errno with which `call` failed; 0 if it did not.
int error_of(const std::function<void()>& call);

std::vector<std::byte> read_bytes(Backend& backend, std::uint64_t offset, std::uint64_t length);

// Neighbours differ, and so do the bytes of different calls.
void fill_random(Bytes bytes, std::mt19937_64& random);

}  // namespace r3::test

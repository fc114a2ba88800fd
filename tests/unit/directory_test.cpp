// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/directory.hpp"

#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

auto make_with(std::uint64_t chunk, std::size_t most_open) {
  return [=](std::uint64_t size) -> BackendUnderTest {
    auto directory = std::make_shared<TemporaryDirectory>();
    const DirectoryOptions options{size, chunk, false, most_open};
    return {std::make_unique<DirectoryBackend>(directory->path(), options), directory};
  };
}

INSTANTIATE_TEST_SUITE_P(
    Directory, BackendSuite,
    testing::Values(BackendCase{"chunks_of_64K", make_with(64 * KiB, 0), nullptr, 1, 1500},
                    BackendCase{"chunks_of_4K_few_open", make_with(4 * KiB, 3), nullptr, 1, 500}),
    case_name);

}  // namespace
}  // namespace r3::test

// SPDX-License-Identifier: Apache-2.0
// What the hints say about a file, for tests/cli/pull-hints.bats: pull-hints FILE [HINT] prints the
// hint's name, the reads that it took, then a line for each range. Status 3: it is of no known kind.
#include <cstdio>
#include <string>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/file.hpp"
#include "libcommon/storage/pull_hints.hpp"
#include "libcommon/storage/pull_list.hpp"

namespace {

using namespace r3;

class CountingFile : public FileBackend {
 public:
  explicit CountingFile(const char* path) : FileBackend(path, true) {}
  void read_at(Bytes into, std::uint64_t offset) override {
    ++reads;
    FileBackend::read_at(into, offset);
  }
  unsigned reads = 0;
};

int show(const char* path, std::string name) {
  CountingFile region(path);
  std::string lines;
  const HintView::Want want = [&](PullRange range) { lines += to_text(range) + "\n"; };
  const Stop stop;
  HintView view(region, stop, want);
  if (name.empty()) {
    name = hint_any(view);
    if (name.empty()) return 3;
  } else {
    bool taken = false;
    for (const NamedHint& one : all_hints())
      if (one.name == name) taken = one.hint(view);
    if (!taken) return 3;
  }
  std::printf("%s\n%u\n%s", name.c_str(), region.reads, lines.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return 2;
  try {
    return show(argv[1], argc == 3 ? argv[2] : "");
  } catch (const std::exception&) {
    std::fprintf(stderr, "%s\n", r3::text_of_current_exception().c_str());
    return 1;
  }
}

// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/cli/child.hpp"
#include "tools/mmap-hashsync/roles.hpp"

namespace r3::sync {

namespace {

constexpr std::size_t kMostAnswer = 64 * KiB;

}  // namespace

std::string run_hook(const std::string& command, const std::vector<std::string>& environment,
                     const Stop& stop) {
  const Fd answer(check(::memfd_create("answer", MFD_CLOEXEC), "memfd_create"));
  auto with_answer = environment;
  with_answer.push_back("R3_ANSWER=/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(answer.get()));
  Child child({"sh", "-c", "exec >\"$R3_ANSWER\"; unset R3_ANSWER\n" + command}, with_answer);
  const int status = child.wait(stop);
  if (status != 0) throw std::runtime_error("\"" + command + "\" ended with status " + std::to_string(status));
  std::string text(kMostAnswer, '\0');
  text.resize(pread_full(answer.get(), std::as_writable_bytes(std::span(text)), 0));
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace r3::sync

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/mounts.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "libcommon/base/apart.hpp"

namespace r3 {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

// The kernel writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 3, code, 8).ptr == &text[i + 1] + 3) {
      plain += static_cast<char>(code);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool parse_device(std::string_view text, Mount& mount) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos) return false;
  const char* end = text.data() + text.size();
  return std::from_chars(text.data(), end, mount.major).ec == std::errc{} &&
         std::from_chars(text.data() + colon + 1, end, mount.minor).ec == std::errc{};
}

std::string read_proc(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool holds(const std::filesystem::path& process, const std::string& path) {
  std::error_code gone;  // processes end while they are looked at
  for (const auto& entry : std::filesystem::directory_iterator(process / "fd", gone))
    if (std::filesystem::read_symlink(entry.path(), gone) == path) return true;
  for (const std::string_view line : split(read_proc(process / "maps"), '\n'))
    if (line.ends_with(" " + path)) return true;
  return false;
}

int run_fusermount(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "fusermount3");
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  for (const int fd : {0, 1, 2})
    posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_RDWR, 0);
  pid_t child = -1;
  const int error = posix_spawnp(&child, arguments[0], &quiet, nullptr,
                                 const_cast<char* const*>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&quiet);
  if (error != 0) return error;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return status == 0 ? 0 : EPERM;
}

// Apart: the last one to go writes out what the kernel holds, and waits for it.
int unmount_as(const std::string& path, int how) noexcept {
  return run_apart([&path, how] { return ::umount2(path.c_str(), how) == 0 ? 0 : errno; });
}

bool is_mounted(const std::string& path) {
  const std::vector<Mount> mounts = read_mounts();
  return std::any_of(mounts.begin(), mounts.end(), [&](const Mount& m) { return m.path == path; });
}

}  // namespace

std::vector<Mount> parse_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::vector<std::string_view> words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");  // ends the optional fields
    Mount mount;
    if (dash - words.begin() < 6 || words.end() - dash < 3) continue;
    if (!parse_device(words[2], mount)) continue;
    mount.path = unescape(words[4]);
    mount.type = unescape(dash[1]);
    mount.source = unescape(dash[2]);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<Mount> read_mounts() {
  return parse_mounts(read_proc("/proc/self/mountinfo"));
}

std::vector<std::string> holders_of(const std::string& path) {
  std::vector<std::string> holders;
  std::error_code gone;
  for (const auto& process : std::filesystem::directory_iterator("/proc", gone)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != pid.npos || std::stol(pid) == ::getpid()) continue;
    if (!holds(process.path(), path)) continue;
    std::string name = read_proc(process.path() / "comm");
    if (name.ends_with('\n')) name.pop_back();
    holders.push_back(name + " (" + pid + ")");
  }
  return holders;
}

std::string by(const std::vector<std::string>& holders) {
  std::string text;
  for (const std::string& holder : holders) text += (text.empty() ? " by " : ", ") + holder;
  return text;
}

int unmount(const std::string& path) {
  if (const int refused = unmount_as(path, UMOUNT_NOFOLLOW); refused != EPERM) return refused;
  const int error = run_fusermount({"-u", "-q", "--", path.c_str()});
  if (error == 0 || !is_mounted(path)) return 0;
  return error == EPERM ? EBUSY : error;  // its exit status says no more than "no"
}

void unmount_by_force(const std::string& path) noexcept {
  unmount_as(path, MNT_FORCE | UMOUNT_NOFOLLOW);  // ends what goes on, even if it stays busy
  if (unmount_as(path, MNT_DETACH | UMOUNT_NOFOLLOW) == EPERM)
    run_fusermount({"-u", "-q", "-z", "--", path.c_str()});
}

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/mounts.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
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

unsigned parse_id(std::string_view text) {
  unsigned id = 0;
  std::from_chars(text.data(), text.data() + text.size(), id);
  return id;
}

// The number of "name=" among a FUSE file system's options.
unsigned option_of(std::string_view options, std::string_view name) {
  for (const std::string_view word : split(options, ','))
    if (word.starts_with(name)) return parse_id(word.substr(name.size()));
  return 0;
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

// What a process may hold: a file by its path, or anything of a mount.
struct Held {
  std::string path;
  const Mount* mount = nullptr;
};

bool is_held_by(const std::filesystem::path& process, const std::string& fd, const Held& held) {
  std::error_code gone;  // processes end while they are looked at
  if (std::filesystem::read_symlink(process / "fd" / fd, gone) == held.path) return true;
  if (!held.mount) return false;
  const std::string info = read_proc(process / "fdinfo" / fd);
  return info.find("\nmnt_id:\t" + std::to_string(held.mount->id) + "\n") != info.npos;
}

// A line of /proc/PID/maps: "FROM-TO rwxp OFFSET MAJOR:MINOR INODE   PATH".
bool is_mapped(std::string_view line, const Held& held) {
  if (line.ends_with(" " + held.path)) return true;
  if (!held.mount) return false;
  char device[32];
  std::snprintf(device, sizeof device, " %02x:%02x ", held.mount->major, held.mount->minor);
  return line.find(device) != line.npos;
}

// What opens the thing that the process holds; empty if it holds none.
std::string file_of(const std::filesystem::path& process, const Held& held) {
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(process / "fd", gone))
    if (is_held_by(process, entry.path().filename(), held)) return entry.path();
  const std::string maps = read_proc(process / "maps");
  for (const std::string_view line : split(maps, '\n'))
    if (is_mapped(line, held)) return process / "map_files" / line.substr(0, line.find(' '));
  return {};
}

std::vector<Holder> find_holders(const Held& held) {
  std::vector<Holder> holders;
  std::error_code gone;
  for (const auto& process : std::filesystem::directory_iterator("/proc", gone)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != pid.npos || std::stol(pid) == ::getpid()) continue;
    std::string file = file_of(process.path(), held);
    if (file.empty()) continue;
    std::string name = read_proc(process.path() / "comm");
    if (name.ends_with('\n')) name.pop_back();
    holders.push_back({name + " (" + pid + ")", std::move(file)});
  }
  return holders;
}

// Where it is installed, when PATH does not say: libfuse has mounted with it.
constexpr const char* kFusermounts[] = {"fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3",
                                        "/usr/local/bin/fusermount3"};

int spawn_fusermount(pid_t& child, std::vector<const char*> arguments) {
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  for (const int fd : {0, 1, 2})
    posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_RDWR, 0);
  int error = ENOENT;
  for (const char* program : kFusermounts) {
    arguments[0] = program;
    error = posix_spawnp(&child, program, &quiet, nullptr, const_cast<char* const*>(arguments.data()),
                         environ);
    if (error != ENOENT) break;
  }
  posix_spawn_file_actions_destroy(&quiet);
  return error;
}

int run_fusermount(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "fusermount3");
  arguments.push_back(nullptr);
  pid_t child = -1;
  if (const int error = spawn_fusermount(child, std::move(arguments)); error != 0) return error;
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
    mount.id = parse_id(words[0]);
    mount.path = unescape(words[4]);
    mount.type = unescape(dash[1]);
    mount.source = unescape(dash[2]);
    if (words.end() - dash > 3) {
      mount.user = option_of(dash[3], "user_id=");
      mount.group = option_of(dash[3], "group_id=");
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<Mount> read_mounts() {
  return parse_mounts(read_proc("/proc/self/mountinfo"));
}

std::optional<Mount> find_mount(unsigned id) {
  for (Mount& mount : read_mounts())
    if (mount.id == id) return std::move(mount);
  return {};
}

// The kernel would answer a plain stat() from what it remembers; and only its owner hears that the server has
// gone, so root asks as that user, apart.
bool is_dead(const Mount& mount) {
  const int answer = run_apart([&mount] {
    if (::geteuid() == 0 && (::syscall(SYS_setresgid, mount.group, mount.group, mount.group) != 0 ||
                             ::syscall(SYS_setresuid, mount.user, mount.user, mount.user) != 0))
      return errno;
    struct statx status{};
    return ::statx(AT_FDCWD, mount.path.c_str(), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) == 0
               ? 0
               : errno;
  });
  return answer == ENOTCONN;
}

std::vector<Holder> holders_of(const std::string& path) { return find_holders({path, nullptr}); }

std::vector<Holder> holders_of(const Mount& mount) { return find_holders({mount.path, &mount}); }

std::vector<std::string> names_of(const std::vector<Holder>& holders) {
  std::vector<std::string> names;
  for (const Holder& holder : holders) names.push_back(holder.name);
  return names;
}

std::string by(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? " by " : ", ") + name;
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

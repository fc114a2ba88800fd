// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/confine.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

// Of the first version of Landlock; what later ones add (refer, truncate, ioctl) is let be.
constexpr std::uint64_t kReading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kEverything =
    kReading | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

// Configuration, certificates and libraries that name resolution loads when a server is dialled again.
constexpr const char* kReadable[] = {"/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve"};

void allow_reading(int rules, const char* path) {
  const Fd below(::open(path, O_PATH | O_CLOEXEC));
  if (!below.valid()) return;
  const landlock_path_beneath_attr rule{kReading, below.get()};
  check(::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0), path);
}

void restrict_files() {
  const landlock_ruleset_attr handled{.handled_access_fs = kEverything};
  const Fd rules(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &handled, sizeof(std::uint64_t), 0)));
  if (!rules.valid()) return;
  for (const char* path : kReadable) allow_reading(rules.get(), path);
  check(::syscall(SYS_landlock_restrict_self, rules.get(), 0), "landlock_restrict_self");
}

// What nothing here ever calls, and what somebody who took the process over would want.
constexpr int kForbidden[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(move_mount),
    SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(setns), SCMP_SYS(unshare),
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
    SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(reboot), SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime), SCMP_SYS(sethostname), SCMP_SYS(acct), SCMP_SYS(quotactl),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(personality), SCMP_SYS(setuid), SCMP_SYS(setgid),
};

void restrict_calls() {
  const auto filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == nullptr) return;
  int error = 0;
  for (const int call : kForbidden)
    if (error == 0) error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
  if (error == 0) error = seccomp_load(filter);
  seccomp_release(filter);
  if (error != 0 && error != -EINVAL && error != -ENOSYS) fail(-error, "seccomp");
}

// Sanitizers stop and read their own process.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

void confine() {
  if (kSanitized) return;
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  restrict_files();
  restrict_calls();
}

}  // namespace r3

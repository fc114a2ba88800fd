// SPDX-License-Identifier: Apache-2.0
// A tape drive that speaks the ioctls of st(4), in memory, as a character device of CUSE: what tapisk, mt-st and tar
// are tried on where there is no drive.
//
//   cuse-tape NAME [CAPACITY [SWITCHES]]     makes /dev/NAME; runs until it is killed
//
// While the file SWITCHES exists, each letter in it is on: b: every operation fails; c: the drive asks to be cleaned;
// o: there is no tape; w: write-protected. Behaviour as in the Linux kernel's Documentation/scsi/st.rst: a filemark is
// written at the close, and before the tape is moved, if the last operation was a write; the write that meets the early
// warning (CAPACITY) is done, every second one after it fails, and all do at the end of the medium, a MiB later; at the
// end of what was written a read gives nothing once, if it comes from a filemark, and then an error.
#define FUSE_USE_VERSION 30
#include <cuse_lowlevel.h>
#include <fcntl.h>
#include <sys/mtio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Object {
  bool filemark = false;
  std::vector<char> bytes;
};

std::vector<Object> tape;
std::size_t at = 0;
std::uint64_t used = 0, capacity = 0;
unsigned block = 0;
bool in_use = false;      // st lets one have it
bool wrote = false;       // the last operation was a write
bool after_mark = false;  // the last operation read a filemark
bool warned = false;      // the last write went past the early warning: the next one fails
constexpr std::uint64_t kTrailer = 1 << 20;  // bytes between the early warning and the end of the medium
std::string switches_path;

bool is_on(char which) {
  std::ifstream file(switches_path);
  std::string letters;
  file >> letters;
  return letters.find(which) != letters.npos;
}

int state() { return is_on('o') ? ENOMEDIUM : is_on('b') ? EIO : 0; }

void cut() {
  for (std::size_t i = at; i < tape.size(); ++i) used -= tape[i].bytes.size();
  tape.resize(at);
}

int put_filemarks(std::size_t count) {
  if (is_on('w')) return EACCES;
  cut();
  for (; count > 0; --count) tape.push_back({true, {}});
  at = tape.size();
  wrote = false;
  return 0;
}

// To behind (forward) or before a filemark, `count` times; EIO at an end of the tape.
int space_filemarks(int count) {
  for (; count > 0; --count) {
    while (at < tape.size() && !tape[at].filemark) ++at;
    if (at == tape.size()) return EIO;
    ++at;
  }
  for (; count < 0; ++count) {
    while (at > 0 && !tape[at - 1].filemark) --at;
    if (at == 0) return EIO;
    --at;
  }
  return 0;
}

int space_records(int count) {
  for (; count > 0; --count) {
    if (at == tape.size()) return EIO;
    if (tape[at++].filemark) return EIO;
  }
  for (; count < 0; ++count) {
    if (at == 0) return EIO;
    if (tape[--at].filemark) return EIO;
  }
  return 0;
}

int operate(const mtop& order) {
  if (const int error = state()) return error;
  after_mark = false;
  if (wrote && order.mt_op != MTNOP && order.mt_op != MTWEOF && order.mt_op != MTSETBLK) put_filemarks(1);
  if (order.mt_op != MTNOP) wrote = false;
  const auto count = static_cast<unsigned>(order.mt_count);
  switch (order.mt_op) {
    case MTREW: case MTLOAD: case MTOFFL: case MTUNLOAD: at = 0; return 0;
    case MTNOP: case MTRESET: case MTRETEN: case MTSETDRVBUFFER: case MTCOMPRESSION: return 0;
    case MTWEOF: return put_filemarks(count);
    case MTFSF: return space_filemarks(order.mt_count);
    case MTBSF: return space_filemarks(-order.mt_count);
    case MTFSR: return space_records(order.mt_count);
    case MTBSR: return space_records(-order.mt_count);
    case MTEOM: at = tape.size(); return 0;
    case MTERASE: cut(); return 0;
    case MTSEEK:
      if (count > tape.size()) return EIO;
      at = count;
      return 0;
    case MTSETBLK: block = count; return 0;
    default: return ENOSYS;
  }
}

mtget status() {
  mtget about{};
  about.mt_type = MT_ISSCSI2;
  about.mt_dsreg = static_cast<long>(block);
  for (std::size_t i = 0; i < at; ++i) {
    ++about.mt_blkno;
    if (!tape[i].filemark) continue;
    ++about.mt_fileno;
    about.mt_blkno = 0;
  }
  about.mt_gstat = is_on('o') ? 0x00040000 : 0x01000000;
  if (is_on('w')) about.mt_gstat |= 0x04000000;
  if (is_on('c')) about.mt_gstat |= 0x00008000;
  if (at == 0) about.mt_gstat |= 0x40000000;
  if (at == tape.size()) about.mt_gstat |= 0x08000000;
  if (at > 0 && tape[at - 1].filemark) about.mt_gstat |= 0x80000000;
  return about;
}

void opened(fuse_req_t request, fuse_file_info* file) {
  if (const int error = state()) return void(fuse_reply_err(request, error));
  if (is_on('w') && (file->flags & O_ACCMODE) != O_RDONLY) return void(fuse_reply_err(request, EROFS));
  if (std::exchange(in_use, true)) return void(fuse_reply_err(request, EBUSY));
  file->direct_io = 1;
  file->nonseekable = 1;
  fuse_reply_open(request, file);
}

void released(fuse_req_t request, fuse_file_info*) {
  if (wrote) put_filemarks(1);
  in_use = false;
  fuse_reply_err(request, 0);
}

void read_tape(fuse_req_t request, std::size_t size, off_t, fuse_file_info*) {
  if (const int error = state()) return void(fuse_reply_err(request, error));
  wrote = false;
  const bool came_from_mark = std::exchange(after_mark, false);
  if (at == tape.size() && came_from_mark) return void(fuse_reply_buf(request, nullptr, 0));
  if (at == tape.size()) return void(fuse_reply_err(request, EIO));
  if (tape[at].filemark) {
    ++at;
    after_mark = true;
    return void(fuse_reply_buf(request, nullptr, 0));
  }
  if (block == 0) {
    const auto& bytes = tape[at++].bytes;
    if (bytes.size() > size) return void(fuse_reply_err(request, ENOMEM));
    return void(fuse_reply_buf(request, bytes.data(), bytes.size()));
  }
  std::vector<char> all;
  if (size % block != 0) return void(fuse_reply_err(request, EINVAL));
  while (all.size() < size && at < tape.size() && !tape[at].filemark) {
    if (tape[at].bytes.size() != block) return void(fuse_reply_err(request, EIO));
    all.insert(all.end(), tape[at].bytes.begin(), tape[at].bytes.end());
    ++at;
  }
  fuse_reply_buf(request, all.data(), all.size());
}

void write_tape(fuse_req_t request, const char* from, std::size_t size, off_t, fuse_file_info*) {
  if (const int error = state()) return void(fuse_reply_err(request, error));
  if (is_on('w')) return void(fuse_reply_err(request, EACCES));
  if (block != 0 && size % block != 0) return void(fuse_reply_err(request, EINVAL));
  cut();
  const bool late = capacity != 0 && used + size > capacity;
  if (late && (std::exchange(warned, !warned) || used + size > capacity + kTrailer))
    return void(fuse_reply_err(request, ENOSPC));
  const std::size_t part = block == 0 ? size : block;
  for (std::size_t i = 0; i < size; i += part) tape.push_back({false, {from + i, from + i + part}});
  at = tape.size();
  used += size;
  wrote = true;
  fuse_reply_write(request, size);
}

// The first call comes without the caller's memory: the kernel is told which part of it is wanted.
template <class Answer>
void answer(fuse_req_t request, void* where, std::size_t room, const Answer& value) {
  iovec into{where, sizeof value};
  if (room < sizeof value) fuse_reply_ioctl_retry(request, nullptr, 0, &into, 1);
  else fuse_reply_ioctl(request, 0, &value, sizeof value);
}

void control(fuse_req_t request, int command, void* where, fuse_file_info*, unsigned, const void* given,
             std::size_t given_size, std::size_t room) {
  if (command == static_cast<int>(MTIOCTOP)) {
    iovec from{where, sizeof(mtop)};
    if (given_size < sizeof(mtop)) return void(fuse_reply_ioctl_retry(request, &from, 1, nullptr, 0));
    mtop order;
    std::memcpy(&order, given, sizeof order);
    if (const int error = operate(order)) fuse_reply_err(request, error);
    else fuse_reply_ioctl(request, 0, nullptr, 0);
  } else if (command == static_cast<int>(MTIOCGET)) {
    answer(request, where, room, status());
  } else if (command == static_cast<int>(MTIOCPOS)) {
    if (const int error = state()) return void(fuse_reply_err(request, error));
    answer(request, where, room, mtpos{static_cast<long>(at)});
  } else {
    fuse_reply_err(request, ENOTTY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string device = std::string("DEVNAME=") + argv[1];
  if (argc > 2) capacity = std::strtoull(argv[2], nullptr, 10);
  if (argc > 3) switches_path = argv[3];
  const char* names[] = {device.c_str()};
  cuse_info info{};
  info.dev_info_argc = 1;
  info.dev_info_argv = names;
  info.flags = CUSE_UNRESTRICTED_IOCTL;
  cuse_lowlevel_ops operations{};
  operations.open = opened;
  operations.release = released;
  operations.read = read_tape;
  operations.write = write_tape;
  operations.ioctl = control;
  std::string program = argv[0], foreground = "-f", single = "-s";
  char* words[] = {program.data(), foreground.data(), single.data(), nullptr};
  return cuse_lowlevel_main(3, words, &info, &operations, nullptr);
}

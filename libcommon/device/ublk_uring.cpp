// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_uring.hpp"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr char kControl[] = "/dev/ublk-control";
constexpr unsigned kGetFeatures = 0x13;  // UBLK_U_CMD_GET_FEATURES, since Linux 6.5
constexpr std::uint64_t kRing = ~0ULL;   // user_data of the read that ring() ends

// How much room a queue's descriptors have in the file, whatever its depth is.
constexpr std::uint64_t kMostDescriptors = UBLK_MAX_QUEUE_DEPTH * sizeof(ublksrv_io_desc);

unsigned control_code(unsigned command, bool encoded) {
  return encoded ? static_cast<unsigned>(_IOWR('u', command, ublksrv_ctrl_cmd)) : command;
}

unsigned io_code(unsigned command, bool encoded) {
  return encoded ? static_cast<unsigned>(_IOWR('u', command, ublksrv_io_cmd)) : command;
}

Fd open_control() {
  Fd control(::open(kControl, O_RDWR | O_CLOEXEC));
  if (control.valid()) return control;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
    fail(ENODEV, "the kernel has no ublk; as root, load it: modprobe ublk_drv (Linux 6.0 and later)");
  if (errno == EACCES || errno == EPERM) fail(errno, std::string(kControl) + ": ublk devices are for root");
  fail(errno, kControl);
}

class UringQueue : public UblkQueuePort {
 public:
  UringQueue(int channel, unsigned number, unsigned depth, bool encoded)
      : channel_(channel),
        number_(static_cast<__u16>(number)),
        encoded_(encoded),
        bell_(check(::eventfd(0, EFD_CLOEXEC), "eventfd")),
        descriptors_(Mapping::of_file(channel, number * kMostDescriptors,
                                      round_up(depth * sizeof(ublksrv_io_desc), page_size()), false)),
        // Not IORING_SETUP_COOP_TASKRUN: requests would wait for the next tick of the clock (Linux 6.1).
        ring_(depth + 1, 0) {
    events_.reserve(depth);
    listen();
  }

  const ublksrv_io_desc& request(unsigned tag) const override {
    return reinterpret_cast<const ublksrv_io_desc*>(descriptors_.bytes().data())[tag];
  }
  void fetch(unsigned tag, Bytes buffer) override { prepare(UBLK_IO_FETCH_REQ, tag, 0, buffer); }
  void commit(unsigned tag, int result, Bytes buffer) override {
    prepare(UBLK_IO_COMMIT_AND_FETCH_REQ, tag, result, buffer);
  }
  void submit() override {
    while (::io_uring_sq_ready(ring_.get()) > 0) check_submitted(::io_uring_submit(ring_.get()));
  }

  std::span<const UblkEvent> wait() override {
    events_.clear();
    check_submitted(::io_uring_submit_and_wait(ring_.get(), 1));
    io_uring_cqe* entry = nullptr;
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_for_each_cqe(ring_.get(), head, entry) {
      ++seen;
      if (entry->user_data == kRing)
        rang_ = true;
      else
        events_.push_back({static_cast<std::uint16_t>(entry->user_data), entry->res});
    }
    ::io_uring_cq_advance(ring_.get(), seen);
    if (std::exchange(rang_, false)) listen();
    return events_;
  }

  void ring() noexcept override {
    const std::uint64_t one = 1;
    while (::write(bell_.get(), &one, sizeof one) < 0 && errno == EINTR) continue;
  }

 private:
  static std::uint64_t page_size() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

  static void check_submitted(int result) {
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) fail(-result, "io_uring");
  }

  // There is an entry for each tag and one for the bell, none of them is prepared twice before it is submitted.
  io_uring_sqe* entry() {
    io_uring_sqe* free = ::io_uring_get_sqe(ring_.get());
    if (free == nullptr) {
      submit();
      free = ::io_uring_get_sqe(ring_.get());
    }
    return free;
  }

  void listen() {
    io_uring_sqe* read = entry();
    ::io_uring_prep_read(read, bell_.get(), &rings_, sizeof rings_, 0);
    read->user_data = kRing;
  }

  void prepare(unsigned command, unsigned tag, int result, Bytes buffer) {
    io_uring_sqe* entry = this->entry();
    ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, channel_, nullptr, 0, 0);
    entry->cmd_op = io_code(command, encoded_);
    entry->user_data = tag;
    const ublksrv_io_cmd arguments{number_, static_cast<__u16>(tag), result,
                                   reinterpret_cast<std::uintptr_t>(buffer.data())};
    std::memcpy(entry->cmd, &arguments, sizeof arguments);
  }

  const int channel_;
  const __u16 number_;
  const bool encoded_;
  Fd bell_;
  std::uint64_t rings_ = 0;  // the kernel writes here
  bool rang_ = false;
  std::vector<UblkEvent> events_;
  Mapping descriptors_;
  Uring ring_;  // ends before what it uses
};

class UringChannel : public UblkChannel {
 public:
  UringChannel(Fd file, bool encoded) : file_(std::move(file)), encoded_(encoded) {}
  std::unique_ptr<UblkQueuePort> queue(unsigned number, unsigned depth) override {
    return std::make_unique<UringQueue>(file_.get(), number, depth, encoded_);
  }

 private:
  Fd file_;
  const bool encoded_;
};

}  // namespace

UringUblk::UringUblk() : control_(open_control()), ring_(2, IORING_SETUP_SQE128) {
  std::uint64_t features = 0;
  ublksrv_ctrl_cmd arguments{};
  arguments.dev_id = ~0U;
  arguments.queue_id = static_cast<__u16>(-1);
  arguments.addr = reinterpret_cast<std::uintptr_t>(&features);
  arguments.len = sizeof features;
  encoded_ = send(control_code(kGetFeatures, true), arguments) == 0;
}

int UringUblk::control(unsigned command, const ublksrv_ctrl_cmd& arguments) {
  return send(control_code(command, encoded_), arguments);
}

int UringUblk::send(unsigned command, const ublksrv_ctrl_cmd& arguments) {
  std::lock_guard lock(mutex_);
  io_uring_sqe* entry = ::io_uring_get_sqe(ring_.get());
  ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, control_.get(), nullptr, 0, 0);
  entry->cmd_op = command;
  std::memcpy(entry->cmd, &arguments, sizeof arguments);
  int result = ::io_uring_submit(ring_.get());
  if (result < 0) return result;
  io_uring_cqe* answer = nullptr;
  while ((result = ::io_uring_wait_cqe(ring_.get(), &answer)) == -EINTR) continue;
  if (result < 0) return result;
  result = answer->res;
  ::io_uring_cqe_seen(ring_.get(), answer);
  return result;
}

std::vector<unsigned> UringUblk::devices() {
  constexpr std::string_view kPrefix = "ublkc";
  std::vector<unsigned> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/ublk-char", none)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kPrefix))
      found.push_back(static_cast<unsigned>(parse_number(name.substr(kPrefix.size()), UINT16_MAX)));
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::unique_ptr<UblkChannel> UringUblk::open(unsigned device) {
  const std::string path = "/dev/ublkc" + std::to_string(device);
  Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid() && (errno == EBUSY || errno == ENOENT)) return nullptr;
  check(file.get(), path);
  return std::make_unique<UringChannel>(std::move(file), encoded_);
}

}  // namespace r3

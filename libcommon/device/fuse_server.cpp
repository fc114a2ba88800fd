// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/fuse_server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <limits>
#include <memory>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/device/fuse_operations.hpp"

namespace r3 {
namespace {

// Enough for the largest request that libfuse lets the kernel send: 256 pages and the headers.
constexpr std::size_t kRequestSize = 1 * MiB + 64 * KiB;

// Threads from the start. The other half of the CPUs is for those who ask: a second thread on two
// CPUs made 4 KiB reads slower by a third.
unsigned at_once() {
  return std::clamp(std::thread::hardware_concurrency() / 2, 1u, 4u);
}

// Its only effect is that a blocking read() ends; USR2 has no other meaning here.
constexpr int kWakeSignal = SIGUSR2;

void say(fuse_log_level, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  const std::string_view line(text);
  log_debug(line.substr(0, line.find_last_not_of('\n') + 1));
}

struct stat make_attributes(const Backend& backend, const DeviceOptions& options) {
  if (backend.size() > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()))
    fail(EFBIG, "a region of " + std::to_string(backend.size()) + " bytes");
  struct stat attributes{};
  attributes.st_ino = FUSE_ROOT_ID;
  attributes.st_nlink = 1;
  attributes.st_mode = S_IFREG | (options.mode & 07777u);
  attributes.st_uid = options.owner.value_or(::geteuid());
  attributes.st_gid = options.group.value_or(::getegid());
  attributes.st_size = static_cast<off_t>(backend.size());
  attributes.st_blocks = attributes.st_size / 512 + (attributes.st_size % 512 != 0);
  attributes.st_blksize =
      static_cast<blksize_t>(std::clamp<std::uint64_t>(backend.block_size(), 4 * KiB, MiB));
  attributes.st_atim.tv_sec = attributes.st_mtim.tv_sec = ::time(nullptr);
  attributes.st_ctim = attributes.st_mtim;
  return attributes;
}

}  // namespace

// What a thread works with.
struct FuseServer::Memory {
  Mapping request = Mapping::anonymous(kRequestSize);
  Mapping scratch = Mapping::anonymous(kRequestSize);
};

FuseServer::FuseServer(Backend& backend, const DeviceOptions& options)
    : backend_(backend), options_(options), attributes_(make_attributes(backend, options)),
      modified_(attributes_.st_mtim.tv_sec) {
  fuse_set_log_func(say);
}

FuseServer::~FuseServer() {
  interrupt();
  if (!session_) return;
  sever();
  fuse_session_unmount(session_);
  fuse_session_destroy(session_);
}

// Ends the connection, if it goes on. Libfuse frees its copy of the path only by unmounting what is there, which
// may be another one's mount by now; by a pipe that nobody reads in the place of /dev/fuse it is told that this
// has been done.
void FuseServer::sever() noexcept {
  int ends[2];
  if (fd_ < 0 || ::pipe2(ends, O_CLOEXEC) != 0) return;
  ::close(ends[0]);
  ::dup3(ends[1], fd_, O_CLOEXEC);
  ::close(ends[1]);
}

void FuseServer::start(const std::string& path, const std::vector<std::string>& mount_options) {
  fuse_args arguments{};
  fuse_opt_add_arg(&arguments, "r3");
  for (const std::string& option : mount_options) {
    fuse_opt_add_arg(&arguments, "-o");
    fuse_opt_add_arg(&arguments, option.c_str());
  }
  session_ =
      fuse_session_new(&arguments, &FuseOperations::table(), sizeof(fuse_lowlevel_ops), this);
  fuse_opt_free_args(&arguments);
  if (!session_) fail(EINVAL, path + ": libfuse refuses the mount options");
  if (fuse_session_mount(session_, path.c_str()) != 0)
    fail(errno ? errno : EPERM, path + ": mount");
  fd_ = fuse_session_fd(session_);
  for (unsigned i = 0; i < at_once(); ++i, ++started_) spawn_server();
}

void FuseServer::wait_until_agreed() {
  begun_.wait();
  if (!agreed_) fail(EPROTO, "the kernel's fuse");
}

// All that can fail comes before the thread, which is counted as one that ends by itself.
void FuseServer::spawn_server() {
  const auto memory = std::make_shared<Memory>();
  ++running_;
  ++listening_;
  try {
    servers_.spawn([this, memory] { serve(*memory); });
  } catch (...) {
    --running_;
    --listening_;
    throw;
  }
}

// Before the last listening thread waits for the backend: another one listens from then on, if the
// limit allows. Running out of threads or memory makes requests queue, nothing worse; hence the catch.
void FuseServer::add_server() {
  unsigned started = started_.load();
  do {
    if (started >= std::max(options_.threads, at_once())) return;
  } while (!started_.compare_exchange_weak(started, started + 1));
  try {
    spawn_server();
  } catch (const std::system_error&) {
    --started_;
  }
}

void FuseServer::serve(Memory& memory) {
  {
    const std::lock_guard lock(threads_mutex_);
    threads_.push_back(::pthread_self());
  }
  sigset_t wake;
  ::sigemptyset(&wake);
  ::sigaddset(&wake, kWakeSignal);
  ::pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  FuseOperations::use_scratch(memory.scratch.bytes());
  while (!leaving_) {
    const ssize_t length = ::read(fd_, memory.request.bytes().data(), kRequestSize);
    if (length < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
    if (length <= 0) break;  // ENODEV, ECONNABORTED: unmounted
    fuse_buf buffer{};
    buffer.size = static_cast<std::size_t>(length);
    buffer.mem = memory.request.bytes().data();
    fuse_session_process_buf(session_, &buffer);
    progress_.fetch_add(1, std::memory_order_relaxed);
  }
  {
    const std::lock_guard lock(threads_mutex_);
    std::erase_if(threads_, [](pthread_t t) { return ::pthread_equal(t, ::pthread_self()); });
  }
  if (--running_ > 0) return;
  begun_.request();
  ended_.request();
  if (options_.on_ended) options_.on_ended();
}

bool FuseServer::connected() const {
  pollfd connection{fd_, POLLIN, 0};
  return ::poll(&connection, 1, 0) >= 0 && (connection.revents & (POLLERR | POLLNVAL)) == 0;
}

bool FuseServer::wait_until_ended(std::chrono::steady_clock::time_point then) const {
  const auto left = then - std::chrono::steady_clock::now();
  return ended_.wait_for(std::max(std::chrono::ceil<std::chrono::milliseconds>(left), {}));
}

void FuseServer::join() {
  servers_.join();
}

void FuseServer::interrupt() noexcept {
  struct sigaction wake{};
  wake.sa_handler = [](int) {};
  ::sigaction(kWakeSignal, &wake, nullptr);
  leaving_ = true;
  // A signal just before a read() is lost, so it is sent until all have gone.
  while (running_ > 0) {
    {
      const std::lock_guard lock(threads_mutex_);
      for (const pthread_t thread : threads_) ::pthread_kill(thread, kWakeSignal);
    }
    servers_.stop().wait_for(std::chrono::milliseconds(2));
  }
}

int FuseServer::flush() noexcept {
  const std::lock_guard lock(flush_mutex_);
  if (!unflushed_.exchange(false)) return 0;
  try {
    backend_.flush();
    return 0;
  } catch (...) {
    unflushed_ = true;  // the next flush must not claim what this one could not do
    return errno_of_current_exception();
  }
}

DeviceCounters FuseServer::counters() const {
  return {reads_, read_bytes_, writes_, written_bytes_, waiting_, lost_bytes_, progress_};
}

}  // namespace r3

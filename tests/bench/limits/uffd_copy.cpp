// SPDX-License-Identifier: Apache-2.0
// The least that answering page faults can be: a child process registers memory and touches it, this
// one polls, reads the faults and copies from memory, with nothing around it. Prints one line of JSON.
//
//   uffd_copy sequential|random SIZE CHUNK [huge] [fill]
//
// `fill`: a second thread copies everything in pieces of 2 MiB meanwhile.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/device/uffd.hpp"

namespace {

using namespace r3;
using Clock = std::chrono::steady_clock;

struct Job {
  bool random, huge, fill;
  std::uint64_t size, chunk;
  std::uint64_t page() const { return huge ? 2 * MiB : 4 * KiB; }
};

std::byte* map(const Job& job, bool huge) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (huge ? MAP_HUGETLB | (21 << MAP_HUGE_SHIFT) : 0);
  void* address = ::mmap(nullptr, job.size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (address == MAP_FAILED) fail(errno, "mmap");
  return static_cast<std::byte*>(address);
}

// The application: touches each page once, and says how long each took.
void touch(const Job& job, int socket) {
  auto opened = open_uffd(0);
  std::byte* memory = map(job, job.huge);
  uffdio_register request{{reinterpret_cast<std::uint64_t>(memory), job.size}, UFFDIO_REGISTER_MODE_MISSING, 0};
  check(::ioctl(opened.descriptor.get(), UFFDIO_REGISTER, &request), "register");
  send_with_fds(socket, std::as_bytes(std::span(&memory, 1)), {opened.descriptor.get()});
  std::byte ready;
  read_full(socket, {&ready, 1});

  std::vector<std::uint64_t> order(job.size / 4096);
  std::iota(order.begin(), order.end(), 0u);
  if (job.random) std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  std::vector<double> each(order.size());
  const auto begun = Clock::now();
  auto last = begun;
  for (std::size_t i = 0; i < order.size(); ++i) {
    [[maybe_unused]] const auto byte = *static_cast<volatile std::byte*>(memory + order[i] * 4096);
    const auto now = Clock::now();
    each[i] = std::chrono::duration<double, std::micro>(now - last).count();
    last = now;
  }
  const double all = std::chrono::duration<double>(last - begun).count();
  std::sort(each.begin(), each.end());
  std::printf("{\"bytes_per_second\":%.0f,\"p50_us\":%.2f,\"p99_us\":%.2f}\n", static_cast<double>(job.size) / all,
              each[each.size() / 2], each[each.size() * 99 / 100]);
  std::fflush(stdout);
}

void copy(int uffd, std::uint64_t to, const std::byte* from, std::uint64_t length, std::uint64_t page) {
  for (std::uint64_t done = 0; done < length;) {
    uffdio_copy request{to + done, reinterpret_cast<std::uint64_t>(from) + done, length - done, 0, 0};
    ::ioctl(uffd, UFFDIO_COPY, &request);
    if (request.copy > 0) done += static_cast<std::uint64_t>(request.copy);
    else if (request.copy == -EEXIST) done += page;
    else if (request.copy != -EAGAIN) return;
  }
}

void answer(const Job& job, int uffd, std::uint64_t memory, const std::byte* source, int ended) {
  pollfd watched[] = {{uffd, POLLIN, 0}, {ended, POLLIN, 0}};
  while (::poll(watched, 2, -1) > 0 && watched[1].revents == 0) {
    uffd_msg message;
    if (::read(uffd, &message, sizeof message) != sizeof message) continue;
    const auto at = round_down(message.arg.pagefault.address - memory, job.chunk);
    copy(uffd, memory + at, source + at, std::min(job.chunk, job.size - at), job.page());
    uffdio_range range{round_down(message.arg.pagefault.address, job.page()), job.page()};
    if (job.chunk != job.page()) ::ioctl(uffd, UFFDIO_WAKE, &range);
  }
}

int serve(const Job& job) {
  std::byte* source = map(job, false);
  std::memset(source, 1, job.size);
  auto sockets = make_socket_pair();
  const pid_t child = ::fork();
  if (child == 0) {
    touch(job, sockets.theirs.get());
    ::_exit(0);
  }
  const Fd ended(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  std::uint64_t memory = 0;
  std::vector<Fd> fds;
  receive_with_fds(sockets.ours.get(), std::as_writable_bytes(std::span(&memory, 1)), fds);
  if (fds.empty()) throw std::runtime_error("no userfaultfd came");
  write_full(sockets.ours.get(), as_bytes("x"));
  std::thread filler;
  if (job.fill)
    filler = std::thread([&] {
      for (std::uint64_t at = 0; at < job.size; at += 2 * MiB)
        copy(fds[0].get(), memory + at, source + at, std::min(2 * MiB, job.size - at), job.page());
    });
  answer(job, fds[0].get(), memory, source, ended.get());
  if (filler.joinable()) filler.join();
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) throw std::invalid_argument("usage: uffd_copy sequential|random SIZE CHUNK [huge] [fill]");
  Job job{std::string(argv[1]) == "random", false, false, parse_size(argv[2]), parse_size(argv[3])};
  for (int i = 4; i < argc; ++i) (std::string(argv[i]) == "huge" ? job.huge : job.fill) = true;
  return serve(job);
} catch (const std::exception& error) {
  std::fprintf(stderr, "uffd_copy: %s\n", error.what());
  return 1;
}

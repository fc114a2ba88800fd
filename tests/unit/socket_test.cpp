// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libcommon/base/error.hpp"

namespace {

using namespace std::chrono_literals;
using r3::Address;
using r3::Channel;
using r3::Fd;
using r3::Listener;
using r3::Stop;
using r3::connect_to;
using r3::parse_address;

class Socket : public testing::Test {
 protected:
  Socket() {
    char name[] = "/tmp/socket_test.XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~Socket() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/s"; }
  Address address() const { return parse_address("unix:" + path()); }
  Channel dial(const Address& to) { return connect_to(to, 5s, stop_); }

  std::string directory_;
  Stop stop_;
};

// What connects at one end comes out at the other.
void expect_connected(const Channel& client, const Fd& server) {
  r3::write_full(client.output(), r3::as_bytes("ping"));
  std::byte got[4];
  ASSERT_EQ(r3::read_full(server.get(), got), 4U);
  EXPECT_EQ(r3::as_text(got), "ping");
}

std::error_code code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

int error_of(const std::function<void()>& action) {
  return code_of(action).value();
}

std::string output_of(const std::string& command) {
  const Channel channel = r3::start_command(command);
  std::string text(4096, '\0');
  const auto bytes = std::as_writable_bytes(std::span(text));
  text.resize(r3::read_full(channel.input(), bytes));
  return text;
}

TEST_F(Socket, ConnectsOverUnixAndTcp) {
  for (const Address& where :
       {address(), parse_address("tcp://127.0.0.1:0"),
        parse_address("unix:@socket_test." + std::to_string(::getpid()))}) {
    Listener listener(where);
    const Channel client = dial(listener.address());
    const Fd server = listener.accept(stop_);
    ASSERT_TRUE(server.valid());
    expect_connected(client, server);
    EXPECT_EQ(::fcntl(server.get(), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(::fcntl(client.input(), F_GETFD), FD_CLOEXEC);
  }
}

TEST_F(Socket, TcpDoesNotWaitForMoreToSend) {
  Listener listener(parse_address("tcp://127.0.0.1:0"));
  const Channel client = dial(listener.address());
  const Fd server = listener.accept(stop_);
  for (const int fd : {client.input(), server.get()}) {
    int on = 0;
    socklen_t size = sizeof on;
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    EXPECT_NE(on, 0);
  }
}

TEST_F(Socket, TellsTheBoundPort) {
  const Listener listener(parse_address("tcp://127.0.0.1:0"));
  EXPECT_NE(listener.address().port, 0);
  EXPECT_EQ(listener.address().host, "127.0.0.1");
}

TEST_F(Socket, SocketFileIsPrivateAndRemoved) {
  {
    const auto mask = ::umask(0);
    const Listener listener(address());
    ::umask(mask);
    struct stat made;
    ASSERT_EQ(::stat(path().c_str(), &made), 0);
    EXPECT_EQ(made.st_mode & 0777U, 0600U);
  }
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(Socket, LeavesASocketFileThatIsNotItsOwn) {
  {
    const Listener first(address());
    std::filesystem::remove(path());
    std::ofstream(path()) << "mine";
  }
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(Socket, ReplacesOnlyAStaleSocket) {
  {
    Listener dead(address());
    std::filesystem::rename(path(), path() + "2");  // so that its end does not remove it
  }
  std::filesystem::rename(path() + "2", path());
  Listener alive(address());
  EXPECT_EQ(error_of([&] { Listener{address()}; }), EADDRINUSE);
  const Channel client = dial(address());
  EXPECT_TRUE(client.valid());
}

TEST_F(Socket, NeverReplacesAFile) {
  std::ofstream(path()) << "precious";
  EXPECT_EQ(error_of([&] { Listener{address()}; }), EEXIST);
  EXPECT_EQ(std::filesystem::file_size(path()), 8U);
}

TEST_F(Socket, NothingListensOnACommand) {
  EXPECT_THROW(Listener{parse_address("exec:cat")}, std::invalid_argument);
  EXPECT_THROW(Listener{parse_address("-")}, std::invalid_argument);
}

TEST_F(Socket, AcceptEndsWhenStopped) {
  Listener listener(address());
  std::thread stopper([&] { stop_.request(); });
  EXPECT_FALSE(listener.accept(stop_).valid());
  stopper.join();
}

TEST_F(Socket, AcceptWaitsOutALackOfDescriptors) {
  Listener listener(address());
  const Channel client = dial(address());
  Stop stop, scarce;
  int said[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  const Fd reader(said[0]), usual = r3::duplicate(STDERR_FILENO);
  ASSERT_GE(::dup2(Fd(said[1]).get(), STDERR_FILENO), 0);
  std::thread accepting([&] {
    scarce.wait();
    const Fd server = listener.accept(stop);
    EXPECT_TRUE(server.valid());
  });
  // A thread is not started in the time of need: a sanitizer wants descriptors for that.
  rlimit before;
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(r3::duplicate(listener.fd()).get());  // the lowest that is free
  ::setrlimit(RLIMIT_NOFILE, &none);
  scarce.request();
  std::array<char, 512> text{};
  pollfd told{reader.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&told, 1, 60'000), 1);
  EXPECT_GT(::read(reader.get(), text.data(), text.size() - 1), 0);
  ::setrlimit(RLIMIT_NOFILE, &before);
  ::dup2(usual.get(), STDERR_FILENO);
  accepting.join();
  EXPECT_NE(std::string(text.data()).find("have to wait"), std::string::npos);
}

TEST_F(Socket, RefusedConnectionsNameTheAddress) {
  try {
    dial(address());
    ADD_FAILURE();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
    EXPECT_NE(std::string(error.what()).find(path()), std::string::npos);
  }
  Address closed;
  {
    const Listener listener(parse_address("tcp://127.0.0.1:0"));
    closed = listener.address();
  }
  EXPECT_EQ(error_of([&] { dial(closed); }), ECONNREFUSED);
}

TEST_F(Socket, ConnectingToAFullListenerTimesOutAndCanBeStopped) {
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::copy_n(path().c_str(), path().size(), name.sun_path);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  const Channel fills_the_queue = dial(address());
  EXPECT_EQ(error_of([&] { connect_to(address(), 30ms, stop_); }), ETIMEDOUT);
  stop_.request();
  EXPECT_EQ(error_of([&] { connect_to(address(), 60s, stop_); }), ECANCELED);
}

TEST_F(Socket, TakesOverAConnectedDescriptor) {
  r3::SocketPair pair = r3::make_socket_pair();
  const int number = pair.theirs.release();
  {
    const Channel channel = dial({.kind = Address::Kind::fd, .fd = number});
    expect_connected(channel, pair.ours);
  }
  // Nothing keeps the stream open behind the channel's back, and its number is not somebody else's.
  std::byte more[1];
  EXPECT_EQ(r3::read_full(pair.ours.get(), more), 0U);
  EXPECT_EQ(error_of([&] { dial({.kind = Address::Kind::fd, .fd = number}); }), ENOTSOCK);
  ::close(number);
  EXPECT_EQ(error_of([&] { dial({.kind = Address::Kind::fd, .fd = number}); }), EBADF);
}

TEST_F(Socket, ListensOnAListeningDescriptorOnly) {
  r3::SocketPair pair = r3::make_socket_pair();
  EXPECT_EQ(error_of([&] { Listener({.kind = Address::Kind::fd, .fd = pair.ours.get()}); }), EINVAL);
  EXPECT_EQ(error_of([&] { Listener({.kind = Address::Kind::fd, .fd = 999}); }), EBADF);
  const Listener original(address());
  Listener inherited({.kind = Address::Kind::fd, .fd = r3::duplicate(original.fd()).release()});
  EXPECT_EQ(inherited.address(), address());
  const Channel client = dial(address());
  expect_connected(client, inherited.accept(stop_));
}

// Runs `body` in a child whose descriptor 3 is `fd`, as a service manager would start it.
int activated(int fd, const char* count, const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (fd >= 0) {
      ::dup2(fd, 3);
    } else {
      ::close(3);
    }
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", count, 1);
    bool good = false;
    try {
      good = body();
    } catch (const std::invalid_argument&) {
      ::_exit(2);
    } catch (const std::exception&) {
      ::_exit(3);
    }
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(Socket, TakesActivatedSockets) {
  const Listener listener(address());
  const auto takes = [&] {
    const auto found = Listener::from_environment();
    return found.size() == 1 && found[0].fd() == 3 && found[0].address() == address() &&
           ::fcntl(3, F_GETFD) == FD_CLOEXEC && !::getenv("LISTEN_FDS") && !::getenv("LISTEN_PID");
  };
  EXPECT_EQ(activated(listener.fd(), "1", takes), 0);
  const auto asks = [] { return Listener::from_environment().empty(); };
  EXPECT_EQ(activated(listener.fd(), "17", asks), 2);
  EXPECT_EQ(activated(listener.fd(), "x", asks), 2);
  EXPECT_EQ(activated(-1, "1", asks), 3);
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "1", 1);
  EXPECT_TRUE(Listener::from_environment().empty());
  EXPECT_EQ(::getenv("LISTEN_FDS"), nullptr);
}

TEST_F(Socket, ACommandIsAChannel) {
  const Channel channel = dial(parse_address("exec:cat"));
  r3::write_full(channel.output(), r3::as_bytes("echo"));
  std::byte got[4];
  ASSERT_EQ(r3::read_full(channel.input(), got), 4U);
  EXPECT_EQ(r3::as_text(got), "echo");
}

TEST_F(Socket, ACommandInheritsNothing) {
  const Fd leak(::open("/dev/null", O_RDONLY));  // not close-on-exec
  EXPECT_EQ(output_of("echo /proc/self/fd/*"), "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 "
                                               "/proc/self/fd/3\n");  // 3: the shell reads the directory
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  const auto old = ::signal(SIGPIPE, SIG_IGN);
  const auto text = output_of("grep -E '^Sig(Blk|Ign)' /proc/self/status");
  ::signal(SIGPIPE, old);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_NE(text.find("SigBlk:\t0000000000000000"), std::string::npos) << text;
  const auto ignored = text.substr(text.find("SigIgn:\t") + 8, 16);
  EXPECT_EQ(std::stoull(ignored, nullptr, 16) >> (SIGPIPE - 1) & 1, 0U) << text;
}

TEST_F(Socket, TellsWhyACommandEnded) {
  EXPECT_EQ(r3::start_command("exit 7").why_ended(), "the command ended with status 7");
  EXPECT_EQ(r3::start_command("kill -9 $$").why_ended(), "the command was ended by signal 9");
  EXPECT_EQ(r3::start_command("cat").why_ended(), "");
}

TEST_F(Socket, NoCommandIsLeftBehind) {
  { const Channel stubborn = r3::start_command("trap '' TERM HUP; exec cat >/dev/null"); }
  { Channel moved = r3::start_command("cat"); moved = r3::start_command("cat"); }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(Socket, UnknownHostsGetTheResolversWords) {
  const auto code = code_of([&] { dial(parse_address("tcp://no-such-host.invalid:1")); });
  EXPECT_STREQ(code.category().name(), "resolver");
  EXPECT_FALSE(code.message().empty());
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
// What r3-load does, over gRPC: one thread keeps DEPTH ReadAt calls in flight (asynchronous client) to a server
// with memory in the same process (callback server), so that the CPU time of both ends is one figure. Prints
// one line of JSON.
//
//   grpc-load unix|tcp BLOCK DEPTH SECONDS
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "read_at.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;
using r3::bench::Backend;
using r3::bench::ReadAtArgs;
using r3::bench::ReadAtReply;

constexpr std::size_t kRegion = 256u << 20;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class Memory final : public Backend::CallbackService {
 public:
  Memory() : bytes_(kRegion) {
    std::mt19937_64 random(1);
    for (std::size_t at = 0; at < kRegion; at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(bytes_.data() + at, &word, sizeof word);
    }
  }
  grpc::ServerUnaryReactor* ReadAt(grpc::CallbackServerContext* context, const ReadAtArgs* args,
                                   ReadAtReply* reply) override {
    reply->set_n(args->length());
    reply->set_p(bytes_.data() + args->off(), static_cast<std::size_t>(args->length()));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  std::vector<char> bytes_;
};

struct Call {
  std::unique_ptr<grpc::ClientContext> context;
  ReadAtReply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<ReadAtReply>> reader;
};

class Load {
 public:
  Load(Backend::Stub& stub, std::size_t block, std::size_t depth)
      : stub_(stub), block_(block), calls_(depth), into_(block) {}

  // Returns how many reads were answered.
  std::uint64_t run(Clock::time_point end) {
    for (auto& call : calls_) start(call);
    std::uint64_t done = 0;
    for (std::size_t open = calls_.size(); open > 0;) {
      void* tag = nullptr;
      bool ok = false;
      if (!queue_.Next(&tag, &ok)) break;
      Call& call = *static_cast<Call*>(tag);
      if (!ok || !call.status.ok() || call.reply.p().size() != block_) std::abort();
      std::memcpy(into_.data(), call.reply.p().data(), block_);
      ++done;
      if (Clock::now() < end) start(call);
      else --open;
    }
    return done;
  }

 private:
  void start(Call& call) {
    call.context = std::make_unique<grpc::ClientContext>();
    ReadAtArgs args;
    args.set_length(static_cast<std::int32_t>(block_));
    args.set_off(static_cast<std::int64_t>(number_++ * 7919 * block_ % (kRegion - block_) / block_ * block_));
    call.reader = stub_.AsyncReadAt(call.context.get(), args, &queue_);
    call.reader->Finish(&call.reply, &call.status, &call);
  }

  Backend::Stub& stub_;
  const std::size_t block_;
  std::vector<Call> calls_;
  std::vector<char> into_;
  std::uint64_t number_ = 0;
  grpc::CompletionQueue queue_;
};

std::size_t size_of(const std::string& text) {
  const std::size_t unit = text.back() == 'M' ? 1u << 20 : text.back() == 'K' ? 1u << 10 : 1;
  return std::stoul(text) * unit;
}

int run_load(const std::vector<std::string>& args) {
  Memory memory;
  grpc::ServerBuilder builder;
  int port = 0;
  const std::string address = args[0] == "tcp" ? "127.0.0.1:0" : "unix-abstract:r3-grpc-load";
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&memory);
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  grpc::ChannelArguments options;
  options.SetMaxReceiveMessageSize(-1);
  const auto channel = grpc::CreateCustomChannel(
      args[0] == "tcp" ? "127.0.0.1:" + std::to_string(port) : address,
      grpc::InsecureChannelCredentials(), options);
  const auto stub = Backend::NewStub(channel);
  const std::size_t block = size_of(args[1]);
  Load(*stub, block, 1).run(Clock::now());  // connects
  Load load(*stub, block, std::stoul(args[2]));
  const double before = cpu_seconds();
  const auto start = Clock::now();
  const auto done = static_cast<double>(
      load.run(start + std::chrono::duration_cast<Clock::duration>(
                           std::chrono::duration<double>(std::stod(args[3])))));
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("{\"ops\":%g,\"mb\":%g,\"cpu_us\":%g}\n", done / took,
              done / took * static_cast<double>(block) * 1e-6, (cpu_seconds() - before) / done * 1e6);
  server->Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: grpc-load unix|tcp BLOCK DEPTH SECONDS\n", stderr);
    return 2;
  }
  return run_load({argv + 1, argv + argc});
}

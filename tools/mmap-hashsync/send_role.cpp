// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/roles.hpp"

namespace r3::sync {

namespace {

constexpr std::string_view kLocal = "recv:";

SendOptions with_commands(Tool& tool, const Options& options, Service& service) {
  SendOptions send = options.send;
  if (!options.pre_command.empty()) send.before = [&] { run_hook(options.pre_command, {}, service.cut()); };
  if (!options.post_command.empty()) send.after = [&] { run_hook(options.post_command, {}, service.cut()); };
  send.on_epoch = [&](std::uint64_t epoch, std::uint64_t chunks) {
    service.ready();
    tool.events().send(Json().add("event", "epoch").add("epoch", epoch).add("chunks", chunks));
  };
  return send;
}

// Whether there may be more destinations whose hashes have the same secret, which is this side's.
bool several(const Options& options, const Peer& peer) {
  return !options.listen.empty() && peer.theirs.role == Role::receive;
}

bool is_directory(const std::string& path) {
  struct stat found;
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

void refuse_itself(const std::vector<SourceSpec>& sources, const std::string& target) {
  struct stat theirs, ours;
  for (const SourceSpec& source : sources) {
    const std::string path = is_directory(target) ? target + "/" + source.name : target;
    if (::stat(path.c_str(), &theirs) == 0 && ::stat(source.path.c_str(), &ours) == 0 &&
        theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
      throw std::invalid_argument(source.path + " and " + path + " are the same file");
  }
}

// Both ends in this process. A FILE2 that is a directory takes any number of files.
void send_locally(Tool& tool, const Options& options, Service& service, const std::string& target,
                  const Service::Talk& talk, std::size_t files) {
  DestinationOptions into = with_hooks(tool, options, service);
  const bool directory = is_directory(target);
  if (!directory && files > 1) throw std::invalid_argument(target + " is no directory: one FILE is accepted");
  if (!directory) into.only_name = leaf_of(target);
  const bool at_top = target.rfind('/') == 0;
  const std::string where = directory ? target : at_top ? "/" : parent_name_of(target);
  Destination destination(where, std::move(into));
  SocketPair pair = make_socket_pair();
  Service receiving(tool, options, Role::receive);
  TaskGroup threads;
  threads.spawn([&] {
    try {
      receiving.talk_over(Connection::accept(Channel(std::move(pair.theirs)), {}, service.cut()),
                          [&](Peer& peer) { receive_from(peer, destination, receiving); });
    } catch (const std::exception& error) {
      log_debug(error.what());  // the source has been told
    }
  });
  service.talk_over(Connection::accept(Channel(std::move(pair.ours)), {}, service.cut()), talk);
  threads.join();
}

}  // namespace

void run_send(Tool& tool, const Options& options, Service& service) {
  const auto sources = sources_of(options);
  const SendOptions send = with_commands(tool, options, service);
  SharedLooks looks;
  const Service::Talk talk = [&](Peer& peer) {
    std::vector<SourceSpec> allowed;
    for (const SourceSpec& source : sources)
      if (peer.connection.may(source.name, false)) allowed.push_back(source);
    SendSession session(peer.link, peer.connection.input(), peer.hasher, allowed, send, service.report(),
                        several(options, peer) ? &looks : nullptr);
    session.run(service.stop());
  };
  const auto address = address_of(options);
  for (const SourceSpec& source : sources) SourceFile(source, send.chunk, Detect::hash, 0, true);  // are they there
  if (address && address->starts_with(kLocal)) {
    const std::string target = address->substr(kLocal.size());
    if (target.empty()) throw std::invalid_argument("recv: needs a file or a directory, as in recv:FILE2");
    refuse_itself(sources, target);
    return send_locally(tool, options, service, target, talk, sources.size());
  }
  service.run(talk);
}

}  // namespace r3::sync

// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <stdexcept>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/keys.hpp"
#include "tools/r3-key/secret_file.hpp"

namespace {

using r3::KeyKind;
using r3::SecretKey;

constexpr r3::About kAbout = {
    "r3-key", "Make and show the keys of encrypted connections",
    "r3-key gen -o node.key      # a private key; shows its public key\n"
    "r3-key pub node.key         # shows the public key again\n"
    "r3-key psk -o lab.psk       # a key that both sides share\n"};

struct Options {
  std::string command;
  std::string input;
  std::string output;
  bool force = false;
};

void declare(r3::Tool& tool, Options& options) {
  r3::OptionSet& set = tool.options();
  set.argument("COMMAND", options.command, "gen, pub or psk");
  set.argument("FILE", options.input, "pub: the file with the private key, - for stdin",
               r3::OptionSet::Need::optional);
  set.text("-o,--output", "FILE", options.output,
           "gen, psk: write to FILE; - is stdout, even a terminal");
  set.flag("-f,--force", options.force, "gen, psk: replace FILE");
}

void check_usage(const Options& options) {
  const bool makes = options.command == "gen" || options.command == "psk";
  if (!makes && options.command != "pub")
    throw std::invalid_argument("\"" + options.command + "\" is no command: gen, pub or psk");
  if (makes && !options.input.empty())
    throw std::invalid_argument(options.command + " reads no file: -o FILE writes one");
  if (!makes && (!options.output.empty() || options.force))
    throw std::invalid_argument("pub prints to stdout: -o and --force are for gen and psk");
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts;
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&now, &parts));
  return text;
}

// To the file, or to stdout: a terminal shows a secret only when it is asked for by name.
void put(const Options& options, const std::string& comment, std::string secret) {
  secret += '\n';
  if (options.output.empty() && ::isatty(STDOUT_FILENO))
    throw std::invalid_argument(
        "stdout is a terminal: -o FILE writes the secret to a file, -o - shows it here");
  if (options.output.empty() || options.output == "-")
    r3::write_full(STDOUT_FILENO, r3::as_bytes(comment + secret), "stdout");
  else
    r3::write_secret_file(options.output, comment + secret, options.force);
}

void generate(const Options& options) {
  const SecretKey key = SecretKey::generate();
  const std::string open = r3::to_text(key.public_key());
  put(options, "# created " + utc_now() + "\n# public key: " + open + "\n",
      r3::to_text(KeyKind::secret, key));
  std::fprintf(stderr, "public key: %s\n", open.c_str());
}

void show_public(const Options& options, const r3::Stop& stop) {
  const std::string path = options.input.empty() ? "-" : options.input;
  const std::string line =
      r3::to_text(r3::read_secret_key(KeyKind::secret, path, &stop).public_key()) + "\n";
  r3::write_full(STDOUT_FILENO, r3::as_bytes(line), "stdout");
}

int run_command(const Options& options, const r3::Stop& stop) {
  check_usage(options);
  r3::forbid_dumps();
  if (options.command == "gen") generate(options);
  if (options.command == "pub") show_public(options, stop);
  if (options.command == "psk")
    put(options, "# created " + utc_now() + "\n",
        r3::to_text(KeyKind::shared, SecretKey::generate()));
  return r3::kDone;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(
      argc, argv, kAbout, [&](r3::Tool& tool) { declare(tool, options); },
      [&](r3::Tool& tool) { return run_command(options, tool.stop()); });
}

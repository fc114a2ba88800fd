// SPDX-License-Identifier: Apache-2.0
// The command line as words: what is cut off before CLI11 sees it (--help, --version and --ask, which
// ignore the rest, and the command of --run), and what its errors are called in one plain line.
// Knows nothing of what the options mean.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}

namespace r3 {

struct Arguments {
  enum class Ask { run, help, version, print_options, control };
  Ask ask = Ask::run;
  std::vector<std::string> options;  // for the parser, in order; for Ask::control: WORD, ADDR
  std::vector<std::string> command;  // what follows --run
  bool has_command = false;
};

// `takes_command`: whether the tool has --run. Throws std::invalid_argument.
Arguments split_arguments(int argc, const char* const* argv, bool takes_command);

// One line that names the option, what was given and what is accepted.
std::string text_of(const CLI::ParseError& error, const CLI::App& app);

// "-l,--listen" is spoken of as "--listen".
std::string spoken_name(const std::string& names);

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
// What a tool says about itself, made from the definitions of its options, which are the one source:
// --help for people, --print-options for scripts/gen-completions and for the test that compares them
// with the man page.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace r3 {

// Both end without a newline.
//
// Examples first, within 79 columns. `examples` are lines of commands.
std::string help_text(const CLI::App& app, const std::string& examples);

// A line for each option and argument: names, separated by commas; what stands for the value (empty for
// a flag); the help. Separated by tabs.
std::string option_table(const CLI::App& app);

}  // namespace r3

// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/parse.hpp"

#include <CLI/CLI.hpp>
#include <map>
#include <stdexcept>

namespace r3 {

namespace {

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

// "The following argument was not expected: more", "... arguments were not expected: more words".
std::string text_of_extras(const std::string& what) {
  return "unexpected argument " + quoted(what.substr(what.find(": ") + 2));
}

// "Could not convert: --port = x" (CLI11 2.1) has the parts, but not the words.
std::string text_of_conversion(const std::string& what) {
  const std::string prefix = "Could not convert: ";
  const auto equals = what.find(" = ");
  if (!what.starts_with(prefix) || equals == what.npos) return what;
  return what.substr(prefix.size(), equals - prefix.size()) + ": " +
         quoted(what.substr(equals + 3)) + " is not a number that fits";
}

// "--listen: 1 required TEXT missing", "--size: At Most 1 required but received 2".
std::string text_of_mismatch(const std::string& what) {
  const std::string name = what.substr(0, what.find(": "));
  if (what.ends_with(" missing")) return name + " needs a value";
  if (what.find("At Most") != what.npos) return name + " is given more often than it may be";
  if (what.find("flag override") != what.npos) return what.substr(0, what.find(' ')) + " takes no value";
  return what;
}

// "--output=" is what a script makes of a variable that is not set; the parser would take the next word.
void refuse_empty_value(const std::string& word) {
  if (word.starts_with("--") && word.find('=') == word.size() - 1)
    throw std::invalid_argument(word.substr(0, word.size() - 1) + " needs a value after the =");
}

}  // namespace

Arguments split_arguments(int argc, const char* const* argv, bool takes_command) {
  const std::map<std::string, Arguments::Ask> questions = {
      {"-h", Arguments::Ask::help},
      {"--help", Arguments::Ask::help},
      {"-V", Arguments::Ask::version},
      {"--version", Arguments::Ask::version},
      {"--print-options", Arguments::Ask::print_options}};
  Arguments arguments;
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "--ask") {
    if (words.size() != 3)
      throw std::invalid_argument("--ask takes a word and an address: --ask status unix:PATH");
    return {Arguments::Ask::control, {words[1], words[2]}, {}, false};
  }
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      arguments.options.insert(arguments.options.end(), words.begin() + static_cast<long>(i),
                               words.end());
      break;
    }
    if (const auto found = questions.find(words[i]); found != questions.end()) {
      arguments.ask = found->second;
      break;
    }
    if (takes_command && words[i] == "--run") {
      arguments.has_command = true;
      arguments.command.assign(words.begin() + static_cast<long>(i) + 1, words.end());
      break;
    }
    refuse_empty_value(words[i]);
    arguments.options.push_back(words[i]);
  }
  if (arguments.has_command && arguments.command.empty())
    throw std::invalid_argument("--run needs a command");
  return arguments;
}

std::string text_of(const CLI::ParseError& error, const CLI::App& app) {
  const std::string what = error.what();
  // CLI11 says first what is missing; who has mistyped an option wants to hear of that.
  for (const std::string& word : app.remaining())
    if (is_option(word)) return "unknown option \"" + word + "\"";
  if (dynamic_cast<const CLI::ExtrasError*>(&error)) return text_of_extras(what);
  if (dynamic_cast<const CLI::ConversionError*>(&error)) return text_of_conversion(what);
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error)) return text_of_mismatch(what);
  return what.substr(0, what.find('\n'));
}

std::string spoken_name(const std::string& names) {
  return names.substr(names.rfind(',') + 1);
}

}  // namespace r3

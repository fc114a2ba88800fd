// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/parse.hpp"

namespace r3 {

namespace {

template <typename Number>
Number number_between(const std::string& text, Number least, Number most) {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc{} && stop == end && number >= least && number <= most) return number;
  throw std::invalid_argument("\"" + text + "\" is not a number from " + std::to_string(least) +
                              " to " + std::to_string(most));
}

// A word without letters is a variable that was not set: it names no file and no address, and must not stand for
// "none" where a key was meant.
CLI::Validator not_empty(const std::string& what) {
  return CLI::Validator([what](std::string& given) { return given.empty() ? what + " is empty" : std::string(); }, "");
}

}  // namespace

OptionSet::OptionSet(const std::string& tool, const std::string& purpose)
    : app_(std::make_unique<CLI::App>(purpose, tool)) {
  app_->set_help_flag();  // split_arguments() sees to it
}

OptionSet::~OptionSet() = default;

void OptionSet::argument(const std::string& name, std::string& value, const std::string& help,
                         Need need) {
  app_->add_option(name, value, help)->required(need == Need::required)->check(not_empty("the argument"));
}

void OptionSet::argument(const std::string& name, std::vector<std::string>& values,
                         const std::string& help, Need need) {
  app_->add_option(name, values, help)->required(need == Need::required)->check(not_empty("an argument"));
}

void OptionSet::flag(const std::string& names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help);
}

void OptionSet::verbosity(bool& verbose, bool& quiet) {
  auto* more = app_->add_flag("-v,--verbose", verbose, "say more on stderr");
  more->multi_option_policy(CLI::MultiOptionPolicy::Throw);  // there is no more than more
  app_->add_flag("-q,--quiet", quiet, "no warnings, hints or progress")->excludes(more);
}

void OptionSet::text(const std::string& names, const std::string& type, std::string& value,
                     const std::string& help, Need need) {
  auto* option = app_->add_option(names, value, help)->type_name(type)->required(need == Need::required);
  if (type != "TEXT") option->check(not_empty(type));
}

void OptionSet::texts(const std::string& names, const std::string& type,
                      std::vector<std::string>& values, const std::string& help) {
  app_->add_option(names, values, help)->type_name(type)->allow_extra_args(false)->check(not_empty(type));
}

void OptionSet::size(const std::string& names, std::uint64_t& value, const std::string& help) {
  parsed(names, "SIZE", help, [&value](const std::string& text) { value = parse_size(text); });
}

void OptionSet::duration(const std::string& names, std::chrono::milliseconds& value,
                         const std::string& help) {
  parsed(names, "TIME", help, [&value](const std::string& text) { value = parse_duration(text); });
}

void OptionSet::number(const std::string& names, unsigned& value, unsigned least, unsigned most,
                       const std::string& help) {
  parsed(names, "N", help, [&value, least, most](const std::string& text) {
    value = number_between(text, least, most);
  });
}

void OptionSet::number(const std::string& names, std::uint64_t& value, std::uint64_t least,
                       std::uint64_t most, const std::string& help) {
  parsed(names, "N", help, [&value, least, most](const std::string& text) {
    value = number_between(text, least, most);
  });
}

void OptionSet::parsed(const std::string& names, const std::string& type, const std::string& help,
                       std::function<void(const std::string&)> take) {
  auto named = [name = spoken_name(names), take = std::move(take)](const std::string& text) {
    try {
      take(text);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": " + error.what());
    }
  };
  app_->add_option_function<std::string>(names, named, help)->type_name(type);
}

void OptionSet::group(const std::string& title) {
  app_->option_defaults()->group(title);
}

void OptionSet::parse(const std::vector<std::string>& words) {
  app_->parse(std::vector<std::string>(words.rbegin(), words.rend()));
}

bool OptionSet::given(const std::string& name) const {
  const CLI::Option* option = app_->get_option_no_throw(name);
  return option != nullptr && option->count() > 0;
}

}  // namespace r3

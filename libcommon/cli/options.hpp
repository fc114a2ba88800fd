// SPDX-License-Identifier: Apache-2.0
// The options and arguments of a tool, as it declares them: the names ("-l,--listen"), what stands for the
// value in the help ("ADDR"), where the value goes, one line of help. Refuses to know what they mean.
// Hides the parser, CLI11, whose header costs a compiler many seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace r3 {

// Every value has to live until the command line has been parsed; it is left alone if nothing is given.
class OptionSet {
 public:
  enum class Need { optional, required };

  OptionSet(const std::string& tool, const std::string& purpose);
  ~OptionSet();
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  // What is not led by a name: one word, or all that are left.
  void argument(const std::string& name, std::string& value, const std::string& help,
                Need need = Need::required);
  void argument(const std::string& name, std::vector<std::string>& values, const std::string& help,
                Need need = Need::required);

  void flag(const std::string& names, bool& value, const std::string& help);
  // -v and -q, of which only one may be given, once.
  void verbosity(bool& verbose, bool& quiet);
  // Not empty, but for the type TEXT.
  void text(const std::string& names, const std::string& type, std::string& value,
            const std::string& help, Need need = Need::optional);
  // May be given several times, with one value each time.
  void texts(const std::string& names, const std::string& type, std::vector<std::string>& values,
             const std::string& help);
  void size(const std::string& names, std::uint64_t& value, const std::string& help);
  void duration(const std::string& names, std::chrono::milliseconds& value, const std::string& help);
  // A whole number from `least` to `most`.
  void number(const std::string& names, unsigned& value, unsigned least, unsigned most,
              const std::string& help);
  void number(const std::string& names, std::uint64_t& value, std::uint64_t least, std::uint64_t most,
              const std::string& help);
  // `take` gets the text; the std::invalid_argument that it throws is told with the option's name.
  void parsed(const std::string& names, const std::string& type, const std::string& help,
              std::function<void(const std::string&)> take);

  // What is declared from here on stands under this title in the help ("Options" at first).
  void group(const std::string& title);

  // For run(): the words in order. Throws what the parser throws (text_of() in parse.hpp has the line).
  void parse(const std::vector<std::string>& words);
  bool given(const std::string& name) const;  // after parse()
  CLI::App& parser() { return *app_; }

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace r3

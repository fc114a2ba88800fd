// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/help.hpp"

#include <CLI/CLI.hpp>
#include <sstream>

namespace r3 {

namespace {

constexpr std::size_t kWidth = 79;
constexpr std::size_t kIndent = 26;  // where the help of an option begins

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}

// CLI11's type names say what C++ parses ("UINT:INT in [1 - 9]"); people want to know what to write.
std::string metavar(const CLI::Option& option) {
  if (is_flag(option)) return "";
  const std::string type = option.get_type_name();
  const auto colon = type.find(':');
  if (colon != type.npos && type[colon + 1] == '{') return type.substr(colon + 1);
  if (type.find('[') < colon) return type;  // USER[:GROUP]
  const std::string name = type.substr(0, colon);
  return name == "UINT" || name == "INT" || name == "FLOAT" ? "N" : name;
}

std::string names_of(const CLI::Option& option, const std::string& separator) {
  std::string all;
  for (const auto& name : option.get_snames()) all += (all.empty() ? "-" : separator + "-") + name;
  for (const auto& name : option.get_lnames()) all += (all.empty() ? "--" : separator + "--") + name;
  return all.empty() ? option.get_name(true) : all;
}

bool is_argument(const CLI::Option& option) {
  return option.get_snames().empty() && option.get_lnames().empty();
}

// `text` in lines that begin at kIndent; the first follows `left`.
std::string entry(std::string left, const std::string& text) {
  std::string out = "  " + left;
  if (out.size() + 2 > kIndent) out += "\n" + std::string(kIndent - 2, ' ');
  std::size_t column = out.size() - (out.rfind('\n') + 1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column < kIndent) {
      out += std::string(kIndent - column, ' ') + word;
      column = kIndent + word.size();
    } else if (column + 1 + word.size() > kWidth) {
      out += "\n" + std::string(kIndent, ' ') + word;
      column = kIndent + word.size();
    } else {
      out += " " + word;
      column += 1 + word.size();
    }
  }
  return out + "\n";
}

std::string usage_line(const CLI::App& app) {
  std::string line = "Usage: " + app.get_name() + " [OPTION]...";
  for (const CLI::Option* option : app.get_options()) {
    if (!is_argument(*option) || option->get_group().empty()) continue;
    std::string name = option->get_name(true);
    if (option->get_items_expected_max() > 1 && !name.ends_with("...")) name += "...";
    line += option->get_required() ? " " + name : " [" + name + "]";
  }
  return line + "\n";
}

std::string section(const CLI::App& app, const std::string& title, const std::string& group,
                    bool arguments) {
  std::string out;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group() != group || is_argument(*option) != arguments) continue;
    std::string left = names_of(*option, ", ");
    if (!arguments && !is_flag(*option)) left += " " + metavar(*option);
    if (!arguments && option->get_snames().empty()) left.insert(0, 4, ' ');
    out += entry(left, option->get_description());
  }
  return out.empty() ? "" : "\n" + title + ":\n" + out;
}

std::string indented(const std::string& lines) {
  std::string out;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) out += line.empty() ? "\n" : "  " + line + "\n";
  return out;
}

}  // namespace

std::string help_text(const CLI::App& app, const std::string& examples) {
  std::string out = app.get_name() + ": " + app.get_description() + "\n\nExamples:\n" +
                    indented(examples) + "\n" + usage_line(app);
  out += section(app, "Arguments", "Options", true);
  // Groups in the order in which their first option was declared, the common one last.
  std::vector<std::string> groups;
  for (const auto& group : app.get_groups())
    if (!group.empty() && group != "Common options") groups.push_back(group);
  for (const auto& group : groups) out += section(app, group, group, false);
  out += section(app, "Common options", "Common options", false);
  return out + "\nSee " + app.get_name() + "(1) and r3tools(7).";
}

std::string option_table(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    std::string help = option->get_description();
    for (char& c : help)
      if (c == '\t' || c == '\n') c = ' ';
    out += names_of(*option, ",") + "\t" + (is_argument(*option) ? "" : metavar(*option)) + "\t" +
           help + "\n";
  }
  return out.substr(0, out.size() - 1);
}

}  // namespace r3

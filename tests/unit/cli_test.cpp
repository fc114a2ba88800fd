// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "libcommon/cli/help.hpp"
#include "libcommon/cli/parse.hpp"
#include "libcommon/cli/progress.hpp"
#include "libcommon/cli/tool.hpp"

namespace {

using r3::Arguments;

Arguments split(std::vector<const char*> words, bool takes_command = true) {
  words.insert(words.begin(), "tool");
  return r3::split_arguments(static_cast<int>(words.size()), words.data(), takes_command);
}

using Words = std::vector<std::string>;

TEST(Arguments, CutsOffTheCommandOfRun) {
  const auto arguments = split({"-v", "x", "--run", "ls", "-l", "--", "--help"});
  EXPECT_EQ(arguments.ask, Arguments::Ask::run);
  EXPECT_EQ(arguments.options, (Words{"-v", "x"}));
  EXPECT_EQ(arguments.command, (Words{"ls", "-l", "--", "--help"}));
  EXPECT_THROW(split({"--run"}), std::invalid_argument);
}

TEST(Arguments, LeavesRunToToolsThatHaveIt) {
  const auto arguments = split({"--run", "ls"}, false);
  EXPECT_EQ(arguments.options, (Words{"--run", "ls"}));
  EXPECT_FALSE(arguments.has_command);
}

TEST(Arguments, AfterTwoDashesNothingIsAnOption) {
  const auto arguments = split({"a", "--", "--run", "--help"});
  EXPECT_EQ(arguments.ask, Arguments::Ask::run);
  EXPECT_EQ(arguments.options, (Words{"a", "--", "--run", "--help"}));
}

TEST(Arguments, AnEmptyValueDoesNotTakeTheNextWord) {
  EXPECT_THROW(split({"--output=", "x"}), std::invalid_argument);
  EXPECT_EQ(split({"--output=a=", "--", "--output="}).options, (Words{"--output=a=", "--", "--output="}));
}

TEST(Arguments, HelpAndVersionIgnoreTheRest) {
  EXPECT_EQ(split({"--nope", "-h"}).ask, Arguments::Ask::help);
  EXPECT_EQ(split({"x", "--version", "--nope"}).ask, Arguments::Ask::version);
  EXPECT_EQ(split({"--print-options"}).ask, Arguments::Ask::print_options);
}

TEST(Arguments, AskTakesExactlyAWordAndAnAddress) {
  EXPECT_EQ(split({"--ask", "status", "unix:x"}).options, (Words{"status", "unix:x"}));
  EXPECT_THROW(split({"--ask", "status"}), std::invalid_argument);
  EXPECT_THROW(split({"--ask", "status", "unix:x", "more"}), std::invalid_argument);
}

class Help : public testing::Test {
 protected:
  Help() : app("a tool", "tool") {
    app.set_help_flag();
    app.add_option("REGION", text, "what to serve")->required();
    app.add_option("-l,--listen", text, "where to listen")->type_name("ADDR");
    app.add_option("--driver", text, "how")->check(CLI::IsMember({"fuse", "loop"}));
    app.add_option("--count", number, std::string(30, 'x') + " " + std::string(30, 'y'));
    app.add_option("--owner", text, "whose")->type_name("USER[:GROUP]");
    app.add_flag("--json", flag, "a\tflag");
    app.add_flag("--secret", flag, "hidden")->group("");
  }

  std::string refusal(Words words) {
    try {
      app.parse(Words(words.rbegin(), words.rend()));
    } catch (const CLI::ParseError& error) {
      return r3::text_of(error, app);
    }
    return "";
  }

  CLI::App app;
  std::string text;
  int number = 0;
  bool flag = false;
};

TEST_F(Help, BeginsWithTheExamplesAndStaysWithinTheWidth) {
  const std::string help = r3::help_text(app, "tool x\ntool y");
  EXPECT_TRUE(help.starts_with("tool: a tool\n\nExamples:\n  tool x\n  tool y\n\nUsage: "));
  EXPECT_NE(help.find("Usage: tool [OPTION]... REGION\n"), std::string::npos);
  EXPECT_EQ(help.find("secret"), std::string::npos);
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 79U) << line;
}

TEST_F(Help, TableNamesEveryOptionOnce) {
  EXPECT_EQ(r3::option_table(app),
            "REGION\t\twhat to serve\n-l,--listen\tADDR\twhere to listen\n--driver\t{fuse,loop}\thow\n"
            "--count\tN\txxxxxxxxxxxxxxxxxxxxxxxxxxxxxx yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n"
            "--owner\tUSER[:GROUP]\twhose\n--json\t\ta flag");
}

// The words of CLI11 differ between its releases; ours do not.
TEST_F(Help, ErrorsAreOnePlainLine) {
  EXPECT_EQ(refusal({}), "REGION is required");
  EXPECT_EQ(refusal({"x", "--nope"}), "unknown option \"--nope\"");
  EXPECT_EQ(refusal({"--nope"}), "unknown option \"--nope\"");
  EXPECT_EQ(refusal({"x", "more"}), "unexpected argument \"more\"");
  EXPECT_EQ(refusal({"x", "more", "--nope", "y"}), "unknown option \"--nope\"");
  EXPECT_EQ(refusal({"x", "--count", "y"}), "--count: \"y\" is not a number that fits");
  EXPECT_EQ(refusal({"x", "--listen"}), "--listen needs a value");
  EXPECT_EQ(refusal({"x", "-l", "a", "-l", "b"}), "--listen is given more often than it may be");
  EXPECT_EQ(refusal({"x", "--json=maybe"}).find('\n'), std::string::npos);
}

TEST(WideListeners, NeedTheUsersWord) {
  const auto wide = r3::parse_address("tcp://0.0.0.0:1");
  EXPECT_THROW(r3::require_local_or_plain(wide, false), std::invalid_argument);
  EXPECT_NO_THROW(r3::require_local_or_plain(wide, true));
  EXPECT_NO_THROW(r3::require_local_or_plain(r3::parse_address("tcp://127.0.0.1:1"), false));
  EXPECT_NO_THROW(r3::require_local_or_plain(r3::parse_address("unix:/x"), false));
}

TEST(ProgressLine, HasShareRateAndTimeLeft) {
  EXPECT_EQ(r3::progress_line("pull", 512 << 20, 1 << 30, 2, 79),
            "pull [###############...............]  50%  512.0 MiB  256.0 MiB/s  0:02");
}

TEST(ProgressLine, FitsAnyWidthAndAnyNumbers) {
  for (const std::size_t width : {0U, 1U, 10U, 40U, 60U, 200U})
    EXPECT_LE(r3::progress_line("pull", 7, 9, 0.5, width).size(), width);
  EXPECT_NE(r3::progress_line("pull", 0, 0, 0, 79).find("100%"), std::string::npos);
  EXPECT_NE(r3::progress_line("pull", 20, 10, 1, 79).find("100%"), std::string::npos);
  EXPECT_NE(r3::progress_line("pull", 1, ~0ULL, 1, 79).find("-:--"), std::string::npos);
  EXPECT_NE(r3::progress_line("pull", 1, 7322, 1, 79).find("2:02:01"), std::string::npos);
}

}  // namespace

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "control/cli/command_line.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

using Words = std::vector<std::string>;

Message message_of(const Words& words) {
  const auto parsed = parse(words);
  EXPECT_TRUE(std::holds_alternative<Message>(parsed));
  return std::holds_alternative<Message>(parsed) ? std::get<Message>(parsed) : Message{};
}

Parsed command_of(const Words& words) {
  auto parsed = parse(words);
  if (const auto* message = std::get_if<Message>(&parsed)) ADD_FAILURE() << message->text;
  return std::holds_alternative<Parsed>(parsed) ? std::get<Parsed>(std::move(parsed)) : Parsed{};
}

TEST(CommandLine, CommandsOfSeveralWordsAndGlobalOptionsAnywhere) {
  const auto parsed = command_of({"show", "--json", "nat", "rules", "--socket", "/tmp/s"});
  EXPECT_EQ(parsed.command->name, "show nat rules");
  EXPECT_TRUE(parsed.invocation.json);
  EXPECT_EQ(parsed.invocation.socket, "/tmp/s");
  EXPECT_EQ(command_of({"--socket=/x", "show", "route"}).invocation.socket, "/x");
  EXPECT_EQ(command_of({"show", "route"}).invocation.socket, "/run/espalier/control.sock");
}

TEST(CommandLine, OperandsAndOptions) {
  const auto check = command_of({"check", "a.conf"});
  EXPECT_EQ(check.invocation.values["FILE"].as<std::string>(), "a.conf");
  const auto explain =
      command_of({"explain", "--in", "eth0", "--src", "1.2.3.4", "--dst=5.6.7.8", "--dport", "80"});
  EXPECT_EQ(explain.invocation.values["dport"].as<uint32_t>(), 80u);
}

TEST(CommandLine, WrongUsageIsStatus2OnOneLine) {
  for (const Words& words :
       {Words{"shwo"}, Words{"show"}, Words{"show", "nat"}, Words{"check"}, Words{"check", "a", "b"},
        Words{"show", "route", "x"}, Words{"show", "route", "--all"}, Words{"--socket"},
        Words{"explain", "--in", "eth0"}, Words{"apply", "x", "--bogus"},
        Words{"explain", "--in", "e", "--src", "a", "--dst", "b", "--dport", "x"}}) {
    const auto message = message_of(words);
    EXPECT_EQ(message.status, kUsage) << words.front();
    EXPECT_EQ(std::count(message.text.begin(), message.text.end(), '\n'), 1) << message.text;
  }
  EXPECT_EQ(message_of({}).status, kUsage);
}

TEST(CommandLine, WhatIsNotThereYetIsRefusedByName) {
  for (const Words& words : {Words{"apply", "x", "--confirm", "30"}, Words{"apply", "--confirm=30", "x"},
                             Words{"confirm"}, Words{"rollback"}}) {
    const auto message = message_of(words);
    EXPECT_EQ(message.status, kRefused);
    EXPECT_NE(message.text.find("not in this version"), std::string::npos);
  }
}

TEST(CommandLine, EveryCommandHasHelpWithAnExampleThatParses) {
  EXPECT_EQ(message_of({"--help"}).status, kDone);
  for (const Command& command : commands()) {
    Words example{};
    std::istringstream stream{std::string(command.example)};
    for (std::string word; stream >> word;) example.push_back(word);
    ASSERT_EQ(example.front(), "espalier");
    example.erase(example.begin());
    EXPECT_EQ(command_of(example).command, &command);
    example.push_back("--help");
    const auto help = message_of(example);
    EXPECT_EQ(help.status, kDone);
    EXPECT_NE(help.text.find(command.example), std::string::npos);
  }
}

TEST(Table, AlignsAndDefusesControlCharacters) {
  Table table({{"Name"}, {"Count", Align::kRight}});
  table.add({"eth0", "7"});
  table.add({"a\033[2Jb", "12345"});
  EXPECT_EQ(table.render(),
            "Name    Count\n"
            "------  -----\n"
            "eth0        7\n"
            "a?[2Jb  12345\n");
}

TEST(Units, BytesAndSeconds) {
  EXPECT_EQ(human_bytes(1023), "1023");
  EXPECT_EQ(human_bytes(1024), "1.00K");
  EXPECT_EQ(human_bytes(1572864), "1.50M");
  EXPECT_EQ(human_bytes(1048575), "1.00M");
  EXPECT_EQ(human_bytes(UINT64_MAX), "16.00E");
  EXPECT_EQ(human_seconds(59), "59s");
  EXPECT_EQ(human_seconds(90), "1m30s");
  EXPECT_EQ(human_seconds(3725), "1h2m");
  EXPECT_EQ(human_seconds(432000), "5d0h");
}

}  // namespace
}  // namespace espalier::cli

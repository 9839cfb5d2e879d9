#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

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
       {Words{"shwo"}, Words{"frob", "--help"}, Words{"--help", "show", "frob"}, Words{"importx", "vyos"},
        Words{"show"}, Words{"show", "nat"}, Words{"check"}, Words{"check", "a", "b"},
        Words{"show", "route", "x"}, Words{"show", "route", "--all"}, Words{"--socket"},
        Words{"--socket=", "show", "route"}, Words{"explain", "--in", "eth0"}, Words{"apply", "x", "--bogus"},
        Words{"explain", "--in", "e", "--src", "a", "--dst", "b", "--dport", "x"}}) {
    const auto message = message_of(words);
    EXPECT_EQ(message.status, kUsage) << words.front();
    EXPECT_EQ(std::count(message.text.begin(), message.text.end(), '\n'), 1) << message.text;
  }
  EXPECT_EQ(message_of({}).status, kUsage);
}

TEST(CommandLine, TheBeginningOfACommandIsAnsweredWithItsEnds) {
  EXPECT_EQ(message_of({"show", "nat"}).text,
            "espalier: show nat goes on: show nat rules, show nat translations; see espalier --help\n");
  EXPECT_EQ(message_of({"a\033[2Jb"}).text, "espalier: no command \"a\\x1b[2Jb\"; see espalier --help\n");
  EXPECT_EQ(message_of({"--bogus", "show", "route"}).text,
            "espalier: unrecognised option '--bogus'; see espalier --help\n");
}

TEST(CommandLine, WhatIsNotThereYetIsRefusedByName) {
  for (const Words& words : {Words{"apply", "x", "--confirm", "30"}, Words{"apply", "--confirm=30", "x"},
                             Words{"confirm"}, Words{"rollback"}}) {
    const auto message = message_of(words);
    EXPECT_EQ(message.status, kRefused);
    EXPECT_TRUE(message.text.ends_with(" is not in this version; to go back, apply the earlier file\n"));
  }
  EXPECT_EQ(message_of({"rollback"}).document, "");
  const std::pair<const char*, Words> later[] = {
      {"top", {"top"}}, {"metrics", {"metrics"}}, {"import vyos", {"import", "vyos", "old.conf"}}};
  for (auto [name, words] : later) {
    EXPECT_EQ(message_of(words).text, fmt::format("espalier: {} is not in this version\n", name));
    EXPECT_EQ(message_of(words).status, kRefused);
    words.insert(words.begin(), "--json");
    EXPECT_EQ(Json::parse(message_of(words).document),
              Json({{"ok", false}, {"error", fmt::format("{} is not in this version", name)}}));
  }
}

TEST(CommandLine, TheBeginningOfACommandWithHelpIsHelped) {
  EXPECT_EQ(message_of({"show", "--help"}).status, kDone);
  EXPECT_EQ(message_of({"frob", "--help"}).text, "espalier: no command \"frob\"; see espalier --help\n");
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

// Answers one request after the other with `answers`, whatever was asked, as an espalierd of any version
// might.
class FakeEspalierd {
 public:
  explicit FakeEspalierd(std::vector<Json> answers) : answers_(std::move(answers)) {
    char name[] = "/tmp/espalier-cli-XXXXXX";
    directory_ = ::mkdtemp(name);
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeEspalierd() {
    thread_.join();
    std::filesystem::remove_all(directory_);
  }
  std::string path() const { return directory_ + "/control.sock"; }
  // The requests; once the command has its answers.
  const std::vector<Json>& asked() const { return asked_; }

 private:
  void serve() {
    const Fd client(::accept(listener_.get(), nullptr, nullptr));
    for (const Json& answer : answers_) {
      std::string asked;
      for (char byte = 0; byte != '\n'; asked += byte)
        if (::read(client.get(), &byte, 1) != 1) return;
      asked_.push_back(Json::parse(asked));
      const std::string line = answer.dump() + "\n";
      if (::write(client.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) return;
    }
  }
  std::vector<Json> answers_;
  std::vector<Json> asked_;
  std::string directory_;
  Fd listener_;
  std::thread thread_;
};

struct Printed {
  int status = 0;
  std::string out;
  std::string err;
};

Printed run(Words words, std::vector<Json> answers) {
  const FakeEspalierd espalierd(std::move(answers));
  words.insert(words.end(), {"--socket", espalierd.path()});
  const auto parsed = command_of(words);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Printed printed{parsed.command->run(parsed.invocation), {}, {}};
  printed.out = ::testing::internal::GetCapturedStdout();
  printed.err = ::testing::internal::GetCapturedStderr();
  return printed;
}

Json diagnostic(const char* severity, int line, const char* text) {
  Json row{{"severity", severity}, {"file", "new.conf"}, {"line", line}, {"text", text}};
  if (std::string_view(severity) == "warning") row["lint"] = "some-lint";
  return row;
}

// Read here and judged by the fake: what is in it does not matter.
class Configuration : public ::testing::Test {
 protected:
  Configuration() { std::ofstream(file_) << "interfaces = { };\n"; }
  ~Configuration() override { std::filesystem::remove(file_); }
  std::string file_ = fmt::format("/tmp/espalier-cli-{}.conf", ::getpid());
};

TEST_F(Configuration, ARefusedFileIsToldWithAllItsErrors) {
  const Json refused{{"ok", false},
                     {"error", "new.conf:2: error: first (the first of 2 errors)"},
                     {"diagnostics",
                      {diagnostic("error", 2, "first"), diagnostic("warning", 3, "look"),
                       diagnostic("error", 0, "second")}}};
  for (const char* command : {"apply", "diff"}) {
    const auto printed = run({command, file_}, {refused});
    EXPECT_EQ(printed.status, kRefused);
    EXPECT_EQ(printed.out, "");
    EXPECT_EQ(printed.err,
              "new.conf:2: error: first\n"
              "new.conf:3: warning: look [some-lint]\n"
              "new.conf: error: second\n"
              "espalier: new.conf was refused: 2 errors, 1 warning\n");
    const auto json = run({command, file_, "--json"}, {refused});
    EXPECT_EQ(json.status, kRefused);
    EXPECT_EQ(Json::parse(json.out), refused);
  }
}

TEST_F(Configuration, WhatElseIsRefusedIsToldInEspalierdsWords) {
  const Json busy{{"ok", false}, {"error", "another configuration is being applied"}};
  EXPECT_EQ(run({"apply", file_}, {busy}).err, "espalier: another configuration is being applied\n");
  const Json refused{{"ok", false}, {"error", "the dataplane refuses it"}, {"diagnostics", Json::array()}};
  EXPECT_EQ(run({"apply", file_}, {refused}).err, "espalier: the dataplane refuses it\n");
}

TEST_F(Configuration, DiffSaysWhatNeedsARestart) {
  const Json answer{{"ok", true},
                    {"changes", {"~ interface eth0"}},
                    {"needs_restart", true},
                    {"restart_reasons", {"dataplane.workers from 1 to 2"}},
                    {"diagnostics", {diagnostic("warning", 3, "look")}}};
  const auto printed = run({"diff", file_}, {answer});
  EXPECT_EQ(printed.status, kDone);
  EXPECT_EQ(printed.out, "~ interface eth0\nneeds apply --restart: dataplane.workers from 1 to 2\n");
  EXPECT_EQ(printed.err, "new.conf:3: warning: look [some-lint]\n");
  EXPECT_EQ(run({"apply", file_}, {answer}).out, "~ interface eth0\napplied\n");
}

std::vector<std::string> cells_of(const std::string& line) {
  std::istringstream stream(line);
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(Refusals, AreDocumentsToo) {
  const auto printed = run({"show", "route", "--json"}, {{{"ok", false}, {"error", "no"}}});
  EXPECT_EQ(printed.status, kRefused);
  EXPECT_EQ(Json::parse(printed.out), Json({{"ok", false}, {"error", "no"}}));
  EXPECT_EQ(printed.err, "espalier: no\n");
}

TEST(ShowIpsecSa, AConnectionIsAsOldAsTheYoungerOfItsSas) {
  const auto sa = [](const char* direction, uint64_t reqid, Json uptime) {
    Json row{{"connection", "c"}, {"state", "up"}, {"direction", direction},         {"spi", 4096 + reqid},
             {"reqid", reqid},    {"packets", 3},  {"remote_address", "203.0.113.7"}};
    if (!uptime.is_null()) row["uptime_s"] = uptime;
    return row;
  };
  const Json answer{{"ok", true},
                    {"cursor", 0},
                    {"sas",
                     {sa("out", 1, 3725), sa("out", 2, 10), sa("in", 1, 90), sa("in", 2, nullptr),
                      sa("out", 3, nullptr), sa("in", 3, nullptr)}}};
  std::istringstream lines(run({"show", "ipsec", "sa"}, {answer}).out);
  std::string line;
  std::getline(lines, line), std::getline(lines, line);
  for (const char* uptime : {"1m30s", "10s", "-"}) {
    std::getline(lines, line);
    EXPECT_EQ(cells_of(line).at(2), uptime) << line;
    EXPECT_EQ(cells_of(line).at(4), "3/3") << line;
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(ShowNatTranslations, TheFilterIsPassedDown) {
  const Json answer{{"ok", true}, {"cursor", 9}, {"translations", {Json::object(), Json::object()}}};
  const FakeEspalierd espalierd(std::vector<Json>{answer});
  const auto parsed =
      command_of({"show", "nat", "translations", "--address", "10.0.0.0/8", "--port=80", "--protocol", "tcp",
                  "--rule", "7", "--limit", "2", "--json", "--socket", espalierd.path()});
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(parsed.command->run(parsed.invocation), kDone);
  const Json document = Json::parse(::testing::internal::GetCapturedStdout());
  EXPECT_EQ(document["translations"].size(), 2u);
  EXPECT_EQ(document["cursor"], 9);  // there are more, and here they go on
  EXPECT_EQ(espalierd.asked().at(0), Json({{"command", "show nat translations"},
                                           {"address", "10.0.0.0/8"},
                                           {"protocol", "tcp"},
                                           {"port", 80},
                                           {"rule", 7},
                                           {"limit", 2}}));
}

TEST(ShowNatTranslations, CountsAreAddedUp) {
  const std::vector<Json> parts{{{"ok", true}, {"count", 700'000}, {"cursor", 5}},
                                {{"ok", true}, {"count", 300'001}, {"cursor", 0}}};
  EXPECT_EQ(run({"show", "nat", "translations", "--count"}, parts).out, "1000001\n");
  EXPECT_EQ(Json::parse(run({"--json", "show", "nat", "translations", "--count"}, parts).out),
            Json({{"ok", true}, {"count", 1'000'001}}));
  const auto refused = run({"show", "nat", "translations", "--count"}, {{{"ok", false}, {"error", "no"}}});
  EXPECT_EQ(refused.err, "espalier: no\n");
  EXPECT_EQ(refused.status, kRefused);
}

TEST(ShowNatTranslations, EndpointsOfIpv6HaveBrackets) {
  const Json tuple{{"source", "2001:db8::1"},
                   {"source_port", 1024},
                   {"destination", "2001:db8::2"},
                   {"destination_port", 80}};
  const auto printed =
      run({"show", "nat", "translations"},
          {{{"ok", true}, {"cursor", 0}, {"translations", {{{"original", tuple}, {"reply", tuple}}}}}});
  EXPECT_NE(printed.out.find("[2001:db8::1]:1024 > [2001:db8::2]:80"), std::string::npos) << printed.out;
}

TEST(ShowRoute, ALineForEachNextHop) {
  const Json hops{{{"via", "192.0.2.1"}, {"interface", "eth0"}},
                  {{"via", "192.0.2.9"}, {"interface", "eth1"}}};
  const Json route{{"prefix", "10.0.0.0/8"}, {"kind", "via"}, {"via", "192.0.2.1"}, {"interface", "eth0"},
                   {"next_hops", hops},      {"metric", 20},  {"origin", "kernel"}, {"usable", true}};
  const auto printed = run({"show", "route"}, {{{"ok", true}, {"cursor", 0}, {"routes", {route}}}});
  EXPECT_EQ(printed.out,
            "Prefix      Kind  Via        Interface  Metric  Origin  State\n"
            "----------  ----  ---------  ---------  ------  ------  ------\n"
            "10.0.0.0/8  via   192.0.2.1  eth0           20  kernel  usable\n"
            "                  192.0.2.9  eth1\n");
}

TEST(ShowIpsecSa, WhatHasToBeKnownStandsBelow) {
  const Json out{{"connection", "b"},
                 {"direction", "out"},
                 {"state", "down"},
                 {"reason", "expired"},
                 {"mode", "tunnel"},
                 {"encap", Json::object()},
                 {"proposal", "NULL/HMAC_SHA1_96"}},
      in{{"connection", "b"},
         {"direction", "in"},
         {"state", "up"},
         {"expired", "soft"},
         {"esn", true},
         {"replay_window", 64},
         {"learned_peer", {{"address", "192.0.2.1"}, {"port", 61000}}}};
  const std::string text =
      run({"show", "ipsec", "sa"}, {{{"ok", true}, {"cursor", 0}, {"sas", {out, in}}}}).out;
  for (const char* part : {"tunnel/udp", "NULL/HMAC_SHA1_96", "64 esn", "b (out) is down: expired\n",
                           "b (in) has reached a soft limit: it is time for another key\n",
                           "b (in) has its peer at 192.0.2.1 port 61000\n"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

// Whoever sends a certificate has a hand in why it was refused: here a terminal's control sequence, in one
// byte and in the two of UTF-8.
TEST(ShowConnections, WhatPeersSayDoesNotSteerTheTerminal) {
  const Json row{{"peer", "B"},
                 {"tunnel", "tunnel-0"},
                 {"state", "down"},
                 {"reason", "waits for the peer"},
                 {"last_failure", {{"text", "CN=\033[2J \xc2\x9b[2J"}, {"ago_s", 75}}}};
  const Printed printed =
      run({"show", "connections"}, {{{"ok", true}, {"connections", Json::array({row, row})}, {"cursor", 0}}});
  EXPECT_NE(printed.out.find("B tunnel-0 is down: waits for the peer\n"
                             "B: last failure 1m15s ago: CN=?[2J \\xc2\\x9b[2J\n"
                             "B tunnel-0 is down: waits for the peer\n"),
            std::string::npos)
      << printed.out;
}

TEST(ShowPolicy, TemplatesInTheirOrder) {
  const Json first{{"source", "192.0.2.1"},
                   {"destination", "192.0.2.2"},
                   {"reqid", 1},
                   {"mode", "tunnel"},
                   {"level", "required"}},
      second{{"source", "::"}, {"destination", "::"}, {"reqid", 0},
             {"spi", 4097},    {"mode", "transport"}, {"level", "use"}};
  const std::string text =
      run({"show", "policy"},
          {{{"ok", true}, {"cursor", 0}, {"policies", {{{"vti", "vti1"}, {"templates", {first, second}}}}}}})
          .out;
  EXPECT_NE(
      text.find(
          "vti1       -       192.0.2.1 > 192.0.2.2 reqid 1, :: > :: reqid 0 spi 0x00001001 transport use"),
      std::string::npos)
      << text;
}

TEST(ShowInterfaces, TunnelsHaveEndpoints) {
  const Json gre{
      {"name", "gre1"}, {"kind", "gre"},   {"local_address", "192.0.2.1"}, {"remote_address", "192.0.2.2"},
      {"key", 5},       {"protect", true}, {"mac", "00:00:00:00:00:00"}};
  const std::string text =
      run({"show", "interfaces"}, {{{"ok", true}, {"cursor", 0}, {"interfaces", {gre}}}}).out;
  EXPECT_NE(text.find("192.0.2.1 > 192.0.2.2 key 5 protected"), std::string::npos) << text;
  EXPECT_EQ(text.find("00:00:00"), std::string::npos) << text;
}

// Whatever espalierd's version answers, the CLI prints what it understands or refuses; it does not crash.
TEST(Show, AnswersOfOtherVersionsAreSurvived) {
  const Json row{{"interfaces", 4}, {"addresses", "x"}, {"template", 1}, {"original", 5}, {"spi", "y"}};
  for (const Command& command : commands()) {
    if (!command.name.starts_with("show")) continue;
    const Words words = cells_of(std::string(command.name));
    EXPECT_LE(run(words, {{{"ok", true}}}).status, kRefused) << command.name;
    for (const Json& rows : {Json::array({row}), Json::array({Json(7)}), Json(7), Json()}) {
      Json answer{{"ok", true}, {"cursor", 0}};
      for (const char* key : {"interfaces", "routes", "neighbors", "policies", "rules", "translations", "sas",
                              "drops", "tunnels", "stages", "workers"})
        answer[key] = rows;
      EXPECT_LE(run(words, {answer}).status, kRefused) << command.name;
    }
  }
}

}  // namespace
}  // namespace espalier::cli

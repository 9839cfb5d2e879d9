// espalierd's half and the real espalier-ike: started, configured, asked, killed, hung, adopted; what it may
// do.
#include "control/daemon/ike_supervisor.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>

#include "control/shared/message_decode.hpp"
#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

using Json = nlohmann::json;

std::shared_ptr<const config::IkeDocument> document_with(const std::vector<std::string>& peers) {
  auto document = std::make_shared<config::IkeDocument>();
  for (const std::string& name : peers) {
    config::IkeConnection& peer = document->connections.emplace_back();
    peer.name = name;
    peer.local = Ipv4Address::from_host(0xc0000201);
    peer.remotes = {"192.0.2.2"};
    peer.suites.push_back({EspAlgorithm{EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}, 1, 19});
    config::IkeChild& child = peer.children.emplace_back();
    child.name = "tunnel-0";
    child.reqid = Reqid(0x80000001);
    child.suites.push_back({EspAlgorithm{EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}, 19});
    child.local = {IpPrefix::of(Ipv4Address::from_host(0x0a010000), 16)};
    child.remote = {IpPrefix::of(Ipv4Address::from_host(0x0a020000), 16)};
  }
  document->psks.push_back({"any", {"%any"}, config::Secret(std::string_view("secret")), ""});
  return document;
}

class IkeSupervisorTest : public DaemonTest {
 protected:
  ~IkeSupervisorTest() override {
    if (ike_) stop();
  }
  static std::string program() {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "../../../ike/daemon/espalier-ike";
  }
  void start(std::shared_ptr<const config::IkeDocument> document) {
    ike_.emplace(loop_, IkeSupervisor::Places{runtime_dir(), program(), "nobody", directory_},
                 [this] { ++channels_wanted_; });
    ike_->configure(std::move(document));
  }
  void stop() {
    bool stopped = false;
    ike_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
    ike_.reset();
  }
  bool wait_ready() {
    return run_until([&] { return ike_->ready() && connections().size() == 1; });
  }
  // Once espalier-ike has told what it makes of the configuration.
  std::vector<std::string> troubles() {
    std::optional<std::vector<std::string>> told;
    ike_->when_configured([&] { told = ike_->troubles(); });
    EXPECT_TRUE(run_until([&] { return told.has_value(); }));
    return told.value_or(std::vector<std::string>{"nothing is told"});
  }
  Result<Json> ask(const Json& request) {
    std::optional<Result<Json>> answer;
    ike_->request(request, [&](Result<Json> got) { answer = std::move(got); });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return answer ? std::move(*answer) : Result<Json>(fail("no answer"));
  }
  Json connections() {
    const auto answer = ask({{"request", "connections"}});
    return answer ? answer->value("connections", Json::array()) : Json::array();
  }
  std::string status_of(pid_t pid, const std::string& key) {
    std::ifstream file(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(file, line);)
      if (line.starts_with(key + ":")) return line.substr(key.size() + 2);
    return "";
  }

  std::optional<IkeSupervisor> ike_;
  int channels_wanted_ = 0;
};

TEST_F(IkeSupervisorTest, RunsWhilePeersAreConfigured) {
  start(document_with({}));
  run_until([] { return false; }, milliseconds(100));
  EXPECT_FALSE(ike_->pid());
  EXPECT_FALSE(ask({{"request", "status"}}));
  ike_->configure(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(connections()[0]["peer"], "B");
  EXPECT_EQ(connections()[0]["state"], "down");
  EXPECT_EQ(channels_wanted_, 1);
  ike_->configure(document_with({"B", "C"}));
  EXPECT_TRUE(run_until([&] { return connections().size() == 2; }));
  EXPECT_EQ(ike_->starts(), 1u);
  ike_->configure(document_with({}));
  EXPECT_TRUE(run_until([&] { return !ike_->pid(); }));
  ike_->configure(document_with({"B"}));
  EXPECT_TRUE(wait_ready());
}

// It has no rights, cannot get any, and nobody can look into it.
TEST_F(IkeSupervisorTest, TheProcessIsConfined) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  const pid_t pid = *ike_->pid();
  EXPECT_EQ(status_of(pid, "Seccomp"), "2");
  EXPECT_EQ(status_of(pid, "NoNewPrivs"), "1");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status_of(pid, set), "0000000000000000") << set;
  if (::geteuid() != 0) return;
  EXPECT_FALSE(status_of(pid, "Uid").starts_with("0\t"));
  EXPECT_EQ(status_of(pid, "Groups").find_first_not_of(" \t"), std::string::npos);
  struct stat about {};
  ASSERT_EQ(::stat(fmt::format("/proc/{}/maps", pid).c_str(), &about), 0);
  EXPECT_EQ(about.st_uid, 0u);  // not dumpable: its files in /proc are root's
}

TEST_F(IkeSupervisorTest, ADeadOneIsReplacedAndConfigured) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  run_until([] { return false; }, milliseconds(1100));
  const pid_t first = *ike_->pid();
  ::kill(first, SIGKILL);
  EXPECT_TRUE(run_until([&] { return ike_->pid() && *ike_->pid() != first; }));
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(ike_->starts(), 2u);
  EXPECT_EQ(channels_wanted_, 2);
}

TEST_F(IkeSupervisorTest, ALaterEspalierdAdoptsTheLivingOne) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  const pid_t first = *ike_->pid();
  ike_.reset();  // espalierd dies
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(*ike_->pid(), first);
  EXPECT_EQ(ike_->starts(), 0u);
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);  // our zombie, which init would have reaped
  EXPECT_TRUE(run_until([&] { return ike_->starts() == 1; }));
  EXPECT_TRUE(wait_ready());
}

// Else it would go on negotiating with peers that nobody configured.
TEST_F(IkeSupervisorTest, ALaterEspalierdWithoutPeersStopsTheLivingOne) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  const pid_t first = *ike_->pid();
  ike_.reset();  // espalierd dies
  start(document_with({}));
  EXPECT_EQ(ike_->pid(), first);
  EXPECT_TRUE(run_until([&] { return ::waitpid(first, nullptr, WNOHANG) == first; }));
  EXPECT_TRUE(run_until([&] { return !ike_->pid(); }));
}

// Who reads the log may end with espalierd, or before.
TEST_F(IkeSupervisorTest, ALogThatNobodyReadsIsNoEnd) {
  ::signal(SIGPIPE, [](int) {});  // ours; a handler is not inherited
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]), writer(ends[1]), stderr_before(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  ASSERT_GE(::dup2(writer.get(), STDERR_FILENO), 0);
  start(document_with({"B"}));
  const bool ready = wait_ready();
  ::dup2(stderr_before.get(), STDERR_FILENO);
  ASSERT_TRUE(ready);
  const_cast<Fd&>(reader).reset();
  ASSERT_TRUE(ask({{"request", "log"}, {"level", "debug"}}));
  ike_->configure(document_with({"C"}));
  EXPECT_TRUE(run_until([&] { return connections().size() == 1 && connections()[0]["peer"] == "C"; }));
  ike_.reset();  // it logs that
  run_until([] { return false; }, milliseconds(300));
  start(document_with({"C"}));
  EXPECT_TRUE(wait_ready());
  EXPECT_EQ(ike_->starts(), 0u);
}

TEST_F(IkeSupervisorTest, OneThatHangsIsKilled) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  const pid_t first = *ike_->pid();
  ::kill(first, SIGSTOP);
  const auto slow = ask({{"request", "status"}});
  EXPECT_FALSE(slow);
  EXPECT_TRUE(run_until([&] { return ike_->pid() && *ike_->pid() != first; }, milliseconds(15'000)));
  EXPECT_TRUE(wait_ready());
}

// It dies before it has answered: the answer of the next one counts.
TEST_F(IkeSupervisorTest, TheNextOneAnswersForTheConfiguration) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(troubles(), std::vector<std::string>{});
  run_until([] { return false; }, milliseconds(1100));  // lives longer than the back-off asks for
  const pid_t first = *ike_->pid();
  ::kill(first, SIGSTOP);
  ike_->configure(document_with({"C"}));
  EXPECT_EQ(ike_->troubles(),
            std::vector<std::string>{"espalier-ike has not answered yet; see the log of espalierd"});
  ::kill(first, SIGKILL);
  EXPECT_EQ(troubles(), std::vector<std::string>{});
  EXPECT_NE(*ike_->pid(), first);
  EXPECT_EQ(connections()[0]["peer"], "C");
}

TEST_F(IkeSupervisorTest, ADocumentThatCannotBeSentIsATrouble) {
  start(document_with({"B"}));
  ASSERT_TRUE(wait_ready());
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};  // no descriptor for the letter
  ::setrlimit(RLIMIT_NOFILE, &none);
  ike_->configure(document_with({"C"}));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const auto told = troubles();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].starts_with("espalier-ike does not run the configuration: ")) << told[0];
}

TEST_F(IkeSupervisorTest, AProgramThatIsNotThereIsToldAndTriedAgain) {
  ike_.emplace(loop_, IkeSupervisor::Places{runtime_dir(), "/nonexistent/espalier-ike", "nobody", directory_},
               [] {});
  ike_->configure(document_with({"B"}));
  EXPECT_TRUE(run_until([&] { return ike_->starts() >= 3; }));
  EXPECT_FALSE(ike_->ready());
  EXPECT_EQ(troubles(), (std::vector<std::string>{"espalier-ike does not run; see the log of espalierd"}));
  EXPECT_EQ(ask({{"request", "status"}}).error().text, "espalier-ike does not run; see the log");
  EXPECT_NE(ike_->why_left_out("B"), "");
}

TEST_F(IkeSupervisorTest, APeerWithoutItsFilesIsLeftOutAndTheOthersAreNot) {
  auto document = std::make_shared<config::IkeDocument>();
  for (const char* name : {"B", "X"}) {
    auto one = document_with({name});
    document->connections.push_back(std::move(const_cast<config::IkeDocument&>(*one).connections[0]));
  }
  document->connections[1].mode = config::AuthenticationMode::kX509;
  document->connections[1].certificate = document->connections[1].private_key = "absent.pem";
  start(document);
  EXPECT_FALSE(ike_->check(*document));
  const auto told = troubles();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].ends_with("/absent.pem: No such file or directory")) << told[0];
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(connections()[0]["peer"], "B");
  EXPECT_EQ(ike_->why_left_out("B"), "");
  EXPECT_NE(ike_->why_left_out("X").find("absent.pem"), std::string::npos);
}

TEST_F(IkeSupervisorTest, APeerWhoseFilesHoldNonsenseIsLeftOutAndTheOthersAreNot) {
  auto document = document_with({"B", "X"});
  auto& x = const_cast<config::IkeDocument&>(*document).connections[1];
  x.mode = config::AuthenticationMode::kX509;
  x.certificate = x.private_key = "nonsense.pem";
  std::ofstream(directory_ + "/nonsense.pem") << "nonsense\n";
  start(document);
  EXPECT_TRUE(ike_->check(*document));
  const auto told = troubles();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].starts_with("peer X is left out: key: ")) << told[0];
  ike_->configure(document_with({"B"}));
  EXPECT_EQ(troubles(), std::vector<std::string>{}) << "of the newest configuration";
  ike_->configure(document);
  EXPECT_EQ(troubles(), told);
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(connections()[0]["peer"], "B");
  EXPECT_EQ(ike_->last_refusal(), "");
  EXPECT_EQ(ike_->why_left_out("B"), "");
  EXPECT_TRUE(ike_->why_left_out("X").starts_with("key: ")) << ike_->why_left_out("X");
}

TEST_F(IkeSupervisorTest, ANameIsResolvedForIt) {
  auto document = document_with({"B"});
  auto& peer = const_cast<config::IkeDocument&>(*document).connections[0];
  peer.type = config::ConnectionType::kInitiate;
  peer.remotes = {"localhost"};
  start(document);
  ASSERT_TRUE(run_until([&] { return channels_wanted_ == 1; }));
  auto channel = must(Channel::create(64));
  ASSERT_TRUE(must(ike_->pass_on(channel)));
  auto dataplane =
      must(Channel::attach({Fd(::dup(channel.descriptors()[0])), Fd(::dup(channel.descriptors()[1])),
                            Fd(::dup(channel.descriptors()[2]))}));
  // It asks for the way to the loopback address.
  EXPECT_TRUE(run_until([&] {
    message::Slot slot;
    while (dataplane.receive(slot)) {
      const auto decoded = message::decode_from_ike(slot);
      const auto* way = decoded ? std::get_if<message::IkeWay>(&*decoded) : nullptr;
      if (way != nullptr && way->remote.is_loopback()) return true;
    }
    return false;
  }));
}

// Whose server does not answer: that is no reason to wait for the others.
TEST_F(IkeSupervisorTest, ASlowNameKeepsNoOther) {
  std::promise<void> released;
  const auto release = released.get_future().share();
  const auto look_up = [release](const std::string& name) -> Result<std::vector<IpAddress>> {
    if (name == "slow") release.wait();
    return std::vector<IpAddress>{};
  };
  auto resolver = must(NameResolver::create(loop_, look_up));
  int answers = 0;
  const auto count = [&](const auto&) { ++answers; };
  resolver->resolve("first", count);
  ASSERT_TRUE(run_until([&] { return answers == 1; }));
  resolver->resolve("slow", count);
  resolver->resolve("fast", count);
  EXPECT_TRUE(run_until([&] { return answers == 2; }, milliseconds(2000)));
  released.set_value();
  EXPECT_TRUE(run_until([&] { return answers == 3; }));
}

TEST_F(IkeSupervisorTest, NamesAreResolvedOffTheLoop) {
  auto resolver = must(NameResolver::create(loop_));
  std::vector<Result<std::vector<IpAddress>>> answers;
  resolver->resolve("127.0.0.7", [&](auto found) { answers.push_back(std::move(found)); });
  ASSERT_TRUE(run_until([&] { return answers.size() == 1; }));
  EXPECT_EQ(must(std::move(answers[0])), std::vector<IpAddress>{Ipv4Address::from_host(0x7f000007)});
  resolver->resolve("no such name", [&](auto found) { answers.push_back(std::move(found)); });
  ASSERT_TRUE(run_until([&] { return answers.size() == 2; }));
  EXPECT_FALSE(answers[1]);
  resolver->resolve("127.0.0.8", [&](auto found) { answers.push_back(std::move(found)); });
  resolver.reset();  // its answer comes to nobody
  run_until([] { return false; }, milliseconds(50));
  EXPECT_EQ(answers.size(), 2u);
}

}  // namespace
}  // namespace espalier::daemon

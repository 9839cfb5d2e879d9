// The shell with a core, an espalierd and a dataplane that the test plays.
#include "ike/daemon/shell.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/unit/ike_daemon/fake_core.hpp"

namespace espalier::ike {
namespace {

using Json = nlohmann::json;
using fake::state;
using Kind = Letter::Kind;

constexpr std::string_view kSmallest =
    R"({"version":1,"short_lifetimes":false,"local_addresses":[],"log_level":0,"log_subsystems":[],"keys":[],"connections":[]})";

template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result) << result.error().text;
  return std::move(result).value();
}

// espalierd's end of the socket.
struct Espalierd {
  std::unique_ptr<Post> post;
  std::vector<Letter> letters;
  bool closed = false;
};

class ShellTest : public ::testing::Test {
 protected:
  ShellTest() : loop_(must(EventLoop::create())) {
    char name[] = "/tmp/espalier-shell-XXXXXX";
    directory_ = ::mkdtemp(name);
    state() = {};
    start();
  }
  ~ShellTest() override {
    shell_.reset();
    std::filesystem::remove_all(directory_);
  }
  void start() { shell_ = must(Shell::create(loop_, must(listen_unix(path(), SOCK_SEQPACKET)), {})); }
  std::string path() const { return directory_ + "/ike.sock"; }

  template <class Done>
  bool run_until(Done done) {
    const auto end = Clock::now() + milliseconds(5000);
    while (!done()) {
      if (Clock::now() > end) return false;
      loop_.run_once(milliseconds(5));
    }
    return true;
  }
  void run_a_moment() {
    for (int i = 0; i < 20; ++i) loop_.run_once(milliseconds(1));
  }

  std::shared_ptr<Espalierd> connect() {
    auto espalierd = std::make_shared<Espalierd>();
    auto socket = must(connect_unix(path(), SOCK_SEQPACKET));
    espalierd->post =
        must(Post::open(loop_, std::move(*socket),
                        {[e = espalierd.get()](Letter letter) { e->letters.push_back(std::move(letter)); },
                         [e = espalierd.get()](const Error&) {
                           e->closed = true;
                           e->post.reset();
                         }}));
    EXPECT_TRUE(run_until([&] { return !espalierd->letters.empty() || espalierd->closed; }));
    return espalierd;
  }
  // Connects, and brings the state segment if the shell has none.
  std::shared_ptr<Espalierd> welcome() {
    auto espalierd = connect();
    EXPECT_EQ(espalierd->letters.at(0).kind(), Kind::kHello);
    std::vector<Fd> fds;
    if (espalierd->letters[0].fds().empty()) {
      if (!states_) states_ = must(ike_state::create());
      fds.push_back(states_->fd().duplicate());
    }
    espalierd->letters.clear();
    say(*espalierd, Kind::kWelcome, 0, "{}", {}, std::move(fds));
    run_a_moment();
    return espalierd;
  }
  void say(Espalierd& espalierd, Kind kind, uint64_t id, std::string_view text,
           std::span<const uint8_t> secrets = {}, std::vector<Fd> fds = {}) {
    const auto sent = espalierd.post->send(Letter::write(kind, id, text, secrets, std::move(fds)));
    ASSERT_TRUE(sent) << sent.error().text;
  }
  // The answer to a letter.
  Json ask(Espalierd& espalierd, Kind kind, std::string_view text) {
    const uint64_t id = ++last_id_;
    say(espalierd, kind, id, text);
    EXPECT_TRUE(run_until([&] { return !espalierd.letters.empty(); }));
    if (espalierd.letters.empty()) return {};
    Letter letter = std::move(espalierd.letters.front());
    espalierd.letters.erase(espalierd.letters.begin());
    EXPECT_EQ(letter.kind(), Kind::kAnswer);
    EXPECT_EQ(letter.id(), id);
    return Json::parse(letter.text());
  }
  void configure(Espalierd& espalierd) { EXPECT_EQ(ask(espalierd, Kind::kConfigure, kSmallest)["ok"], true); }
  void give_channel(Espalierd& espalierd) {
    dataplane_ = must(Channel::create(1024));
    std::vector<Fd> fds;
    for (const int fd : dataplane_->descriptors()) fds.emplace_back(::dup(fd));
    dataplane_ =
        must(Channel::attach({Fd(::dup(fds[0].get())), Fd(::dup(fds[1].get())), Fd(::dup(fds[2].get()))}));
    say(espalierd, Kind::kChannel, 0, "", {}, std::move(fds));
    run_a_moment();
  }
  std::vector<message::FromIke> from_shell() {
    run_a_moment();
    std::vector<message::FromIke> messages;
    message::Slot slot;
    while (dataplane_->receive(slot)) {
      last_request_ = slot.header.request_id;
      messages.push_back(*message::decode_from_ike(slot));
    }
    return messages;
  }
  // What the core wants next comes out when something happens to it.
  void let_core_want(Output output) {
    state().outputs.push_back(std::move(output));
    state().deadline = Clock::now();
  }

  std::string directory_;
  EventLoop loop_;
  std::unique_ptr<Shell> shell_;
  std::optional<Segment> states_;
  std::optional<Channel> dataplane_;
  uint64_t last_id_ = 0, last_request_ = 0;
};

size_t count_of_lost_and_ready() {
  size_t count = 0;
  for (const Event& event : state().events)
    count += std::holds_alternative<DataplaneLost>(event) || std::holds_alternative<DataplaneReady>(event);
  return count;
}

TEST_F(ShellTest, AdoptsTheStatesOfAnEarlierProcessWithTheFirstConfiguration) {
  states_ = must(ike_state::create());
  StateStore earlier(must(ike_state::attach(states_->fd().duplicate())));
  SaveStates save;
  save.states.push_back({5, crypto::Secret(Bytes{1, 2, 3})});
  ASSERT_TRUE(earlier.save(save));
  auto espalierd = welcome();
  EXPECT_TRUE(state().adopted.empty());
  configure(*espalierd);
  ASSERT_EQ(state().adopted.size(), 1u);
  ASSERT_EQ(state().adopted[0].size(), 1u);
  EXPECT_EQ(state().adopted[0][0].id, 5u);
  EXPECT_EQ(state().adopted[0][0].state.size(), 3u);
  configure(*espalierd);
  EXPECT_EQ(state().adopted.size(), 1u);
  EXPECT_EQ(state().configurations.size(), 2u);
}

TEST_F(ShellTest, AWrongConfigurationIsRefusedAndTheEarlierStays) {
  auto espalierd = welcome();
  configure(*espalierd);
  const Json answer = ask(*espalierd, Kind::kConfigure, R"({"version":1})");
  EXPECT_EQ(answer["ok"], false);
  EXPECT_EQ(answer["error"], "short_lifetimes: is missing");
  EXPECT_EQ(state().configurations.size(), 1u);
}

TEST_F(ShellTest, StatesAreKeptBeforeLaterOutputsAreDone) {
  auto espalierd = welcome();
  configure(*espalierd);
  give_channel(*espalierd);
  from_shell();
  const uint8_t secret[] = {7, 8, 9};
  SaveStates save;
  save.states.push_back({3, crypto::Secret(secret)});
  let_core_want(std::move(save));
  let_core_want(SendDatagram{{Ipv4Address::from_host(1), 500}, {Ipv4Address::from_host(2), 500}, Bytes{1}});
  ask(*espalierd, Kind::kRequest, R"({"request":"initiate","peer":"B"})");
  EXPECT_EQ(from_shell().size(), 1u);
  StateStore view(must(ike_state::attach(states_->fd().duplicate())));
  ASSERT_EQ(view.load().states.size(), 1u);
  let_core_want(SaveStates{.states = {}, .forgotten = {3}});
  ask(*espalierd, Kind::kRequest, R"({"request":"initiate","peer":"B"})");
  EXPECT_TRUE(view.load().states.empty());
}

TEST_F(ShellTest, AllSasAreNamedOnANewChannel) {
  auto espalierd = welcome();
  give_channel(*espalierd);  // before the configuration: waits for it
  EXPECT_TRUE(from_shell().empty());
  InstallSa install;
  install.record.spi = Spi(0x1001);
  install.record.source = Ipv4Address::from_host(0xc0000201),
  install.record.destination = Ipv4Address::from_host(0xc0000202);
  state().outputs_when_ready.push_back(std::move(install));
  configure(*espalierd);
  const auto messages = from_shell();
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<message::IkeBegin>(messages[0]));
  EXPECT_TRUE(std::holds_alternative<message::IkeSa>(messages[1]));
  EXPECT_EQ(std::get<message::IkeCommit>(messages[2]).sas, 1u);
  EXPECT_EQ(count_of_lost_and_ready(), 2u);
  give_channel(*espalierd);
  EXPECT_EQ(from_shell().size(), 2u);
  EXPECT_EQ(count_of_lost_and_ready(), 4u);
}

TEST_F(ShellTest, WithoutADataplaneTheCoreKnows) {
  auto espalierd = welcome();
  configure(*espalierd);
  ASSERT_EQ(state().events.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<DataplaneLost>(state().events[0]));
}

TEST_F(ShellTest, TimersOfTheCoreRun) {
  auto espalierd = welcome();
  state().deadline = Clock::now() + milliseconds(30);
  configure(*espalierd);
  EXPECT_EQ(state().ticks, 0);
  EXPECT_TRUE(run_until([] { return state().ticks == 1; }));
}

TEST_F(ShellTest, DatagramsReachTheCoreButThoseOfOtherAddresses) {
  auto espalierd = welcome();
  Json document = Json::parse(kSmallest);
  document["local_addresses"] = {"192.0.2.1"};
  EXPECT_EQ(ask(*espalierd, Kind::kConfigure, document.dump())["ok"], true);
  give_channel(*espalierd);
  message::IkeReceived received;
  received.part.remote = Ipv4Address::from_host(0xc0000202);
  received.part.local_port = received.part.remote_port = 500;
  received.part.total_bytes = received.part.part_bytes = 3;
  for (const uint32_t local : {0xc0000201u, 0xc0000205u}) {
    received.part.local = Ipv4Address::from_host(local);
    ASSERT_TRUE(dataplane_->send(message::make(received, 0, 0)));
  }
  run_a_moment();
  ASSERT_EQ(state().datagrams.size(), 1u);
  EXPECT_EQ(state().datagrams[0].local.address, IpAddress(Ipv4Address::from_host(0xc0000201)));
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"status"})")["datagrams_to_other_addresses"], 1);
}

TEST_F(ShellTest, NamesAreResolvedByEspalierd) {
  auto espalierd = welcome();
  state().outputs.push_back(Resolve{"B", "gw.example.org"});
  say(*espalierd, Kind::kConfigure, 1, kSmallest);
  ASSERT_TRUE(run_until([&] { return espalierd->letters.size() == 2; }));
  ASSERT_EQ(espalierd->letters[0].kind(), Kind::kResolve);
  EXPECT_EQ(Json::parse(espalierd->letters[0].text())["name"], "gw.example.org");
  give_channel(*espalierd);
  from_shell();
  say(*espalierd, Kind::kResolved, espalierd->letters[0].id(), R"({"addresses":["192.0.2.9"]})");
  run_a_moment();
  const auto messages = from_shell();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<message::IkeWay>(messages[0]));
  ASSERT_TRUE(dataplane_->send(
      message::make(message::IkeWayIs{Ipv4Address::from_host(0xc0000201)}, last_request_, 0)));
  EXPECT_TRUE(run_until(
      [] { return !state().events.empty() && std::holds_alternative<Resolved>(state().events.back()); }));
}

TEST_F(ShellTest, WithoutEspalierdANameFailsAndNothingElse) {
  auto espalierd = welcome();
  configure(*espalierd);
  state().outputs.push_back(Resolve{"B", "gw.example.org"});
  say(*espalierd, Kind::kConfigure, 9, kSmallest);
  ASSERT_TRUE(run_until([&] { return espalierd->letters.size() == 2; }));  // the question and the answer
  espalierd->post.reset();
  EXPECT_TRUE(run_until([] { return std::holds_alternative<Resolved>(state().events.back()); }));
  EXPECT_NE(std::get<Resolved>(state().events.back()).failure.find("espalierd"), std::string::npos);
}

TEST_F(ShellTest, TheNewestEspalierdCounts) {
  auto first = welcome();
  configure(*first);
  auto second = welcome();
  EXPECT_TRUE(run_until([&] { return first->closed; }));
  configure(*second);
  EXPECT_EQ(state().configurations.size(), 2u);
  // One that connects and says nothing disturbs nobody.
  auto silent = connect();
  configure(*second);
  EXPECT_FALSE(silent->closed);
}

TEST_F(ShellTest, ASecondEspalierdGetsTheSegmentOfTheFirst) {
  auto first = welcome();
  auto second = connect();
  ASSERT_EQ(second->letters.at(0).fds().size(), 1u);
  EXPECT_TRUE(ike_state::attach(std::move(second->letters[0].fds()[0])));
}

TEST_F(ShellTest, WhoeverDoesNotBeginWithAWelcomeIsClosed) {
  auto stranger = connect();
  say(*stranger, Kind::kConfigure, 1, kSmallest);
  EXPECT_TRUE(run_until([&] { return stranger->closed; }));
  EXPECT_TRUE(state().configurations.empty());
  auto without_segment = connect();
  say(*without_segment, Kind::kWelcome, 0, "{}");
  EXPECT_TRUE(run_until([&] { return without_segment->closed; }));
}

TEST_F(ShellTest, TheOperatorsCommandsReachTheCoreAndItsRefusalsComeBack) {
  auto espalierd = welcome();
  configure(*espalierd);
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"terminate","peer":"B","tunnel":"vti"})")["ok"],
            true);
  ASSERT_EQ(state().commands.size(), 1u);
  EXPECT_EQ(std::get<Terminate>(state().commands[0]).connection, "B");
  EXPECT_EQ(std::get<Terminate>(state().commands[0]).child, "vti");
  state().command_answer = fail("B is closed already");
  const Json answer = ask(*espalierd, Kind::kRequest, R"({"request":"rekey","peer":"B"})");
  EXPECT_EQ(answer["ok"], false);
  EXPECT_EQ(answer["error"], "B is closed already");
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"dance"})")["error"], "no such request");
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, "[]")["ok"], false);
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"log","level":"loud"})")["ok"], false);
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"log","level":"debug","subsystem":"ike"})")["ok"],
            true);
}

TEST_F(ShellTest, ReportsAreTold) {
  auto espalierd = welcome();
  configure(*espalierd);
  state().ike_sas.resize(300);
  state().connections.resize(2);
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"ike_sas"})")["sas"].size(), 300u);
  EXPECT_EQ(ask(*espalierd, Kind::kRequest, R"({"request":"connections"})")["connections"].size(), 2u);
}

TEST_F(ShellTest, ABrokenRingIsReplaced) {
  auto espalierd = welcome();
  configure(*espalierd);
  give_channel(*espalierd);
  from_shell();
  const auto raw = must(Segment::attach(Fd(::dup(dataplane_->descriptors()[0])), sizeof(RingPositions) * 2));
  reinterpret_cast<RingPositions*>(raw.data())[1].head.store(uint64_t{1} << 40);
  const uint64_t one = 1;
  ASSERT_GT(::write(dataplane_->descriptors()[1], &one, sizeof one), 0);
  ASSERT_TRUE(run_until([&] { return !espalierd->letters.empty(); }));
  EXPECT_EQ(espalierd->letters[0].kind(), Kind::kWantChannel);
  EXPECT_TRUE(std::holds_alternative<DataplaneLost>(state().events.back()));
  espalierd->letters.clear();
  give_channel(*espalierd);
  EXPECT_EQ(from_shell().size(), 2u);
}

TEST_F(ShellTest, SaysFarewell) {
  auto espalierd = welcome();
  configure(*espalierd);
  bool done = false;
  shell_->stop([&] { done = true; });
  EXPECT_TRUE(state().shut_down);
  EXPECT_TRUE(run_until([&] { return done; }));
}

}  // namespace
}  // namespace espalier::ike

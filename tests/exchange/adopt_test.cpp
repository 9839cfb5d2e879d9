// kill -9 of either side at every moment: before each single output of an exchange the process dies, and the
// next one goes on with the saved states. Traffic never notices.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

enum class Scene : uint8_t {
  kChildByUs,
  kChildByPeer,
  kBothChildren,
  kIkeByUs,
  kIkeByPeer,
  kBothIke,
  kChildAgainstIke,
  kBothIkeAndThenTheChild,
  kIkeByPeerWhoHearsUsLate
};

class Adopt : public Lab, public ::testing::WithParamInterface<std::tuple<Scene, bool>> {
 protected:
  // One lab per moment of death, from a seed of its own. False: the scene was over before.
  static bool play(Scene scene, bool left_dies, uint64_t moment);
};

class Stage : public Lab {
 public:
  explicit Stage(uint64_t seed) : Lab(seed) {}
  void TestBody() override {}

  bool play(Scene scene, bool left_dies, uint64_t moment) {
    configure(ConnectionType::kNone, ConnectionType::kNone);
    bring_up();
    if (HasFatalFailure()) return false;
    for (auto* side : {&left, &right}) {
      Side& other = side == &left ? right : left;
      side->use = [&other](Spi spi) {
        const auto newest = other.outbound(reqid_of(0));
        const bool used = !newest.empty() && newest.front()->record.spi == spi;
        return SaUse{.spi = spi,
                     .packets = used,
                     .bytes = used,
                     .idle = used ? std::optional(milliseconds{0}) : std::nullopt};
      };
    }
    net.after_each = [this] {
      EXPECT_TRUE(carries(left, right)) << "left sends into nothing" << story();
      EXPECT_TRUE(carries(right, left)) << "right sends into nothing" << story();
      if (HasFailure()) net.after_each = {};
    };
    Side& victim = left_dies ? left : right;
    victim.die_after(moment);
    begin(scene, left_dies);
    bool died = false;
    for (int i = 0; i < 100; ++i) {
      settle(seconds{2});
      if (!victim.died()) continue;
      died = true;
      victim.restart();
    }
    expect_settled();
    return died;
  }

 private:
  // The side that dies begins to rekey the IKE SA, but the other hears only of its own rekeying and goes on
  // with what that made. After the death it is the other that is not heard for a while.
  void hear_late(bool left_dies) {
    net.filter = [this, left_dies, lost = 0, late = 0](Side& from, Datagram& datagram) mutable {
      const bool request = (datagram.bytes.at(19) & 0x20) == 0;
      const Side& victim = left_dies ? left : right;
      const bool creates = datagram.bytes.at(18) == static_cast<uint8_t>(ExchangeType::kCreateChildSa);
      if (!request) return true;
      if (&from == &victim) return !creates || ++lost > 1;
      return !victim.logged("died") || ++late > 2;
    };
  }
  void begin(Scene scene, bool left_dies) {
    const Rekey left_child{"right", "tunnel-0"}, right_child{"left", "tunnel-0"}, left_ike{"right", ""},
        right_ike{"left", ""};
    const auto is = [scene](auto... any) { return ((scene == any) || ...); };
    std::vector<std::pair<Side*, Command>> commands;
    if (is(Scene::kChildByUs, Scene::kBothChildren, Scene::kChildAgainstIke))
      commands.emplace_back(&left, left_child);
    if (is(Scene::kIkeByUs, Scene::kBothIke)) commands.emplace_back(&left, left_ike);
    if (is(Scene::kChildByPeer, Scene::kBothChildren)) commands.emplace_back(&right, right_child);
    if (is(Scene::kIkeByPeer, Scene::kBothIke, Scene::kChildAgainstIke))
      commands.emplace_back(&right, right_ike);
    if (is(Scene::kBothIkeAndThenTheChild))
      commands = {{&left, left_ike}, {&right, right_ike}, {&left, left_child}, {&right, right_child}};
    if (is(Scene::kIkeByPeerWhoHearsUsLate)) {
      hear_late(left_dies);
      commands = {{&left, left_ike}, {&right, right_ike}, {&left, left_child}, {&right, right_child}};
    }
    for (auto& [side, command] : commands) EXPECT_TRUE(side->command(command));
  }
};

bool Adopt::play(Scene scene, bool left_dies, uint64_t moment) {
  Stage stage(moment + 1);
  return stage.play(scene, left_dies, moment);
}

TEST_P(Adopt, AtEveryMoment) {
  const auto [scene, left_dies] = GetParam();
  uint64_t moment = 0;
  while (play(scene, left_dies, moment) && !HasFailure()) ++moment;
  EXPECT_FALSE(HasFailure()) << "dying before output " << moment;
  EXPECT_GE(moment, 3u) << "the scene had hardly anything to survive";
}
INSTANTIATE_TEST_SUITE_P(
    Scenes, Adopt,
    ::testing::Combine(::testing::Values(Scene::kChildByUs, Scene::kChildByPeer, Scene::kBothChildren,
                                         Scene::kIkeByUs, Scene::kIkeByPeer, Scene::kBothIke,
                                         Scene::kChildAgainstIke, Scene::kBothIkeAndThenTheChild,
                                         Scene::kIkeByPeerWhoHearsUsLate),
                       ::testing::Bool()));

class AdoptOnce : public Lab {};

TEST_F(AdoptOnce, AnIdleSideGoesOnWithoutAWord) {
  left_config.children = right_config.children = 2;
  configure(ConnectionType::kInitiate, ConnectionType::kRespond);
  settle();
  const size_t before = net.sent.size();
  const auto sas = left.sas();
  left.restart();
  right.restart();
  settle(seconds{60});
  EXPECT_EQ(net.sent.size(), before);
  EXPECT_EQ(left.sas().size(), sas.size());
  expect_settled(2);
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  settle(seconds{100});
  expect_settled(2);
}

TEST_F(AdoptOnce, DamagedStatesAreForgottenAndTheTunnelComesBack) {
  configure(ConnectionType::kInitiate, ConnectionType::kRespond);
  settle();
  auto& states = const_cast<std::map<uint64_t, Bytes>&>(left.states());
  for (size_t at = 0; at < states.begin()->second.size(); at += 97) {
    auto saved = states;
    states.begin()->second[at] ^= 0x40;
    left.restart();
    EXPECT_TRUE(left.established().empty()) << "byte " << at;
    EXPECT_TRUE(left.logged("forgotten"));
    states = saved;
  }
  left.restart();
  settle(seconds{100});
  expect_settled();
}

// The configuration changed while no process was there to see it.
TEST_F(AdoptOnce, AChildThatIsConfiguredOtherwiseIsDeleted) {
  left_config.children = right_config.children = 2;
  configure();
  bring_up();
  left_config.change = [](ConnectionConfig& c) {
    c.children[0].local.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a630000), 24)};
  };
  left.restart();
  settle(seconds{60});
  EXPECT_EQ(left.live_children().size(), 1u) << story();
  EXPECT_EQ(right.live_children().size(), 1u) << story();
  EXPECT_TRUE(left.outbound(reqid_of(0)).empty());
  EXPECT_TRUE(carries(left, right, 1) && carries(right, left, 1));
}

TEST_F(AdoptOnce, StateOfAPeerThatIsNotConfiguredAnyMore) {
  configure();
  bring_up();
  left.make_configuration = [] { return Configuration{}; };
  left.restart();
  EXPECT_TRUE(left.core().ike_sas(net.now).empty());
  EXPECT_TRUE(left.states().empty());
}

}  // namespace
}  // namespace espalier::ike::exchange

// What happens after establishing: liveness, deletes, retransmission, traffic by dataplane's events,
// reactions of the connection.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

class Lifecycle : public Lab {
 protected:
  void cut() {
    net.filter = [](Side&, Datagram&) { return false; };
    net.drop_all();
  }
  void mend() { net.filter = {}; }
};

TEST_F(Lifecycle, TerminateClosesBothSides) {
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Terminate{"right", ""}));
  settle(seconds{60});
  expect_down();
}

TEST_F(Lifecycle, TerminateByTheResponder) {
  configure();
  bring_up();
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{60});
  expect_down();
}

// What is being replaced while the operator ends it does not come back as its replacement.
TEST_F(Lifecycle, TerminateWhileItIsRekeyed) {
  left_config.children = right_config.children = 2;
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-1"}));
  ASSERT_TRUE(left.command(Terminate{"right", "tunnel-1"}));
  settle(seconds{100});
  EXPECT_EQ(left.live_children().size(), 1u) << story();
  EXPECT_EQ(right.live_children().size(), 1u) << story();
  expect_pairs();
  expect_no_orphans();
}

// An operator's wish outlives that the peer is busy.
TEST_F(Lifecycle, InitiateMeetsAnIkeRekeying) {
  left_config.children = right_config.children = 2;
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", "tunnel-0"}));
  settle();
  net.conditions.delay = milliseconds{20};
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  ASSERT_TRUE(left.command(Initiate{"right", "tunnel-1"}));
  settle(seconds{100});
  expect_settled(2);
}

TEST_F(Lifecycle, BothTerminateAtOnce) {
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Terminate{"right", ""}));
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{60});
  expect_down();
}

TEST_F(Lifecycle, OneChildIsTerminated) {
  left_config.children = right_config.children = 2;
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Terminate{"right", "tunnel-1"}));
  settle();
  EXPECT_EQ(left.established().size(), 1u);
  EXPECT_EQ(left.live_children().size(), 1u);
  EXPECT_EQ(right.live_children().size(), 1u);
  EXPECT_TRUE(carries(left, right, 0) && carries(right, left, 0));
  EXPECT_TRUE(left.outbound(reqid_of(1)).empty() && right.outbound(reqid_of(1)).empty());
}

// Section 2.25.1: both delete the same child; neither names it in its answer.
TEST_F(Lifecycle, BothDeleteTheSameChild) {
  left_config.children = right_config.children = 2;
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Terminate{"right", "tunnel-1"}));
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-1"}));
  settle();
  EXPECT_EQ(left.live_children().size(), 1u);
  EXPECT_EQ(right.live_children().size(), 1u);
  expect_pairs();
  expect_no_orphans();
}

TEST_F(Lifecycle, LostDeleteResponseIsRepeated) {
  configure();
  bring_up();
  int lost = 0;
  net.filter = [&](Side& from, Datagram&) { return &from != &right || lost++ > 0; };
  ASSERT_TRUE(left.command(Terminate{"right", ""}));
  settle(seconds{60});
  expect_down();
  EXPECT_EQ(right.core().counters().answered_again, 1u);
}

TEST_F(Lifecycle, LivenessIsAskedWhenIdle) {
  left_config.change = right_config.change = [](ConnectionConfig& c) { c.dpd_interval = seconds{10}; };
  right_config.change = {};
  configure();
  bring_up();
  const size_t before = net.sent.size();
  settle(seconds{65});
  const size_t exchanges = (net.sent.size() - before) / 2;
  EXPECT_GE(exchanges, 4u);
  EXPECT_LE(exchanges, 7u);
  expect_settled();
}

TEST_F(Lifecycle, TrafficIsLivenessEnough) {
  left_config.change = [](ConnectionConfig& c) { c.dpd_interval = seconds{10}; };
  configure();
  left.use = [](Spi spi) { return SaUse{.spi = spi, .packets = 5, .bytes = 500, .idle = milliseconds{100}}; };
  bring_up();
  const size_t before = net.sent.size();
  settle(seconds{65});
  EXPECT_EQ(net.sent.size(), before);
}

TEST_F(Lifecycle, DeadPeerRestart) {
  left_config.change = [](ConnectionConfig& c) {
    c.dpd_interval = seconds{10};
    c.dpd_action = DpdAction::kRestart;
  };
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle();
  cut();
  settle(seconds{250});
  EXPECT_TRUE(left.established().empty());
  EXPECT_TRUE(left.sas().empty());
  EXPECT_EQ(left.core().counters().dpd_lost, 1u);
  mend();
  settle(seconds{120});
  expect_settled();
}

TEST_F(Lifecycle, DeadPeerTrapWaitsForTraffic) {
  left_config.change = [](ConnectionConfig& c) {
    c.dpd_interval = seconds{10};
    c.dpd_action = DpdAction::kTrap;
  };
  configure(ConnectionType::kNone, ConnectionType::kNone);
  bring_up();
  cut();
  settle(seconds{250});
  mend();
  settle(seconds{120});
  EXPECT_TRUE(left.established().empty());
  left.event(Acquire{reqid_of(0), {}});
  settle();
  expect_settled();
}

TEST_F(Lifecycle, CloseActionStart) {
  left_config.change = [](ConnectionConfig& c) { c.close_action = CloseAction::kStart; };
  configure();
  bring_up();
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{60});
  expect_settled();
}

TEST_F(Lifecycle, CloseActionNone) {
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle();
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{60});
  expect_down();
}

TEST_F(Lifecycle, PeerThatForgotEverythingIsReplaced) {
  configure(ConnectionType::kInitiate, ConnectionType::kInitiate);
  settle(seconds{30});
  expect_settled();
  const auto empty = right.make_configuration();
  const_cast<std::map<uint64_t, Bytes>&>(right.states()).clear();
  right.restart();
  settle(seconds{60});
  expect_settled();
}

TEST_F(Lifecycle, HardLifetimeWithoutRekeyingEndsTheChild) {
  left_config.change = right_config.change = [](ConnectionConfig& c) {
    c.children[0].lifetime = seconds{60};
    c.children[0].rekey = false;
  };
  configure();
  bring_up();
  settle(seconds{90});
  EXPECT_TRUE(left.live_children().empty() && right.live_children().empty()) << story();
  EXPECT_TRUE(left.sas().empty() && right.sas().empty());
  EXPECT_EQ(left.established().size(), 1u);
}

TEST_F(Lifecycle, HardExpiryOfTheDataplane) {
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle();
  const Spi out = left.live_children().front().spi_out;
  left.event(Expire{.spi = out, .direction = Direction::kOut, .hard = true, .destination = kRight});
  settle(seconds{60});
  expect_settled();
  EXPECT_NE(left.live_children().front().spi_out, out);
}

TEST_F(Lifecycle, DataplaneRestartGetsAllSasAgain) {
  left_config.children = right_config.children = 2;
  configure();
  bring_up();
  left.event(DataplaneLost{});
  const auto before = left.sas();
  const_cast<std::map<SaKey, Installed>&>(left.sas()).clear();
  left.event(DataplaneReady{});
  EXPECT_EQ(left.sas().size(), before.size());
  expect_settled(2);
}

TEST_F(Lifecycle, UnchangedConfigurationTouchesNothing) {
  configure();
  bring_up();
  const size_t before = net.sent.size();
  left.configure(left.make_configuration());
  settle();
  EXPECT_EQ(net.sent.size(), before);
  expect_settled();
}

TEST_F(Lifecycle, ChangedChildAloneIsMadeAnew) {
  left_config.children = right_config.children = 2;
  configure(ConnectionType::kInitiate, ConnectionType::kRespond);
  settle();
  const auto before = left.live_children();
  const auto ike = left.established().front().initiator_spi;
  left_config.change =
      right_config.change = [](ConnectionConfig& c) { c.children[1].lifetime = seconds{1800}; };
  right.configure(right.make_configuration());
  left.configure(left.make_configuration());
  settle(seconds{60});
  expect_settled(2);
  EXPECT_EQ(left.established().front().initiator_spi, ike);
  const auto after = left.live_children();
  EXPECT_TRUE(std::ranges::any_of(after, [&](const auto& c) { return c.spi_in == before[0].spi_in; }))
      << story();
  EXPECT_FALSE(std::ranges::any_of(after, [&](const auto& c) { return c.spi_in == before[1].spi_in; }));
}

// The tunnel that IKE_AUTH was about to make is not configured any more when the answer comes.
TEST_F(Lifecycle, ChildRemovedWhileThePeerAuthenticates) {
  configure();
  net.filter = [&](Side& from, Datagram& datagram) {
    return &from != &right || datagram.bytes.at(18) != static_cast<uint8_t>(ExchangeType::kIkeAuth);
  };
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{1});
  left_config.change = [](ConnectionConfig& c) { c.children[0].name = "another"; };
  left.configure(left.make_configuration());
  net.filter = {};
  settle(seconds{60});
  EXPECT_EQ(left.established().size(), 1u) << story();
  EXPECT_TRUE(left.sas().empty() && right.sas().empty()) << story();
}

TEST_F(Lifecycle, NoLongerInitiates) {
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  cut();
  settle(seconds{30});
  left_config.type = ConnectionType::kRespond;
  left.configure(left.make_configuration());
  const size_t before = net.sent.size();
  mend();
  settle(seconds{300});
  EXPECT_EQ(net.sent.size(), before);
  expect_down();
}

TEST_F(Lifecycle, RemovedConnectionIsDeleted) {
  configure();
  bring_up();
  left.configure(Configuration{});
  settle(seconds{60});
  expect_down();
}

TEST_F(Lifecycle, ShutDownTellsThePeer) {
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle();
  left.shut_down();
  settle(seconds{60});
  expect_down();
}

TEST_F(Lifecycle, ReplayedAndReflectedDatagramsChangeNothing) {
  configure();
  bring_up();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  settle();
  const auto all = net.sent;
  const auto sas = left.sas().size();
  for (const Datagram& datagram : all) {
    left.receive(datagram.to, datagram.from, datagram.bytes);
    right.receive(datagram.to, datagram.from, datagram.bytes);
    left.receive(datagram.from, datagram.to, datagram.bytes);
    right.receive(datagram.from, datagram.to, datagram.bytes);
  }
  settle(seconds{60});
  expect_settled();
  EXPECT_EQ(left.sas().size(), sas);
}

}  // namespace
}  // namespace espalier::ike::exchange

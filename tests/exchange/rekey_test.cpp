// Rekeying of children and IKE SAs by either side, and every collision of RFC 7296 sections 2.8 and 2.25.
// While any of it happens, traffic always has an SA that the other side knows.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

class Rekeying : public Lab {
 protected:
  // No moment without SAs, from when this is called.
  void watch() {
    net.after_each = [this] {
      EXPECT_TRUE(carries(left, right)) << "left sends into nothing" << story();
      EXPECT_TRUE(carries(right, left)) << "right sends into nothing" << story();
      if (HasFailure()) net.after_each = {};
    };
  }
  void begin() {
    configure();
    bring_up();
    old_child_ = left.live_children().front();
    old_ike_ = left.established().front();
    if (watched_) watch();
  }
  void expect_new_child() {
    settle(seconds{70});
    expect_settled();
    EXPECT_NE(left.live_children().front().spi_in, old_child_.spi_in);
  }
  void expect_new_ike() {
    settle(seconds{120});
    expect_settled();
    EXPECT_NE(left.established().front().initiator_spi, old_ike_.initiator_spi);
  }
  // The peer hears of traffic at once, or never.
  void traffic(bool seen) {
    for (Side* side : {&left, &right})
      side->use = [seen](Spi spi) {
        return SaUse{.spi = spi,
                     .packets = seen,
                     .bytes = seen,
                     .idle = seen ? std::optional(milliseconds{0}) : std::nullopt};
      };
  }
  bool watched_ = true;
  ChildReport old_child_;
  IkeSaReport old_ike_;
};

TEST_F(Rekeying, ChildByTheInitiator) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  expect_new_child();
  EXPECT_EQ(left.core().counters().child_rekeyed, 1u);
  EXPECT_EQ(right.core().counters().child_rekeyed, 1u);
}

TEST_F(Rekeying, ChildByTheResponder) {
  begin();
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-0"}));
  expect_new_child();
}

TEST_F(Rekeying, ChildWithoutPfs) {
  left_config.change =
      right_config.change = [](ConnectionConfig& c) { c.children[0].suites = {esp_suite(0)}; };
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  expect_new_child();
}

TEST_F(Rekeying, ChildWithAnotherGroup) {
  left_config.change = [](ConnectionConfig& c) { c.children[0].suites = {esp_suite(19), esp_suite(31)}; };
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  expect_new_child();
  EXPECT_NE(left.live_children().front().suite.find("dh31"), std::string::npos);
}

TEST_F(Rekeying, ResponderSwitchesWhenThePeerUsesTheNewOne) {
  traffic(true);
  begin();
  net.filter = [&](Side& from, Datagram&) {
    return &from != &left || net.sent.size() <= 5;
  };  // the delete is lost
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  settle(seconds{3});
  const auto newest = right.outbound(reqid_of(0)).front()->record.spi;
  EXPECT_NE(newest, old_child_.spi_in);
  net.filter = {};
  expect_new_child();
}

TEST_F(Rekeying, ResponderDoesNotSwitchBefore) {
  begin();
  net.filter = [&](Side& from, Datagram&) { return &from != &left || net.sent.size() <= 5; };
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  settle(seconds{3});
  EXPECT_EQ(right.outbound(reqid_of(0)).front()->record.spi, old_child_.spi_in);
  net.filter = {};
  expect_new_child();
}

TEST_F(Rekeying, OldInboundDrains) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  settle(seconds{3});
  const auto has_old = [&] {
    return left.sas().contains({Direction::kIn, old_child_.spi_in.value, kLeft}) &&
           right.sas().contains({Direction::kIn, old_child_.spi_out.value, kRight});
  };
  EXPECT_TRUE(has_old());
  settle(seconds{10});
  EXPECT_FALSE(has_old());
}

TEST_F(Rekeying, IkeByTheInitiator) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  expect_new_ike();
  EXPECT_EQ(left.live_children().front().spi_in, old_child_.spi_in);
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-0"}));
  expect_new_child();
}

TEST_F(Rekeying, IkeByTheResponder) {
  begin();
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  expect_new_ike();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  expect_new_child();
}

TEST_F(Rekeying, IkeAgainAndAgain) {
  begin();
  for (int i = 0; i < 6; ++i) {
    Side& side = i % 2 == 0 ? left : right;
    ASSERT_TRUE(side.command(Rekey{i % 2 == 0 ? "right" : "left", ""}));
    settle(seconds{3});
  }
  expect_new_ike();
  EXPECT_EQ(left.core().counters().ike_rekeyed, 6u);
}

// Section 2.8.1. The order of the datagrams is left to the delays of each direction.
TEST_F(Rekeying, BothRekeyTheChild) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-0"}));
  expect_new_child();
}

// Section 2.8.2.
TEST_F(Rekeying, BothRekeyTheIkeSa) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  expect_new_ike();
}

TEST_F(Rekeying, ChildAgainstIke) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  settle(seconds{120});
  expect_settled();
  EXPECT_TRUE(left.live_children().front().spi_in != old_child_.spi_in ||
              left.established().front().initiator_spi != old_ike_.initiator_spi);
}

TEST_F(Rekeying, ChildRekeyAgainstIkeDelete) {
  watched_ = false;
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{120});
  expect_down();
}

TEST_F(Rekeying, IkeRekeyAgainstIkeDelete) {
  watched_ = false;
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  ASSERT_TRUE(right.command(Terminate{"left", ""}));
  settle(seconds{120});
  expect_down();
}

TEST_F(Rekeying, ChildRekeyAgainstChildDelete) {
  watched_ = false;
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-0"}));
  settle(seconds{120});
  expect_pairs();
  expect_no_orphans();
  EXPECT_EQ(left.live_children().size(), right.live_children().size());
  EXPECT_EQ(left.established().size(), 1u);
}

TEST_F(Rekeying, IkeRekeyAgainstChildDelete) {
  left_config.children = right_config.children = 2;
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-1"}));
  settle(seconds{120});
  EXPECT_EQ(left.live_children().size(), 1u) << story();
  EXPECT_EQ(right.live_children().size(), 1u);
  expect_pairs();
  expect_no_orphans();
}

// What the peer's rekeying made waits beside the old IKE SA, after a restart perhaps in front of it. Which
// one remains is chance.
class RekeyingChances : public Rekeying, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Chances, RekeyingChances, ::testing::Range(0, 8));

TEST_P(RekeyingChances, TheIkeSaAgainWhileTwoCollide) {
  begin();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  settle();
  const auto old = left.established().front();
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  ASSERT_TRUE(right.command(Rekey{"left", ""}));
  settle(milliseconds{12});
  ASSERT_EQ(left.core().ike_sas(net.now).size(), 2u) << "they did not collide";
  net.drop_all();
  left.restart();
  int answers = 0, deletes = 0;  // of right on the old IKE SA, lost for a while
  net.filter = [&](Side& from, Datagram& datagram) {
    be64 spi;
    std::memcpy(&spi, datagram.bytes.data(), sizeof spi);
    const bool answer = (datagram.bytes.at(19) & 0x20) != 0;
    if (&from != &right || spi.host() != old.initiator_spi) return true;
    return answer ? ++answers > 2 : ++deletes > 2;
  };
  ASSERT_TRUE(left.command(Rekey{"right", ""}));
  expect_new_ike();
}

// All the collisions once more, with each direction's datagrams delayed differently, so that requests and
// answers meet in every order.
class RekeyingOrders : public Rekeying, public ::testing::WithParamInterface<std::tuple<int, int>> {
 protected:
  void run(const Command& ours, const Command& theirs) {
    begin();
    const auto [kind, gap] = GetParam();
    net.conditions.delay = milliseconds{20};
    net.conditions.jitter = milliseconds{kind * 15};
    ASSERT_TRUE(left.command(ours));
    settle(milliseconds{gap});
    ASSERT_TRUE(right.command(theirs));
  }
};

TEST_P(RekeyingOrders, Children) {
  run(Rekey{"right", "tunnel-0"}, Rekey{"left", "tunnel-0"});
  expect_new_child();
}
TEST_P(RekeyingOrders, IkeSas) {
  run(Rekey{"right", ""}, Rekey{"left", ""});
  expect_new_ike();
}
TEST_P(RekeyingOrders, ChildAndIke) {
  run(Rekey{"right", "tunnel-0"}, Rekey{"left", ""});
  settle(seconds{120});
  expect_settled();
}
TEST_P(RekeyingOrders, IkeAndChild) {
  run(Rekey{"right", ""}, Rekey{"left", "tunnel-0"});
  settle(seconds{120});
  expect_settled();
}
TEST_P(RekeyingOrders, ChildAndItsDelete) {
  watched_ = false;
  run(Rekey{"right", "tunnel-0"}, Terminate{"left", "tunnel-0"});
  settle(seconds{120});
  expect_pairs();
  expect_no_orphans();
  EXPECT_EQ(left.live_children().size(), right.live_children().size()) << story();
  EXPECT_EQ(left.established().size(), 1u);
  EXPECT_EQ(right.established().size(), 1u);
}
TEST_P(RekeyingOrders, IkeAndItsDelete) {
  watched_ = false;
  run(Rekey{"right", ""}, Terminate{"left", ""});
  settle(seconds{250});
  expect_pairs();
  expect_no_orphans();
  EXPECT_EQ(left.established().size(), right.established().size()) << story();
}
INSTANTIATE_TEST_SUITE_P(AllGaps, RekeyingOrders,
                         ::testing::Combine(::testing::Values(0, 1, 4),
                                            ::testing::Values(0, 5, 15, 19, 21, 25, 35, 41, 45, 61)));

}  // namespace
}  // namespace espalier::ike::exchange

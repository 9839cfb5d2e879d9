// Two children for the same traffic: however they came about, one remains on both sides, and traffic never
// notices. And deletes that overtake what made the child.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

bool is_answer_of(const Datagram& datagram, ExchangeType exchange) {
  constexpr uint8_t kResponse = 0x20;
  return datagram.bytes.at(18) == static_cast<uint8_t>(exchange) && (datagram.bytes.at(19) & kResponse) != 0;
}

class Duplicate : public Lab, public ::testing::WithParamInterface<int> {
 protected:
  // tunnel-0 is up, tunnel-1 configured.
  void begin() {
    left_config.children = right_config.children = 2;
    configure();
    ASSERT_TRUE(left.command(Initiate{"right", "tunnel-0"}));
    settle();
    ASSERT_EQ(left.live_children().size(), 1u);
  }
  void both_create() {
    ASSERT_TRUE(left.command(Initiate{"right", "tunnel-1"}));
    ASSERT_TRUE(right.command(Initiate{"left", "tunnel-1"}));
  }
  // The answers to left's CREATE_CHILD_SA are lost until hear().
  void deafen() {
    net.filter = [this](Side& from, Datagram& datagram) {
      return &from != &right || !is_answer_of(datagram, ExchangeType::kCreateChildSa);
    };
  }
  void hear() { net.filter = {}; }
  size_t watched_child_ = 1;
  void watch() {
    net.after_each = [this] {
      EXPECT_TRUE(carries(left, right, watched_child_)) << "left sends into nothing" << story();
      EXPECT_TRUE(carries(right, left, watched_child_)) << "right sends into nothing" << story();
      if (HasFailure()) net.after_each = {};
    };
  }
};

// Who has the lower nonce is chance, so several times.
INSTANTIATE_TEST_SUITE_P(Chances, Duplicate, ::testing::Range(0, 8));

TEST_P(Duplicate, BothCreateAtOnce) {
  begin();
  both_create();
  settle(seconds{1});
  EXPECT_EQ(left.live_children().size(), 3u) << "it was no race" << story();
  watch();
  settle(seconds{60});
  expect_settled(2);
}

// The other side's child is another one when the answer comes that tells of ours.
TEST_P(Duplicate, OneIsRekeyedBeforeTheAnswerComes) {
  begin();
  deafen();
  both_create();
  settle(seconds{1});
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-1"}));
  settle(seconds{1});
  hear();
  settle(seconds{60});
  expect_settled(2);
}

// And when the answer comes late, with one of the last repetitions.
TEST_P(Duplicate, TheAnswerComesLate) {
  begin();
  deafen();
  both_create();
  settle(seconds{80});
  hear();
  settle(seconds{200});
  expect_settled(2);
}

// A child and what replaces it are no duplicates, however long a rekeying takes that collided with another.
TEST_P(Duplicate, TheReplacementIsNone) {
  configure();
  bring_up();
  net.filter = [this](Side& from, Datagram& datagram) {
    if (&from == &left) return datagram.bytes.at(18) != static_cast<uint8_t>(ExchangeType::kInformational);
    return datagram.bytes.at(18) != static_cast<uint8_t>(ExchangeType::kCreateChildSa) ||
           is_answer_of(datagram, ExchangeType::kCreateChildSa);
  };
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-0"}));
  settle(seconds{60});
  EXPECT_TRUE(carries(left, right) && carries(right, left)) << story();
  EXPECT_FALSE(left.logged("duplicate") || right.logged("duplicate")) << story();
  hear();
  settle(seconds{200});
  expect_settled();
}

// The peer's child won and was rekeyed again before the answer to our own rekeying came.
TEST_P(Duplicate, TheRivalIsRekeyedMeanwhile) {
  configure();
  bring_up();
  watched_child_ = 0;
  watch();
  net.filter = [this](Side& from, Datagram& datagram) {
    return &from != &left || !is_answer_of(datagram, ExchangeType::kCreateChildSa);
  };
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  ASSERT_TRUE(right.command(Rekey{"left", "tunnel-0"}));
  settle(seconds{2});
  (void)left.command(Rekey{"right", "tunnel-0"});
  settle(seconds{2});
  hear();
  settle(seconds{200});
  expect_settled();
}

using DeleteOvertakes = Duplicate;
INSTANTIATE_TEST_SUITE_P(Once, DeleteOvertakes, ::testing::Values(0));

TEST_P(DeleteOvertakes, TheCreating) {
  begin();
  deafen();
  ASSERT_TRUE(left.command(Initiate{"right", "tunnel-1"}));
  settle(seconds{1});
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-1"}));
  settle(seconds{1});
  left.restart();  // it is not forgotten by that
  hear();
  settle(seconds{60});
  EXPECT_EQ(left.live_children().size(), 1u) << story();
  EXPECT_EQ(right.live_children().size(), 1u) << story();
  expect_pairs();
  expect_no_orphans();
}

TEST_P(DeleteOvertakes, TheRekeying) {
  begin();
  deafen();
  ASSERT_TRUE(left.command(Rekey{"right", "tunnel-0"}));
  settle(seconds{1});
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-0"}));
  settle(seconds{1});
  hear();
  settle(seconds{60});
  EXPECT_TRUE(left.live_children().empty() && right.live_children().empty()) << story();
  EXPECT_TRUE(left.sas().empty() && right.sas().empty());
}

}  // namespace
}  // namespace espalier::ike::exchange

// control/shared/replay_window.hpp against a naive model: the set of all accepted numbers and the highest.
#include "control/shared/replay_window.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>

#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

using test::offer;

static_assert(!std::is_copy_constructible_v<ReplayWindow::Ticket>);
static_assert(!std::is_default_constructible_v<ReplayWindow::Ticket>);
static_assert(replay_words(0) == 0 && replay_words(1) == 1 && replay_words(2) == 2 && replay_words(65) == 2 &&
              replay_words(66) == 4 && replay_words(1024) == 32 && replay_words(65536) == 2048);

constexpr uint64_t kLast = 0xffffffff;  // without ESN

struct OwnedWindow {
  explicit OwnedWindow(uint32_t size, bool esn = false, uint64_t seen = 0)
      : words(std::max(1u, replay_words(size))), view(&state, words.data(), size, esn, nullptr) {
    state.reset(seen);
  }
  ReplayState state{};
  std::vector<std::atomic<uint64_t>> words;
  ReplayWindow view;
};

// RFC 4303 section 3.4.3, without any idea of bitmaps.
class Model {
 public:
  explicit Model(uint64_t size) : size_(size) {}
  bool would_accept(uint64_t number) const {
    if (size_ == 0) return true;
    return number != 0 && number + size_ > top_ && !accepted_.contains(number);
  }
  bool accept(uint64_t number) {
    if (!would_accept(number)) return false;
    accepted_.insert(number);
    top_ = std::max(top_, number);
    return true;
  }
  uint64_t top() const { return top_; }

 private:
  uint64_t size_;
  uint64_t top_ = 0;
  std::set<uint64_t> accepted_;
};

class EverySize : public testing::TestWithParam<uint32_t> {
 protected:
  void expect_same(uint64_t number) {
    ASSERT_EQ(window_.view.check(static_cast<uint32_t>(number)).has_value(), model_.would_accept(number))
        << "number " << number << ", top " << model_.top() << ", size " << GetParam();
    ASSERT_EQ(offer(window_.view, number), model_.accept(number)) << number;
  }
  OwnedWindow window_{GetParam()};
  Model model_{GetParam()};
  std::mt19937_64 random_{6479};
};
INSTANTIATE_TEST_SUITE_P(Sizes, EverySize,
                         testing::Values(0, 1, 2, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 1000, 1023, 1024,
                                         1025, 4096, 65535, 65536));

TEST_P(EverySize, EdgesAreExact) {
  const uint64_t size = GetParam();
  expect_same(0);
  for (const uint64_t top :
       {uint64_t{1}, uint64_t{5}, size, size + 1, size + 63, size + 64, 3 * size + 200, uint64_t{1000000}}) {
    expect_same(top);
    expect_same(top);
    for (const uint64_t back :
         {size - 2, size - 1, size, size + 1, size + 63, size + 64, size + 65, 2 * size})
      if (back <= top) expect_same(top - back);
  }
}

TEST_P(EverySize, RandomWalk) {
  const uint64_t size = GetParam();
  for (int i = 0; i < 30000; ++i) {
    const uint64_t kind = random_() % 100;
    const uint64_t back = random_() % (size + 80);
    uint64_t number = model_.top() + 1;
    if (kind < 40 && back <= model_.top()) number = model_.top() - back;
    if (kind >= 90) number = model_.top() + random_() % 70;
    if (kind >= 98) number = model_.top() + random_() % (3 * size + 100);
    expect_same(number);
  }
}

// Jumps by whole windows and words, then everything around the edges again: what a cleared word may forget.
TEST_P(EverySize, JumpsAndWhatIsLeftBehind) {
  const uint64_t size = GetParam();
  for (const uint64_t jump : {uint64_t{1}, uint64_t{63}, uint64_t{64}, uint64_t{65}, size - 1, size, size + 1,
                              2 * size, size + 64, uint64_t{64} * (replay_words(GetParam()) - 1),
                              uint64_t{64} * replay_words(GetParam()), uint64_t{1} << 20}) {
    if (jump > kLast) continue;
    for (int i = 0; i < 40; ++i) expect_same(model_.top() + 1 + random_() % 2);
    const uint64_t old_top = model_.top();
    expect_same(old_top + jump);
    for (uint64_t number = old_top > 100 ? old_top - 100 : 0; number < old_top + 3; ++number)
      expect_same(number);
  }
}

TEST_P(EverySize, EndsAtTheLastNumber) {
  const uint64_t size = GetParam();
  expect_same(kLast - 70);
  expect_same(kLast);
  expect_same(kLast);
  for (const uint64_t back : {uint64_t{1}, size - 1, size, size + 1})
    if (back < kLast) expect_same(kLast - back);
  // The sender starts again: without ESN that is nothing but old.
  for (uint64_t number = 0; number < 10; ++number) expect_same(number);
}

// Without ESN the last number is 2^32-1, and there the window stays: what a sender counts on with is too old.
TEST_P(EverySize, NothingComesAfterTheLastNumber) {
  if (GetParam() == 0) return;
  expect_same(kLast);
  for (uint64_t low = 0; low < 200; ++low)
    ASSERT_FALSE(window_.view.check(static_cast<uint32_t>(kLast + 1 + low))) << low;
}

TEST_P(EverySize, ResetRefusesAllThatWasSeen) {
  if (GetParam() == 0) return;
  window_.state.reset(5000);
  EXPECT_FALSE(offer(window_.view, 5000));
  EXPECT_FALSE(offer(window_.view, 4999));
  EXPECT_TRUE(offer(window_.view, 5001));
  EXPECT_FALSE(offer(window_.view, 5001));
}

// RFC 4303 section 3.4.3: a window of 32 with top 100 takes 69 (top - 31), not 68 (top - 32).
TEST(ReplayWindow32, TakesTopMinus31Only) {
  OwnedWindow window(32);
  ASSERT_TRUE(offer(window.view, 100));
  EXPECT_TRUE(offer(window.view, 69));
  EXPECT_FALSE(offer(window.view, 68));
}

TEST(ReplayWindow, TwoTicketsForOneNumberGiveOneCommit) {
  OwnedWindow window(64);
  auto first = window.view.check(7);
  auto second = window.view.check(7);
  ASSERT_TRUE(first && second);
  ReplayWindow::Run run(window.view);
  EXPECT_TRUE(run.commit(std::move(*first), test::real_proof()));
  EXPECT_FALSE(run.commit(std::move(*second), test::real_proof()));
}

// Between check and commit the window moved on: too old now.
TEST(ReplayWindow, TicketsExpireWhenTheWindowMovesOn) {
  OwnedWindow window(64);
  auto ticket = window.view.check(7);
  ASSERT_TRUE(offer(window.view, 71));
  EXPECT_FALSE(ReplayWindow::Run(window.view).commit(std::move(*ticket), test::real_proof()));
}

TEST(ReplayWindow, ACheckAloneChangesNothing) {
  OwnedWindow window(64);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(window.view.check(1000));
  EXPECT_TRUE(offer(window.view, 1));
}

// With ESN. The sender's 64-bit numbers go over the wire as 32 bits; the model is told the whole number, and
// a packet whose number the window infers wrongly is one whose ICV would fail.
class EverySizeWithEsn : public testing::TestWithParam<uint32_t> {
 protected:
  static constexpr uint64_t kBorder = uint64_t{1} << 32;
  static constexpr uint64_t kStart = kBorder - 300'000;
  struct Outcome {
    bool refused = false;    // by the check: counts as replay
    bool icv_fails = false;  // another number was inferred
    bool accepted = false;
    friend bool operator==(Outcome, Outcome) = default;
  };
  EverySizeWithEsn() : window_(GetParam(), true, kStart), model_(GetParam()) { model_.accept(kStart); }

  Outcome receive(uint64_t number) {
    auto ticket = window_.view.check(static_cast<uint32_t>(number));
    if (!ticket) return {.refused = true};
    if (ticket->number().value != number) return {.icv_fails = true};
    const bool accepted = ReplayWindow::Run(window_.view).commit(std::move(*ticket), test::real_proof());
    return {.accepted = accepted};
  }
  void expect_same(uint64_t number) {
    const bool too_old = number + GetParam() <= model_.top();
    const Outcome expected = model_.accept(number) ? Outcome{.accepted = true}
                             : too_old             ? Outcome{.icv_fails = true}
                                                   : Outcome{.refused = true};
    ASSERT_EQ(receive(number), expected)
        << number - kBorder << " from 2^32, size " << GetParam() << ", top " << model_.top() - kBorder;
  }
  OwnedWindow window_;
  Model model_;
  std::mt19937_64 random_{4304};
};
INSTANTIATE_TEST_SUITE_P(Sizes, EverySizeWithEsn,
                         testing::Values(1, 2, 31, 32, 33, 63, 64, 65, 128, 1000, 1024, 4096, 65535, 65536));

TEST_P(EverySizeWithEsn, RandomWalkAcross32Bits) {
  bool crossed = false;
  for (int i = 0; i < 40000; ++i) {
    const uint64_t kind = random_() % 100;
    uint64_t number = model_.top() + 1;
    if (kind < 40) number = std::max(kStart, model_.top() - random_() % (GetParam() + 80));
    if (kind >= 90) number = model_.top() + random_() % 70;
    if (kind >= 98) number = model_.top() + random_() % (3 * GetParam() + 100);
    expect_same(number);
    crossed |= model_.top() > kBorder + 2 * GetParam();
    if (i == 20000 && !crossed) expect_same(kBorder - 5);
  }
  EXPECT_TRUE(crossed);
}

TEST_P(EverySizeWithEsn, EdgesAroundTheBorder) {
  const uint64_t size = GetParam();
  for (const uint64_t top : {kBorder - 1, kBorder, kBorder + 1, kBorder + size - 2, kBorder + size - 1,
                             kBorder + size, kBorder + size + 64, 2 * kBorder + 3, 3 * kBorder - 70'000}) {
    if (top < model_.top()) continue;
    expect_same(top);
    expect_same(top);
    for (const uint64_t back : {uint64_t{1}, size - 1, size, size + 1, size + 64}) expect_same(top - back);
  }
}

// packet-order.md, "Extended sequence numbers": a window of 128 that crosses 2^32.
TEST(ReplayWindowWithEsn, JustOutsideOfTheWindowFailsTheIcvAsInLinux) {
  OwnedWindow window(128, true, 0xffffffc0);
  ASSERT_TRUE(offer(window.view, 0x1'0000'0040));
  const auto high_half = [&](uint32_t low) {
    const auto ticket = window.view.check(low);
    return ticket ? std::optional(ticket->number().value >> 32) : std::nullopt;
  };
  EXPECT_EQ(high_half(0xffffffc1), 0u) << "the lowest in the window";
  EXPECT_EQ(high_half(0xffffffc0), 1u) << "just outside: taken for a number far ahead";
  EXPECT_EQ(high_half(0x41), 1u);
  EXPECT_EQ(high_half(0x40), std::nullopt) << "seen";
}

TEST(ReplayWindowWithEsn, BeginsWithNumberOne) {
  OwnedWindow window(64, true);
  EXPECT_FALSE(window.view.check(0));
  EXPECT_FALSE(window.view.check(0xffffffff)) << "before the first";
  EXPECT_TRUE(offer(window.view, 1));
}

// A peer that jumps to the end must not bring the window into a state that no one can go on from.
TEST(ReplayWindowWithEsn, EndsBeforeTheLastOf64Bits) {
  OwnedWindow window(64, true, kLastExtendedNumber - 10);
  EXPECT_FALSE(window.view.check(0xffffffff));
  EXPECT_TRUE(offer(window.view, kLastExtendedNumber));
  EXPECT_FALSE(window.view.check(0));
  window.state.reset(window.state.top);
  EXPECT_NE(window.state.floor, 0u);
}

// RFC 4303 appendix A2.2, cases A and B, W = 64.
TEST(ExtendedNumber, FollowsAppendixA) {
  constexpr uint64_t kHigh = uint64_t{5} << 32;
  // A: T = 5:1000, the window is 937..1000.
  EXPECT_EQ(guess_extended_number(kHigh + 1000, 64, 1000), kHigh + 1000);
  EXPECT_EQ(guess_extended_number(kHigh + 1000, 64, 1001), kHigh + 1001);
  EXPECT_EQ(guess_extended_number(kHigh + 1000, 64, 937), kHigh + 937);
  EXPECT_EQ(guess_extended_number(kHigh + 1000, 64, 936), (uint64_t{6} << 32) + 936);
  EXPECT_EQ(guess_extended_number(kHigh + 1000, 64, 0xffffffff), kHigh + 0xffffffff);
  // B: T = 5:10, the window began at 4:0xffffffcb.
  EXPECT_EQ(guess_extended_number(kHigh + 10, 64, 10), kHigh + 10);
  EXPECT_EQ(guess_extended_number(kHigh + 10, 64, 0xffffffca), kHigh + 0xffffffca);
  EXPECT_EQ(guess_extended_number(kHigh + 10, 64, 0xffffffcb), (uint64_t{4} << 32) + 0xffffffcb);
  // The border between the cases: Tl = W - 1 and Tl = W - 2.
  EXPECT_EQ(guess_extended_number(kHigh + 63, 64, 0), kHigh);
  EXPECT_EQ(guess_extended_number(kHigh + 62, 64, 0xffffffff), (uint64_t{4} << 32) + 0xffffffff);
}

TEST(ExtendedNumber, ThereIsNothingBeforeTheFirst) {
  EXPECT_EQ(guess_extended_number(0, 64, 1), 1u);
  EXPECT_EQ(guess_extended_number(0, 64, 0xffffffff), std::nullopt);
  EXPECT_EQ(guess_extended_number(0xffffffff'ffffffff, 64, 0), std::nullopt);
}

// Against the definition: the guess is the number with these low bits that lies in the window or soonest
// above.
TEST(ExtendedNumber, IsTheOnlyOneFromTheBottomOn) {
  std::mt19937_64 random(4303);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t top = (random() % 4 + 1) << 32 | (random() % 2 ? random() % 200 : random() & 0xffffffff);
    const auto size = static_cast<uint32_t>(1 + random() % 128);
    const auto low = static_cast<uint32_t>(random() % 2 ? top + random() % 400 - 200 : random());
    const uint64_t bottom = top - size + 1;
    uint64_t expected = (bottom & ~uint64_t{0xffffffff}) | low;
    if (expected < bottom) expected += uint64_t{1} << 32;
    ASSERT_EQ(guess_extended_number(top, size, low), expected) << top << " " << size << " " << low;
  }
}

}  // namespace
}  // namespace espalier

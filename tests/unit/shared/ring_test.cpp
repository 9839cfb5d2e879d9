#include "control/shared/ring.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <memory>
#include <thread>
#include <vector>

namespace espalier {
namespace {

message::Slot numbered(uint64_t n) {
  return message::make(message::Query{.kind = message::QueryKind::kRoutes, .cursor = n * n, .filter = {}}, n,
                       0);
}

bool is_numbered(const message::Slot& slot, uint64_t n) {
  message::Query query;
  return slot.header.request_id == n && message::read(slot, query) && query.cursor == n * n;
}

ChannelFds fds_for_peer(const Channel& channel) {
  const auto fds = channel.descriptors();
  return {Fd(::dup(fds[0])), Fd(::dup(fds[1])), Fd(::dup(fds[2]))};
}

struct Pair {
  Channel creator;
  Channel attacher;
};

Pair make_pair(uint32_t slots) {
  auto creator = Channel::create(slots);
  EXPECT_TRUE(creator) << creator.error().text;
  auto attacher = Channel::attach(fds_for_peer(*creator));
  EXPECT_TRUE(attacher) << attacher.error().text;
  return {std::move(*creator), std::move(*attacher)};
}

// What a hostile or broken peer sees: the raw memory of the channel.
struct RawView {
  explicit RawView(const Channel& channel)
      : segment(*Segment::attach(Fd(::dup(channel.descriptors()[0])), sizeof(RingPositions))),
        positions(reinterpret_cast<RingPositions*>(segment.data())),
        slots(reinterpret_cast<message::Slot*>(segment.data() + 2 * sizeof(RingPositions))) {}
  Segment segment;
  RingPositions* positions;  // [0]: creator to attacher, [1]: back
  message::Slot* slots;
};

bool is_readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

TEST(Channel, CarriesMessagesInOrderBothWaysAndSaysWhenFull) {
  auto [a, b] = make_pair(4);
  message::Slot slot;
  for (uint64_t round = 0; round < 10; ++round) {
    for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(a.send(numbered(round * 4 + n)));
    EXPECT_FALSE(a.send(numbered(99)));
    EXPECT_FALSE(a.broken());
    for (uint64_t n = 0; n < 4; ++n) {
      ASSERT_TRUE(b.receive(slot));
      EXPECT_TRUE(is_numbered(slot, round * 4 + n));
      ASSERT_TRUE(b.send(slot));
    }
    EXPECT_FALSE(b.receive(slot));
    for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(a.receive(slot) && is_numbered(slot, round * 4 + n));
  }
}

TEST(Channel, TheConsumerWipesTheSlot) {
  auto [a, b] = make_pair(2);
  message::Sa sa;
  std::fill(std::begin(sa.record.key), std::end(sa.record.key), 0xa5);
  RawView raw(a);
  ASSERT_TRUE(a.send(message::make(sa, 1, 1)));
  const std::array<std::byte, sizeof(message::Slot)> zeros{};
  EXPECT_NE(std::memcmp(&raw.slots[0], &zeros, sizeof zeros), 0);
  message::Slot slot;
  ASSERT_TRUE(b.receive(slot));
  EXPECT_EQ(std::memcmp(&raw.slots[0], &zeros, sizeof zeros), 0);
}

TEST(Channel, RefusesSizesThatNoChannelHas) {
  EXPECT_FALSE(Channel::create(0));
  EXPECT_FALSE(Channel::create(3));
  EXPECT_FALSE(Channel::create(131072));
  auto real = Channel::create(2);
  ASSERT_TRUE(real);
  for (const size_t bytes : {size_t{64}, size_t{384}, size_t{384 + 1024 - 1}, size_t{384 + 3 * 1024}}) {
    auto segment = Segment::create("not-a-channel", bytes);
    auto fds = fds_for_peer(*real);
    fds.memory = segment->fd().duplicate();
    EXPECT_FALSE(Channel::attach(std::move(fds))) << bytes;
  }
}

TEST(Segment, RefusesWhatCanBeShrunkUnderTheReader) {
  Fd unsealed(::memfd_create("unsealed", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 4096), 0);
  EXPECT_FALSE(Segment::attach(std::move(unsealed), 4096));
  auto sealed = Segment::create("sealed", 4096);
  ASSERT_TRUE(sealed);
  EXPECT_NE(::ftruncate(sealed->fd().get(), 0), 0);
  EXPECT_TRUE(Segment::attach(sealed->fd().duplicate(), 4096));
  EXPECT_FALSE(Segment::attach(sealed->fd().duplicate(), 4097));
  EXPECT_TRUE(Segment::attach(sealed->fd().duplicate(), {1, 4096}));
  EXPECT_FALSE(Segment::attach(sealed->fd().duplicate(), {1, 4095}));
  EXPECT_FALSE(Segment::attach(Fd(::open("/dev/null", O_RDWR)), 0));
}

// Every distance that is larger than the ring must break it, whichever side lies, and it must stay broken.
TEST(Channel, GarbageInThePositionsBreaksItForGood) {
  for (const uint64_t garbage : {uint64_t{6}, uint64_t{1} << 32, ~uint64_t{9}, uint64_t{1} << 63}) {
    auto [a, b] = make_pair(4);
    RawView raw(a);
    message::Slot slot;
    ASSERT_TRUE(a.send(numbered(0)));
    raw.positions[0].head.store(garbage);  // the producer lies
    EXPECT_FALSE(b.receive(slot));
    EXPECT_TRUE(b.broken());
    raw.positions[0].head.store(1);
    EXPECT_FALSE(b.receive(slot)) << "a broken ring was resumed";
    EXPECT_FALSE(b.prepare_to_wait()) << "would sleep on a broken ring";

    ASSERT_TRUE(a.send(numbered(1)));
    raw.positions[0].tail.store(garbage);  // the consumer lies
    EXPECT_FALSE(a.send(numbered(2)));
    EXPECT_TRUE(a.broken());
    raw.positions[0].tail.store(0);
    EXPECT_FALSE(a.send(numbered(2))) << "a broken ring was resumed";
  }
}

TEST(Channel, OwnPositionsAreNotReadBack) {
  auto [a, b] = make_pair(4);
  RawView raw(a);
  message::Slot slot;
  raw.positions[0].head.store(77);  // scribbled on by the peer before we publish
  ASSERT_TRUE(a.send(numbered(0)));
  EXPECT_EQ(raw.positions[0].head.load(), 1u);
  ASSERT_TRUE(b.receive(slot));
  raw.positions[0].tail.store(1);
  ASSERT_TRUE(a.send(numbered(1)));
  raw.positions[0].tail.store(50);
  EXPECT_TRUE(b.receive(slot) && is_numbered(slot, 1));
  EXPECT_EQ(raw.positions[0].tail.load(), 2u);
}

TEST(Channel, WakesOnlyWhoSaidThatItSleeps) {
  auto [a, b] = make_pair(4);
  message::Slot slot;
  ASSERT_TRUE(a.send(numbered(0)));
  EXPECT_FALSE(is_readable(b.wait_fd()));
  EXPECT_FALSE(b.prepare_to_wait()) << "there is something to receive";
  ASSERT_TRUE(b.receive(slot));
  EXPECT_TRUE(b.prepare_to_wait());
  ASSERT_TRUE(a.send(numbered(1)));
  EXPECT_TRUE(is_readable(b.wait_fd()));
  ASSERT_TRUE(b.receive(slot));
  EXPECT_TRUE(b.prepare_to_wait());
  EXPECT_FALSE(is_readable(b.wait_fd())) << "the wake-up was not cleared";
}

// A lost wake-up shows as this test's time-out: both sides sleep without one.
TEST(Channel, TwoThreadsLoseNothingAndNoWakeUp) {
  constexpr uint64_t kMessages = 200'000;
  auto [a, b] = make_pair(8);
  std::thread consumer([&b = b] {
    message::Slot slot;
    for (uint64_t n = 0; n < kMessages; ++n) {
      while (!b.receive(slot)) {
        if (!b.prepare_to_wait()) continue;
        pollfd p{b.wait_fd(), POLLIN, 0};
        ASSERT_EQ(::poll(&p, 1, 10'000), 1) << "lost wake-up at " << n;
      }
      ASSERT_TRUE(is_numbered(slot, n)) << n;
    }
  });
  for (uint64_t n = 0; n < kMessages; ++n)
    while (!a.send(numbered(n))) std::this_thread::yield();
  consumer.join();
  EXPECT_FALSE(a.broken() || b.broken());
}

TEST(Channel, TwoProcessesEcho) {
  constexpr uint64_t kMessages = 20'000;
  auto creator = Channel::create(16);
  ASSERT_TRUE(creator);
  auto fds = fds_for_peer(*creator);
  const pid_t child = ::fork();
  if (child == 0) {
    auto echo = Channel::attach(std::move(fds));
    message::Slot slot;
    for (uint64_t n = 0; echo && n < kMessages; ++n) {
      while (!echo->receive(slot))
        if (echo->broken()) ::_exit(2);
      while (!echo->send(slot))
        if (echo->broken()) ::_exit(3);
    }
    ::_exit(echo ? 0 : 1);
  }
  message::Slot slot;
  uint64_t sent = 0, received = 0;
  while (received < kMessages && !creator->broken()) {
    if (sent < kMessages && creator->send(numbered(sent))) ++sent;
    if (!creator->receive(slot)) continue;
    ASSERT_TRUE(is_numbered(slot, received));
    ++received;
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(received, kMessages);
}

}  // namespace
}  // namespace espalier

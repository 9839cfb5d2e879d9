// Processes that die inside a ring operation. Built with ESPALIER_KILL_POINTS, from the ring's own sources.
#include "control/shared/kill_point.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "control/shared/ring.hpp"

namespace espalier {
namespace {

constexpr uint32_t kSlots = 8;

message::Slot numbered(uint64_t n) {
  return message::make(message::ConfigCommit{}, n, 0);
}

// Runs `body` in a child that dies at `place`; true if it was killed there and not before or after.
template <class Body>
bool dies_at(const char* place, Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("ESPALIER_KILL_AT", place, 1);
    body();
    ::_exit(0);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

class KillPoint : public ::testing::Test {
 protected:
  KillPoint() : ours_(*Channel::create(kSlots)) {}
  ChannelFds fds() const {
    const auto d = ours_.descriptors();
    return {Fd(::dup(d[0])), Fd(::dup(d[1])), Fd(::dup(d[2]))};
  }
  // The child attaches and sends three messages.
  bool sender_dies_at(const char* place) {
    return dies_at(place, [this] {
      auto theirs = Channel::attach(fds());
      for (uint64_t n = 1; n <= 3; ++n) theirs->send(numbered(n));
    });
  }
  std::vector<uint64_t> received() {
    std::vector<uint64_t> ids;
    for (message::Slot slot; ours_.receive(slot);) {
      message::ConfigCommit payload;
      EXPECT_TRUE(message::read(slot, payload)) << "half a message";
      ids.push_back(slot.header.request_id);
    }
    return ids;
  }
  Channel ours_;
};

TEST_F(KillPoint, BeforePublishingNothingIsVisible) {
  ASSERT_TRUE(sender_dies_at("ring.send.before_publish:3"));
  EXPECT_EQ(received(), (std::vector<uint64_t>{1, 2}));
  EXPECT_FALSE(ours_.broken());
}

TEST_F(KillPoint, AfterPublishingTheWholeMessageIsVisible) {
  ASSERT_TRUE(sender_dies_at("ring.send.after_publish:3"));
  EXPECT_EQ(received(), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_FALSE(ours_.broken());
}

TEST_F(KillPoint, AReceiverThatDiesLeavesTheSenderUnharmed) {
  for (const char* place : {"ring.receive.before_wipe:2", "ring.receive.before_release:2"}) {
    ours_ = std::move(*Channel::create(kSlots));
    for (uint64_t n = 1; n <= kSlots; ++n) ASSERT_TRUE(ours_.send(numbered(n)));
    ASSERT_TRUE(dies_at(place, [this] {
      auto theirs = Channel::attach(fds());
      for (message::Slot slot; theirs->receive(slot);) {
      }
    })) << place;
    EXPECT_TRUE(ours_.send(numbered(9))) << "the released slot is free";
    EXPECT_FALSE(ours_.send(numbered(10))) << "the slot that was not released is not";
    EXPECT_FALSE(ours_.broken());
  }
}

TEST_F(KillPoint, OtherPlacesAndLaterCountsDoNotKill) {
  EXPECT_FALSE(sender_dies_at("ring.send.before_publish:4"));
  EXPECT_FALSE(sender_dies_at("ring.send"));
}

}  // namespace
}  // namespace espalier

#include "control/shared/handover.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>

#include "control/shared/messages_ike.hpp"

namespace espalier::handover {
namespace {

constexpr Layouts kLayouts{1, 1, 1, 1, message::kVersion};

// The value of what must not fail here.
template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result) << result.error().text;
  return std::move(result).value();
}

template <class T>
T must(std::optional<T> value) {
  EXPECT_TRUE(value);
  return std::move(value).value();
}

ino_t inode(const Fd& fd) {
  struct stat status {};
  return ::fstat(fd.get(), &status) == 0 ? status.st_ino : 0;
}

size_t open_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

SegmentFds some_segments() {
  const auto make = [](const char* name) { return must(Segment::create(name, 4096)).fd().duplicate(); };
  return {make("vault"), make("cells"), make("numbers"), make("statistics")};
}

class Handover : public ::testing::Test {
 protected:
  Handover() {
    char name[] = "/tmp/espalier-handover-XXXXXX";
    directory_ = ::mkdtemp(name);
    endpoint_.emplace(must(DataplaneEndpoint::listen(directory_)));
    state_ = {.layouts = kLayouts, .incarnation = 42, .generation = 7};
  }
  ~Handover() override { std::filesystem::remove_all(directory_); }

  std::optional<DataplaneEndpoint::Adoption> poll() {
    auto adoption = endpoint_->poll(state_);
    if (!adoption) last_error_ = adoption.error().text;
    return adoption ? std::move(*adoption) : std::nullopt;
  }
  DaemonConnection connect() { return must(must(DaemonConnection::connect(directory_))); }

  std::string directory_;
  std::optional<DataplaneEndpoint> endpoint_;
  DataplaneEndpoint::State state_;
  std::string last_error_;
};

TEST_F(Handover, TheFirstDaemonBringsSegmentsAndAChannel) {
  auto daemon = connect();
  EXPECT_EQ(daemon.dataplane_pid(), ::getpid());
  EXPECT_FALSE(*daemon.receive_hello()) << "nothing was said yet";
  EXPECT_FALSE(poll());
  auto offer = must(must(daemon.receive_hello()));
  EXPECT_EQ(offer.hello.incarnation, 42u);
  EXPECT_EQ(offer.hello.generation, 7u);
  EXPECT_FALSE(offer.segments);

  const auto segments = some_segments();
  auto channel = must(Channel::create(8));
  ASSERT_TRUE(daemon.send_welcome(kLayouts, &segments, channel));
  auto adoption = poll();
  ASSERT_TRUE(adoption) << last_error_;
  ASSERT_TRUE(adoption->segments);
  EXPECT_EQ(inode(adoption->segments->vault), inode(segments.vault));
  EXPECT_EQ(inode(adoption->segments->cells), inode(segments.cells));
  EXPECT_EQ(inode(adoption->segments->numbers), inode(segments.numbers));
  EXPECT_EQ(inode(adoption->segments->statistics), inode(segments.statistics));
  EXPECT_TRUE(endpoint_->connected());

  message::Slot slot;
  ASSERT_TRUE(channel.send(message::make(message::ConfigCommit{3}, 1, 1)));
  ASSERT_TRUE(adoption->channel.receive(slot));
  ASSERT_TRUE(adoption->channel.prepare_to_wait());
  ASSERT_TRUE(adoption->channel.send(slot));
  EXPECT_TRUE(channel.receive(slot));
}

// Both sides of a channel that neither of them made.
TEST_F(Handover, AChannelToTheIkeProcessComesLaterAndMoreThanOnce) {
  EXPECT_FALSE(*endpoint_->take_ike_channel()) << "nobody is there";
  auto daemon = connect();
  poll();
  const auto segments = some_segments();
  ASSERT_TRUE(daemon.send_welcome(kLayouts, &segments, must(Channel::create(8))));
  ASSERT_TRUE(poll());
  EXPECT_FALSE(*endpoint_->take_ike_channel());
  for (int process = 0; process < 2; ++process) {
    auto made = std::make_optional(must(Channel::create(8)));
    const auto fds = made->descriptors();
    ASSERT_TRUE(daemon.send_ike_channel(*made));
    const auto copy = [](int fd) { return Fd(::dup(fd)); };
    auto ike = must(Channel::attach_as_creator({copy(fds[0]), copy(fds[1]), copy(fds[2])}));
    made.reset();
    auto dataplane = must(must(endpoint_->take_ike_channel()));
    message::Slot slot;
    ASSERT_TRUE(ike.send(message::make(message::IkeCommit{.sas = 3}, 1, 1)));
    ASSERT_TRUE(dataplane.receive(slot));
    ASSERT_TRUE(dataplane.send(message::make(message::IkeAck{.ok = 1, .text = {}}, 1, 1)));
    ASSERT_TRUE(ike.receive(slot));
    EXPECT_FALSE(ike.receive(slot));
  }
  EXPECT_TRUE(endpoint_->connected());
}

TEST_F(Handover, WhatIsNoChannelEndsTheConnection) {
  auto daemon = connect();
  poll();
  const auto segments = some_segments();
  ASSERT_TRUE(daemon.send_welcome(kLayouts, &segments, must(Channel::create(8))));
  ASSERT_TRUE(poll());
  const IkeChannel message;
  ASSERT_TRUE(send_with_fds(daemon.socket(), std::as_bytes(std::span(&message, 1)), {}));
  EXPECT_FALSE(endpoint_->take_ike_channel());
  EXPECT_FALSE(endpoint_->connected());
}

TEST_F(Handover, ALaterDaemonGetsTheSegmentsBackAndReplacesTheChannel) {
  const auto segments = some_segments();
  state_.segments = &segments;
  std::optional<DaemonConnection> first = connect();
  poll();
  auto offer = must(must(first->receive_hello()));
  ASSERT_TRUE(offer.segments);
  EXPECT_EQ(inode(offer.segments->vault), inode(segments.vault));
  auto channel = must(Channel::create(8));
  ASSERT_TRUE(first->send_welcome(kLayouts, nullptr, channel));
  auto adoption = poll();
  ASSERT_TRUE(adoption) << last_error_;
  EXPECT_FALSE(adoption->segments);

  auto second = connect();
  poll();
  ASSERT_TRUE(*second.receive_hello());
  EXPECT_FALSE(first->hung_up()) << "only a Welcome replaces";
  auto channel2 = must(Channel::create(8));
  ASSERT_TRUE(second.send_welcome(kLayouts, nullptr, channel2));
  ASSERT_TRUE(poll()) << last_error_;
  EXPECT_TRUE(first->hung_up());
  EXPECT_FALSE(second.hung_up());
}

// An espalierd dies after its Welcome, and the next calls before that was read: the segments are those of the
// first, which the second is given.
TEST_F(Handover, TheWelcomeOfADeadDaemonIsReadBeforeTheNextIsGreeted) {
  auto first = std::make_optional(connect());
  poll();
  must(must(first->receive_hello()));
  const auto segments = some_segments();
  ASSERT_TRUE(first->send_welcome(kLayouts, &segments, must(Channel::create(8))));
  first.reset();
  auto second = connect();
  const auto adoption = poll();
  ASSERT_TRUE(adoption && adoption->segments) << last_error_;
  state_.segments = &*adoption->segments;
  EXPECT_FALSE(poll());
  const auto offer = must(must(second.receive_hello()));
  ASSERT_TRUE(offer.segments);
  EXPECT_EQ(inode(offer.segments->cells), inode(segments.cells));
}

TEST_F(Handover, TheEndOfEitherSideIsNoticed) {
  const auto segments = some_segments();
  state_.segments = &segments;
  {
    auto daemon = connect();
    poll();
    ASSERT_TRUE(daemon.receive_hello());
    ASSERT_TRUE(daemon.send_welcome(kLayouts, nullptr, must(Channel::create(8))));
    ASSERT_TRUE(poll());
    EXPECT_TRUE(endpoint_->connected());
  }
  poll();
  EXPECT_FALSE(endpoint_->connected());

  auto daemon = connect();
  poll();
  endpoint_.reset();
  ASSERT_TRUE(daemon.receive_hello());
  EXPECT_TRUE(daemon.hung_up());
  EXPECT_FALSE(daemon.receive_hello()) << "the end of the connection is an error";
}

TEST_F(Handover, NobodyListensIsNotAnError) {
  endpoint_.reset();
  auto stale = DaemonConnection::connect(directory_);
  ASSERT_TRUE(stale);
  EXPECT_FALSE(*stale) << "a socket file that a dead process left";
  std::filesystem::remove(directory_ + "/dataplane.sock");
  auto absent = DaemonConnection::connect(directory_);
  ASSERT_TRUE(absent);
  EXPECT_FALSE(*absent);
}

TEST_F(Handover, TheSocketIsForUsAlone) {
  struct stat status {};
  ASSERT_EQ(::stat((directory_ + "/dataplane.sock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

// Everything that is not a Welcome is refused, its descriptors are closed, and the next daemon is served.
TEST_F(Handover, GarbageInsteadOfAWelcomeIsRefused) {
  const Segment memory = must(Segment::create("x", 4096));
  const int fd = memory.fd().get();
  const auto channel = must(Channel::create(8));
  const auto c = channel.descriptors();
  const Welcome good{.has_segments = 1, .layouts = kLayouts};
  const auto with = [&good](auto change) {
    Welcome w = good;
    change(w);
    return w;
  };
  const struct {
    const char* what;
    Welcome welcome;
    size_t bytes;
    std::vector<int> fds;
  } cases[] = {
      {"short", good, sizeof good - 1, {fd, fd, fd, fd, c[0], c[1], c[2]}},
      {"empty", good, 0, {}},
      {"magic", with([](Welcome& w) { w.magic = 1; }), sizeof good, {fd, fd, fd, fd, c[0], c[1], c[2]}},
      {"protocol", with([](Welcome& w) { w.protocol = 9; }), sizeof good, {fd, fd, fd, fd, c[0], c[1], c[2]}},
      {"flag", with([](Welcome& w) { w.has_segments = 2; }), sizeof good, {fd, fd, fd, fd, c[0], c[1], c[2]}},
      {"layout",
       with([](Welcome& w) { w.layouts.vault = 2; }),
       sizeof good,
       {fd, fd, fd, fd, c[0], c[1], c[2]}},
      {"no segments", with([](Welcome& w) { w.has_segments = 0; }), sizeof good, {c[0], c[1], c[2]}},
      {"no descriptors", good, sizeof good, {}},
      {"too few descriptors", good, sizeof good, {fd, fd, fd, fd, c[0], c[1]}},
      {"too many descriptors", good, sizeof good, {fd, fd, fd, fd, fd, fd, fd, fd}},
      {"no channel", good, sizeof good, {fd, fd, fd, fd, fd, fd, fd}},
  };
  for (const auto& test : cases) {
    auto daemon = connect();
    poll();
    ASSERT_TRUE(daemon.receive_hello());
    const auto bytes = std::as_bytes(std::span(&test.welcome, 1)).first(test.bytes);
    const size_t before = open_descriptors();
    ASSERT_TRUE(send_with_fds(daemon.socket(), bytes, test.fds)) << test.what;
    last_error_.clear();
    EXPECT_FALSE(poll()) << test.what;
    EXPECT_NE(last_error_, "") << test.what;
    EXPECT_TRUE(daemon.hung_up()) << test.what;
    EXPECT_EQ(open_descriptors(), before - 1) << test.what << ": leaked a descriptor";
  }
  auto daemon = connect();
  poll();
  ASSERT_TRUE(daemon.receive_hello());
  const auto segments = some_segments();
  ASSERT_TRUE(daemon.send_welcome(kLayouts, &segments, channel));
  EXPECT_TRUE(poll()) << last_error_;
}

TEST_F(Handover, GarbageInsteadOfAHelloIsRefused) {
  const Hello good{.layouts = kLayouts};
  const auto with = [&good](auto change) {
    Hello h = good;
    change(h);
    return h;
  };
  const Hello bad[] = {
      with([](Hello& h) { h.magic = 0; }), with([](Hello& h) { h.protocol = kProtocol + 1; }),
      with([](Hello& h) { h.has_segments = 1; }), with([](Hello& h) { h.has_segments = 77; })};
  for (const Hello& hello : bad) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    const Fd dataplane(pair[0]);
    auto daemon = DaemonConnection::adopt(Fd(pair[1]));
    ASSERT_TRUE(daemon);
    ASSERT_TRUE(send_with_fds(dataplane, std::as_bytes(std::span(&hello, 1)), {}));
    EXPECT_FALSE(daemon->receive_hello());
  }
}

TEST(Layouts, ADifferenceIsNamed) {
  EXPECT_EQ(describe_difference(kLayouts, kLayouts), "");
  EXPECT_EQ(describe_difference(kLayouts, {2, 1, 1, 3, message::kVersion}),
            "vault layout 1 here, 2 there; statistics layout 1 here, 3 there");
}

}  // namespace
}  // namespace espalier::handover

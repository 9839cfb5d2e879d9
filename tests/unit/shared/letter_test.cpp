// Letters between espalierd and espalier-ike: whole, in order, refused when they are none.
#include "control/shared/letter.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "control/shared/post.hpp"

namespace espalier {
namespace {

using Kind = Letter::Kind;

template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result) << result.error().text;
  return std::move(result).value();
}

struct Pair {
  Fd a, b;
};
Pair connected() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}
std::vector<uint8_t> bytes_of(std::span<const uint8_t> span) {
  return {span.begin(), span.end()};
}

TEST(Letter, ArrivesWithTextSecretsAndDescriptors) {
  const Pair pair = connected();
  const uint8_t secrets[] = {1, 2, 0, 3};
  std::vector<Fd> fds;
  fds.emplace_back(::memfd_create("passed", 0));
  ASSERT_EQ(::write(fds[0].get(), "x", 1), 1);
  EXPECT_TRUE(
      must(must(Letter::write(Kind::kConfigure, 77, "{\"a\":1}", secrets, std::move(fds))).send(pair.a)));
  auto letter = must(Letter::receive(pair.b));
  ASSERT_TRUE(letter);
  EXPECT_EQ(letter->kind(), Kind::kConfigure);
  EXPECT_EQ(letter->id(), 77u);
  EXPECT_EQ(letter->text(), "{\"a\":1}");
  EXPECT_EQ(bytes_of(letter->secrets()), bytes_of(secrets));
  ASSERT_EQ(letter->fds().size(), 1u);
  char byte = 0;
  EXPECT_EQ(::pread(letter->fds()[0].get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'x');
  letter->wipe();
  EXPECT_EQ(bytes_of(letter->secrets()), std::vector<uint8_t>(4));
  EXPECT_FALSE(must(Letter::receive(pair.b)));
}

TEST(Letter, MayBeEmptyOrLarge) {
  const Pair pair = connected();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{5'000'000}}) {
    const std::string text(size, 'q');
    EXPECT_TRUE(must(must(Letter::write(Kind::kAnswer, 1, text)).send(pair.a)));
    auto letter = must(Letter::receive(pair.b));
    ASSERT_TRUE(letter);
    EXPECT_EQ(letter->text(), text);
    EXPECT_TRUE(letter->secrets().empty());
  }
  EXPECT_FALSE(Letter::write(Kind::kAnswer, 1, std::string(Letter::kMostBytes + 1, 'q')));
  std::vector<Fd> many(Letter::kMostFds + 1);
  EXPECT_FALSE(Letter::write(Kind::kAnswer, 1, "", {}, std::move(many)));
}

// The header as it lies on the wire, to be bent.
struct WireHeader {
  uint64_t magic = 0x7265'7474'656c'656b;
  uint32_t protocol = 1;
  uint32_t kind = 1;
  uint64_t id = 0;
  uint64_t text_bytes = 0;
  uint32_t fds = 0;
  uint32_t reserved = 0;
};

Result<std::optional<Letter>> received(const WireHeader& header, size_t body_bytes,
                                       size_t bytes = sizeof(WireHeader), bool sealed = true) {
  const Pair pair = connected();
  const auto body = Segment::create("body", body_bytes);
  Fd open(::memfd_create("open", 0));
  EXPECT_EQ(::ftruncate(open.get(), static_cast<off_t>(body_bytes)), 0);
  const int fds[] = {sealed ? body->fd().get() : open.get()};
  EXPECT_TRUE(send_with_fds(pair.a, std::as_bytes(std::span(&header, 1)).first(bytes), fds));
  return Letter::receive(pair.b);
}

TEST(Letter, WhatIsNoneIsRefused) {
  EXPECT_TRUE(received({}, 1));
  EXPECT_TRUE(received({.text_bytes = 7}, 8));
  EXPECT_FALSE(received({.text_bytes = 8}, 8));
  EXPECT_FALSE(received({.text_bytes = UINT64_MAX}, 8));
  EXPECT_FALSE(received({.magic = 1}, 1));
  EXPECT_FALSE(received({.protocol = 2}, 1));
  EXPECT_FALSE(received({.kind = 0}, 1));
  EXPECT_FALSE(received({.kind = 10}, 1));
  EXPECT_FALSE(received({.fds = 1}, 1));
  EXPECT_FALSE(received({.fds = UINT32_MAX}, 1));
  EXPECT_FALSE(received({}, 1, sizeof(WireHeader) - 1));
  EXPECT_FALSE(received({}, 1, sizeof(WireHeader), false)) << "it could be cut off while it is read";
  EXPECT_FALSE(received({}, Letter::kMostBytes + 2));
}

// Its pages would be locked in our memory as soon as it is mapped.
TEST(Letter, OneThatIsTooLargeTakesNoMemory) {
  const Pair pair = connected();
  const auto body = must(Segment::create("body", Letter::kMostBytes + 2));
  const WireHeader header;
  const int fds[] = {body.fd().get()};
  ASSERT_TRUE(send_with_fds(pair.a, std::as_bytes(std::span(&header, 1)), fds));
  EXPECT_FALSE(Letter::receive(pair.b));
  struct stat status {};
  ASSERT_EQ(::fstat(body.fd().get(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
}

TEST(Letter, TheEndOfTheConnectionIsTold) {
  Pair pair = connected();
  pair.a.reset();
  EXPECT_EQ(Letter::receive(pair.b).error().text, Letter::kClosed);
}

class PostTest : public ::testing::Test {
 protected:
  PostTest() {
    Pair pair = connected();
    a_ = open(std::move(pair.a), to_a_, a_closed_);
    b_ = open(std::move(pair.b), to_b_, b_closed_);
  }
  std::unique_ptr<Post> open(Fd socket, std::vector<uint64_t>& ids, std::string& closed) {
    return must(Post::open(loop_, std::move(socket),
                           {[&ids](const Letter& letter) { ids.push_back(letter.id()); },
                            [&closed](const Error& why) { closed = why.text; }}));
  }
  void run() {
    for (int i = 0; i < 200; ++i) loop_.run_once(milliseconds(1));
  }
  EventLoop loop_ = must(EventLoop::create());
  std::vector<uint64_t> to_a_, to_b_;
  std::string a_closed_, b_closed_;
  std::unique_ptr<Post> a_, b_;
};

// More than the socket's queue takes at once.
TEST_F(PostTest, ManyLettersArriveInOrder) {
  std::vector<uint64_t> expected;
  for (uint64_t id = 0; id < 2000; ++id) {
    ASSERT_TRUE(a_->send(Letter::write(Kind::kResolve, id, "{}")));
    expected.push_back(id);
  }
  ASSERT_TRUE(b_->send(Letter::write(Kind::kResolved, 5, "{}")));
  run();
  EXPECT_EQ(to_b_, expected);
  EXPECT_EQ(to_a_, std::vector<uint64_t>{5});
}

TEST_F(PostTest, AnEndThatTakesNothingIsNotFedForEver) {
  Result<void> sent;
  size_t count = 0;
  for (; sent && count < 2 * Post::kMostWaiting; ++count)
    sent = a_->send(Letter::write(Kind::kResolve, 1, "{}"));
  EXPECT_FALSE(sent);
  EXPECT_GE(count, Post::kMostWaiting);
}

TEST_F(PostTest, TheOthersEndIsTold) {
  b_.reset();
  run();
  EXPECT_EQ(a_closed_, Letter::kClosed);
}

TEST_F(PostTest, MayBeDestroyedByWhatItCalls) {
  Pair pair = connected();
  std::unique_ptr<Post> post;
  int letters = 0;
  post = must(Post::open(loop_, std::move(pair.a),
                         {[&](const Letter&) {
                            ++letters;
                            post.reset();
                          },
                          [&](const Error&) { post.reset(); }}));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(must(must(Letter::write(Kind::kAnswer, 1, "{}")).send(pair.b)));
  run();
  EXPECT_EQ(letters, 1);
  EXPECT_EQ(post, nullptr);
}

}  // namespace
}  // namespace espalier

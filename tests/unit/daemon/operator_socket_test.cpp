#include "control/daemon/operator_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/shared/fd_passing.hpp"
#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

class OperatorSocketTest : public DaemonTest {
 protected:
  OperatorSocketTest() {
    limits_.clients = 4;
    limits_.request_bytes = 200'000;
    limits_.buffered_bytes = 300'000;
    limits_.idle = milliseconds(200);
  }

  void listen() {
    socket_ = must(
        OperatorSocket::listen(loop_, path(), limits_, [this](Request request, OperatorSocket::Reply reply) {
          commands_.push_back(request.command());
          if (request.command() == "later") return waiting_.push_back(std::move(reply));
          const auto bytes = request.number("bytes", 0, 1u << 24);
          reply(ok_reply({{"command", request.command()}, {"filler", std::string(bytes->value_or(0), 'x')}}));
        }));
  }
  std::string path() const { return directory_ + "/control.sock"; }
  Fd connect() {
    auto socket = must(connect_unix(path(), SOCK_STREAM));
    EXPECT_TRUE(socket);
    return std::move(socket).value_or(Fd());
  }
  void send(const Fd& client, std::string_view text) {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t n =
          ::send(client.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) sent += static_cast<size_t>(n);
      if (n < 0 && errno != EAGAIN) return;  // the daemon hung up, as it may
      loop_.run_once(milliseconds(0));
    }
  }
  // Lines until there are `count`, or the daemon hangs up, or nothing comes.
  std::vector<std::string> receive(const Fd& client, size_t count) {
    std::string text;
    hung_up_ = false;
    run_until(
        [&] {
          char buffer[65536];
          const ssize_t n = ::recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT);
          if (n > 0) text.append(buffer, static_cast<size_t>(n));
          hung_up_ = n == 0 || (n < 0 && errno != EAGAIN);
          return hung_up_ || static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) >= count;
        },
        milliseconds(2000));
    std::vector<std::string> lines;
    for (size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
      lines.push_back(text.substr(at, end - at));
    return lines;
  }
  bool hung_up(const Fd& client) {
    receive(client, SIZE_MAX);
    return hung_up_;
  }
  static bool is_ok(const std::string& line) { return Json::parse(line)["ok"].get<bool>(); }

  OperatorSocket::Limits limits_;
  std::unique_ptr<OperatorSocket> socket_;
  std::vector<std::string> commands_;
  std::vector<OperatorSocket::Reply> waiting_;
  bool hung_up_ = false;
};

TEST_F(OperatorSocketTest, AnswersSeveralClientsLineByLine) {
  listen();
  const Fd a = connect(), b = connect();
  send(a, "{\"command\": \"one\"}\n{\"command\": \"two\"}\n");
  send(b, "{\"command\":");
  const auto lines = receive(a, 2);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(Json::parse(lines[0])["command"], "one");
  EXPECT_EQ(Json::parse(lines[1])["command"], "two");
  send(b, " \"three\"}\n");
  EXPECT_EQ(receive(b, 1).size(), 1u);
  EXPECT_EQ(socket_->refused(), 0u);
}

TEST_F(OperatorSocketTest, TheModeLetsOnlyOwnerAndGroupIn) {
  listen();
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660u);
}

TEST_F(OperatorSocketTest, GarbageIsRefusedAndCounted) {
  listen();
  const Fd client = connect();
  const std::string_view garbage[] = {"",
                                      "{",
                                      "[]",
                                      "\"x\"",
                                      "{}",
                                      "{\"command\": 7}",
                                      "{\"command\":\"x\",\"y\":{}}",
                                      "\xff\xfe\x00",
                                      "{\"command\": \"x\"} {",
                                      "nul"};
  for (const auto line : garbage) {
    send(client, std::string(line) + "\n");
    const auto answers = receive(client, 1);
    ASSERT_EQ(answers.size(), 1u) << line;
    EXPECT_FALSE(is_ok(answers[0])) << line;
  }
  EXPECT_EQ(socket_->refused(), std::size(garbage));
  EXPECT_TRUE(commands_.empty());
  send(client, "{\"command\": \"still here\"}\n");
  EXPECT_TRUE(is_ok(receive(client, 1).at(0)));
}

TEST_F(OperatorSocketTest, AnEndlessLineIsRefused) {
  listen();
  const Fd client = connect();
  send(client, std::string(400'000, 'x'));
  const auto answers = receive(client, 1);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(is_ok(answers[0]));
  EXPECT_TRUE(hung_up(client));
  EXPECT_EQ(socket_->refused(), 1u);
}

TEST_F(OperatorSocketTest, ManyHalfRequestsTogetherAreRefused) {
  listen();
  const Fd a = connect(), b = connect();
  send(a, std::string(190'000, 'x'));
  send(b, std::string(190'000, 'x'));
  EXPECT_TRUE(run_until([&] { return socket_->refused() == 1; }));
}

TEST_F(OperatorSocketTest, ThousandsOfPipelinedRequestsAreAnsweredOneByOne) {
  listen();
  const Fd client = connect();
  std::string requests;
  for (int i = 0; i < 5000; ++i) requests += "{\"command\":\"c\"}\n";
  send(client, requests);
  EXPECT_EQ(receive(client, 5000).size(), 5000u);
}

TEST_F(OperatorSocketTest, WhoDoesNotReadGetsOneAnswerBufferedAndIsDropped) {
  limits_.idle = milliseconds(1000);
  listen();
  const Fd slow = connect();
  send(slow, "{\"command\":\"big\",\"bytes\":8000000}\n{\"command\":\"big\",\"bytes\":8000000}\n");
  run_until([&] { return !commands_.empty(); });
  run_until([] { return false; }, milliseconds(100));
  EXPECT_EQ(commands_.size(), 1u) << "the second was answered before the first was read";
  const Fd other = connect();
  send(other, "{\"command\":\"x\"}\n");
  EXPECT_EQ(receive(other, 1).size(), 1u);
  EXPECT_TRUE(run_until([&] { return socket_->clients() == 0; }));
}

TEST_F(OperatorSocketTest, SilentClientsMakeRoom) {
  listen();
  std::vector<Fd> silent;
  for (int i = 0; i < 6; ++i) silent.push_back(connect());
  EXPECT_TRUE(run_until([&] { return socket_->refused() == 2; }));
  EXPECT_TRUE(run_until([&] { return socket_->clients() == 0; }));
  const Fd client = connect();
  send(client, "{\"command\":\"x\"}\n");
  EXPECT_EQ(receive(client, 1).size(), 1u);
}

TEST_F(OperatorSocketTest, AnAnswerForWhoHasGoneIsDropped) {
  listen();
  {
    const Fd client = connect();
    send(client, "{\"command\":\"later\"}\n");
    ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
  }
  ASSERT_TRUE(run_until([&] { return socket_->clients() == 0; }));
  waiting_[0](ok_reply());
  const Fd client = connect();
  send(client, "{\"command\":\"later\"}\n");
  ASSERT_TRUE(run_until([&] { return waiting_.size() == 2; }));
  socket_.reset();
  waiting_[1](ok_reply());
}

TEST_F(OperatorSocketTest, AHalfClosedClientStillGetsItsAnswer) {
  listen();
  const Fd client = connect();
  send(client, "{\"command\":\"later\"}\n");
  ::shutdown(client.get(), SHUT_WR);
  ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
  run_until([] { return false; }, milliseconds(300));  // longer than idle: we owe the answer
  waiting_[0](ok_reply());
  EXPECT_EQ(receive(client, 1).size(), 1u);
  EXPECT_TRUE(hung_up(client));
}

}  // namespace
}  // namespace espalier::daemon

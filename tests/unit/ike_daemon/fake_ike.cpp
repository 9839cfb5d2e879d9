// Stands in for an espalier-ike that somebody has taken over, in tests of espalierd.
//
// FAKE_IKE_ANSWER in the environment is its answer to every request ("deep": one that is nested a hundred
// thousand times), FAKE_IKE_QUESTION what it asks for as a name, FAKE_IKE_HELLOS how often it says hello.
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <string>

#include "control/shared/ike_state.hpp"
#include "control/shared/letter.hpp"

namespace espalier {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) ::_exit(4);
  return std::move(result).value();
}

std::string told(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

std::string answer() {
  constexpr size_t kDepth = 100'000;
  const std::string text = told("FAKE_IKE_ANSWER");
  if (text != "deep") return text;
  return R"({"ok":true,"sas":)" + std::string(kDepth, '[') + std::string(kDepth, ']') + "}";
}

class FakeIke {
 public:
  explicit FakeIke(Fd socket) : socket_(std::move(socket)) {}

  void run() {
    for (int hellos = std::max(1, std::atoi(told("FAKE_IKE_HELLOS").c_str())); hellos > 0; --hellos)
      say(Letter::Kind::kHello, 0, R"({"has_state":false})");
    for (;;) {
      pollfd readable{socket_.get(), POLLIN, 0};
      ::poll(&readable, 1, 100);
      if (state_) ike_state::of(*state_).heartbeat.fetch_add(1);
      while (auto letter = must(Letter::receive(socket_))) take(*letter);
    }
  }

 private:
  void say(Letter::Kind kind, uint64_t id, std::string_view text) {
    must(must(Letter::write(kind, id, text)).send(socket_));
  }
  void take(Letter& letter) {
    if (letter.kind() == Letter::Kind::kWelcome) {
      state_ = must(ike_state::attach(std::move(letter.fds().at(0))));
      if (const std::string question = told("FAKE_IKE_QUESTION"); !question.empty())
        say(Letter::Kind::kResolve, 1, question);
    }
    if (letter.kind() == Letter::Kind::kConfigure) say(Letter::Kind::kAnswer, letter.id(), R"({"ok":true})");
    if (letter.kind() == Letter::Kind::kRequest) say(Letter::Kind::kAnswer, letter.id(), answer());
  }

  Fd socket_;
  std::optional<Segment> state_;
};

}  // namespace
}  // namespace espalier

// --runtime-dir DIR ...
int main(int argc, char** argv) {
  using namespace espalier;
  if (argc < 3) return 2;
  const Fd listener = must(listen_unix(std::string(argv[2]) + "/ike.sock", SOCK_SEQPACKET));
  pollfd readable{listener.get(), POLLIN, 0};
  ::poll(&readable, 1, -1);
  FakeIke(Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))).run();
}

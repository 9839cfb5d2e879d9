#include "control/daemon/name_resolver.hpp"

#include <netdb.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

namespace espalier::daemon {
namespace {

constexpr int kThreads = 4;
constexpr size_t kMostQuestions = 4096;

std::optional<IpAddress> address_of(const sockaddr& address) {
  if (address.sa_family == AF_INET)
    return Ipv4Address{be32::from_raw(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr)};
  if (address.sa_family != AF_INET6) return std::nullopt;
  return std::bit_cast<IpAddress>(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

}  // namespace

Result<std::vector<IpAddress>> NameResolver::ask_system(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;  // each address once
  addrinfo* found = nullptr;
  if (const int failure = ::getaddrinfo(name.c_str(), nullptr, &hints, &found); failure != 0)
    return fail("{}: {}", name, ::gai_strerror(failure));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  std::vector<IpAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next)
    if (const auto address = address_of(*each->ai_addr)) addresses.push_back(*address);
  return addresses;
}

struct NameResolver::Shared {
  struct Question {
    std::string name;
    Done done;
  };
  struct Answer {
    Result<std::vector<IpAddress>> addresses;
    Done done;
  };

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Question> questions;
  std::vector<Answer> answers;
  bool ended = false;
  int threads = 0;
  int idle = 0;
  Fd answered;  // eventfd
  LookUp look_up;

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      ++idle;
      wake.wait(lock, [this] { return ended || !questions.empty(); });
      --idle;
      if (ended) return;
      Question question = std::move(questions.front());
      questions.pop_front();
      lock.unlock();
      auto addresses = look_up(question.name);
      lock.lock();
      answers.push_back({std::move(addresses), std::move(question.done)});
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(answered.get(), &one, sizeof one);
    }
  }
};

Result<std::unique_ptr<NameResolver>> NameResolver::create(EventLoop& loop, LookUp look_up) {
  auto shared = std::make_shared<Shared>();
  shared->look_up = std::move(look_up);
  shared->answered = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shared->answered) return fail("eventfd: {}", errno_text());
  std::unique_ptr<NameResolver> resolver(new NameResolver(loop, std::move(shared)));
  TRY(loop.watch(resolver->shared_->answered.get(), [raw = resolver.get()](uint32_t) { raw->on_answers(); }));
  return resolver;
}

// The callbacks belong to our thread: they die here, not in a thread that still waits for a server.
NameResolver::~NameResolver() {
  loop_.forget(shared_->answered.get());
  const std::lock_guard lock(shared_->mutex);
  shared_->ended = true;
  shared_->questions.clear();
  shared_->answers.clear();
  shared_->wake.notify_all();
}

void NameResolver::resolve(std::string name, Done done) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->questions.size() >= kMostQuestions) {
    loop_.after(milliseconds(0),
                [done = std::move(done)] { done(fail("too many names wait to be resolved")); });
    return;
  }
  shared_->questions.push_back({std::move(name), std::move(done)});
  // Those that are idle may have been woken for the questions before this one.
  if (shared_->questions.size() > static_cast<size_t>(shared_->idle) && shared_->threads < kThreads) {
    ++shared_->threads;
    std::thread([shared = shared_] { shared->work(); }).detach();
  }
  shared_->wake.notify_one();
}

void NameResolver::on_answers() {
  uint64_t count;
  [[maybe_unused]] const ssize_t drained = ::read(shared_->answered.get(), &count, sizeof count);
  std::vector<Shared::Answer> answers;
  {
    const std::lock_guard lock(shared_->mutex);
    answers.swap(shared_->answers);
  }
  for (Shared::Answer& answer : answers) answer.done(std::move(answer.addresses));
}

}  // namespace espalier::daemon

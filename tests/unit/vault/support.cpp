#include "tests/unit/vault/support.hpp"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace espalier::test {
namespace {

// Sanitizers turn one access into many instructions, of which most are their own business.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kInterleaveStride = 251;
#else
constexpr size_t kInterleaveStride = 1;
#endif

int wait_for(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid");
  return status;
}

// A child never comes back into the test framework.
pid_t fork_child(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child > 0) return child;
  try {
    work();
  } catch (...) {
    ::_exit(2);
  }
  ::_exit(0);
}

void expect_success(int status) {
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw std::runtime_error("a child failed");
}

// Comes back when the child is stopped in front of `work`: at a breakpoint, so that not one instruction of
// anything else is stepped.
pid_t fork_traced(const std::function<void()>& work) {
  const pid_t child = fork_child([&] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(3);
    asm volatile("int3");
    work();
    ::syscall(SYS_exit_group, 0);
  });
  if (const int status = wait_for(child); !WIFSTOPPED(status))
    throw std::runtime_error("cannot trace a child");
  return child;
}

// One instruction; false when the child has ended.
bool step(pid_t child) {
  if (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) throw std::runtime_error("ptrace");
  const int status = wait_for(child);
  if (WIFSTOPPED(status)) return true;
  expect_success(status);
  return false;
}

bool ends_within_milliseconds(pid_t child, int milliseconds) {
  for (int waited = 0; waited < milliseconds * 10; ++waited) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) {
      expect_success(status);
      return true;
    }
    ::usleep(100);
  }
  return false;
}

crypto::Verdict open_a_packet() {
  auto engine = crypto::EspEngine::create();
  if (!engine) throw std::runtime_error(engine.error());
  constexpr uint8_t kKey[16] = {1}, kSalt[4] = {2};
  const auto key = engine->make_key({}, false, kKey, kSalt, {});
  constexpr uint32_t kPayloadBytes = 20;
  uint8_t packet[crypto::kEspHeaderBytes + 8 + kPayloadBytes + 16] = {3};
  const crypto::EspJob job{.esp = packet, .payload_bytes = kPayloadBytes, .sequence_high = 0};
  crypto::Verdict verdict;
  engine->seal(key.value(), {&job, 1});
  engine->open(key.value(), {&job, 1}, {&verdict, 1});
  return verdict;
}

}  // namespace

const crypto::Authenticated& real_proof() {
  static const crypto::Verdict verdict = open_a_packet();
  if (verdict.proof() == nullptr) throw std::runtime_error("a sealed packet did not open");
  return *verdict.proof();
}

bool offer(const ReplayWindow& window, uint64_t number) {
  auto ticket = window.check(static_cast<uint32_t>(number));
  if (!ticket || ticket->number().value != number) return false;
  return ReplayWindow::Run(window).commit(std::move(*ticket), real_proof());
}

void start_outbound(OutboundCell& cell, uint64_t next, uint64_t limit, bool esn) {
  cell.next_sequence = next;
  cell.sequence_limit = limit;
  cell.sequence_end = sequence_end(esn);
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "espalier-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

SaIdentity identity_of(uint32_t seed, Direction direction, bool static_key, uint32_t spi) {
  SaIdentity identity;
  for (size_t i = 0; i < identity.fingerprint.size(); ++i)
    identity.fingerprint[i] = static_cast<uint8_t>((seed + 1) * 2654435761u >> i % 4 * 8);
  identity.spi = Spi(spi);
  identity.direction = direction;
  identity.static_key = static_key ? 1 : 0;
  return identity;
}

size_t step_through(const std::function<void()>& work, const std::function<void()>& look) {
  const pid_t child = fork_traced(work);
  size_t steps = 0;
  for (; step(child); ++steps) look();
  return steps;
}

size_t interleave(const std::function<void()>& prepare, const std::function<void()>& first,
                  const std::function<void()>& second, const std::function<void()>& verify) {
  for (size_t stop_at = 0;; stop_at += kInterleaveStride) {
    prepare();
    const pid_t stepped = fork_traced(first);
    for (size_t steps = 0; steps < stop_at; ++steps)
      if (!step(stepped)) return stop_at;
    const pid_t free = fork_child(second);
    const bool waits = !ends_within_milliseconds(free, 5);
    if (::ptrace(PTRACE_CONT, stepped, nullptr, nullptr) != 0) throw std::runtime_error("ptrace");
    expect_success(wait_for(stepped));
    if (waits) expect_success(wait_for(free));
    verify();
  }
}

bool kill_after(unsigned microseconds, const std::function<void()>& work,
                const std::function<bool()>& is_at_work) {
  const pid_t child = fork_child(work);
  int status = 0;
  while (!is_at_work()) {
    if (::waitpid(child, &status, WNOHANG) == child) return expect_success(status), false;
    ::usleep(50);
  }
  ::usleep(microseconds);
  ::kill(child, SIGKILL);
  status = wait_for(child);
  if (!WIFSIGNALED(status)) expect_success(status);
  return WIFSIGNALED(status);
}

}  // namespace espalier::test

#include "tests/unit/vault/support.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace espalier::test {
namespace {

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

crypto::Verdict open_a_packet() {
  const auto engine = crypto::GcmEngine::create();
  if (!engine) throw std::runtime_error(engine.error());
  uint8_t key_bytes[16] = {1};
  uint8_t iv[12] = {2};
  uint8_t aad[8] = {3};
  uint8_t data[20] = {4};
  uint8_t tag[16];
  const auto key = engine->expand_key(key_bytes);
  const crypto::GcmJob job{data, sizeof data, iv, aad, sizeof aad, tag};
  crypto::Verdict verdict;
  engine->encrypt(*key, {&job, 1});
  engine->decrypt(*key, {&job, 1}, {&verdict, 1});
  return verdict;
}

}  // namespace

const crypto::Authenticated& real_proof() {
  static const crypto::Verdict verdict = open_a_packet();
  if (verdict.proof() == nullptr) throw std::runtime_error("a sealed packet did not open");
  return *verdict.proof();
}

bool offer(const ReplayWindow& window, uint64_t number) {
  auto ticket = window.check(SeqNo(number));
  if (!ticket) return false;
  return ReplayWindow::Run(window).commit(std::move(*ticket), real_proof());
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
  const pid_t child = fork_child([&] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(3);
    ::raise(SIGSTOP);
    work();
  });
  size_t steps = 0;
  for (int status = wait_for(child);; status = wait_for(child)) {
    if (WIFEXITED(status)) {
      if (WEXITSTATUS(status) != 0) throw std::runtime_error("the traced child failed");
      return steps;
    }
    look();
    ++steps;
    if (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) throw std::runtime_error("ptrace");
  }
}

bool kill_after(unsigned microseconds, const std::function<void()>& work) {
  const pid_t child = fork_child(work);
  ::usleep(microseconds);
  ::kill(child, SIGKILL);
  const int status = wait_for(child);
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) throw std::runtime_error("the child failed");
  return WIFSIGNALED(status);
}

}  // namespace espalier::test

#include "control/daemon/supervisor.hpp"

#include <sys/wait.h>

#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

class SupervisorTest : public DaemonTest {
 protected:
  ~SupervisorTest() override {
    if (supervisor_) stop();
  }

  void start() {
    supervisor_.emplace(loop_, Supervisor::Directories{runtime_dir(), state_dir()},
                        Supervisor::Events{[this] { ++ready_; }, [this](const std::string&) { ++lost_; }});
    supervisor_->start(command_);
  }
  // espalierd dies: nothing is stopped, everything is forgotten.
  void die() { supervisor_.reset(); }
  void stop() {
    bool stopped = false;
    supervisor_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
  }
  bool wait_ready(int times, milliseconds limit = milliseconds(10'000)) {
    return run_until([&] { return ready_ == times; }, limit);
  }
  pid_t pid() const { return supervisor_->dataplane_pid().value_or(0); }
  // What an earlier Supervisor of this test started is our zombie, which init would have reaped.
  static bool alive(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != pid && ::kill(pid, 0) == 0; }

  ProgramCommand command_{fake_dataplane(), {"--runtime-dir", runtime_dir()}};
  std::optional<Supervisor> supervisor_;
  int ready_ = 0;
  int lost_ = 0;
};

TEST_F(SupervisorTest, StartsADataplaneAndStopsIt) {
  start();
  ASSERT_TRUE(wait_ready(1));
  EXPECT_TRUE(alive(pid()));
  EXPECT_EQ(ProcessLock::holder(runtime_dir(), "dataplane"), pid());
  const pid_t child = pid();
  stop();
  EXPECT_FALSE(alive(child));
  EXPECT_EQ(lost_, 1);
}

TEST_F(SupervisorTest, ADeadDataplaneIsReplacedAtOnceWithTheSameMemory) {
  start();
  ASSERT_TRUE(wait_ready(1));
  const auto* vault = &supervisor_->memory()->vault();
  for (int i = 2; i < 5; ++i) {
    run_until([] { return false; }, milliseconds(1100));  // lives longer than the back-off asks for
    const pid_t old = pid();
    ::kill(old, SIGKILL);
    const auto died = Clock::now();
    ASSERT_TRUE(wait_ready(i));
    EXPECT_LT(Clock::now() - died, milliseconds(1000));
    EXPECT_NE(pid(), old);
    EXPECT_EQ(&supervisor_->memory()->vault(), vault);
  }
  EXPECT_EQ(lost_, 3);
}

TEST_F(SupervisorTest, ALaterEspalierdAdoptsTheLivingDataplane) {
  start();
  ASSERT_TRUE(wait_ready(1));
  const pid_t first = pid();
  die();
  EXPECT_TRUE(alive(first));
  start();
  ASSERT_TRUE(wait_ready(2));
  EXPECT_EQ(pid(), first);
  EXPECT_EQ(supervisor_->starts(), 0u);
  ASSERT_NE(supervisor_->memory(), nullptr);
  ::kill(first, SIGKILL);  // not our child: its death is seen all the same
  ASSERT_TRUE(wait_ready(3));
  EXPECT_NE(pid(), first);
}

// espalierd can die between fork and the dataplane's socket: the next must wait for it, not start a second
// one.
TEST_F(SupervisorTest, ADataplaneThatDoesNotListenYetIsWaitedFor) {
  auto lock = must(ProcessLock::take(runtime_dir(), "dataplane"));
  ASSERT_TRUE(lock);
  start();
  run_until([] { return false; }, milliseconds(300));
  EXPECT_EQ(supervisor_->starts(), 0u);
  EXPECT_FALSE(must(ProcessLock::take(runtime_dir(), "dataplane")));
  auto late = must(Process::spawn(command_, std::move(*lock)));
  lock.reset();
  ASSERT_TRUE(wait_ready(1));
  EXPECT_EQ(pid(), late.pid());
}

// We kill whom it names: whoever has inherited it must not be able to write another.
TEST_F(SupervisorTest, TheLockThatIsInheritedCannotBeWritten) {
  auto lock = must(ProcessLock::take(runtime_dir(), "dataplane"));
  ASSERT_TRUE(lock);
  const int fd = lock->fd().get();
  EXPECT_EQ(::fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_LT(::write(fd, "1", 1), 0);
  EXPECT_LT(::ftruncate(fd, 0), 0);
}

TEST_F(SupervisorTest, OtherStartOptionsNeedAnotherProcess) {
  start();
  ASSERT_TRUE(wait_ready(1));
  const pid_t first = pid();
  die();
  command_.arguments.push_back("--more");
  start();
  ASSERT_TRUE(wait_ready(2));
  EXPECT_NE(pid(), first);
  EXPECT_FALSE(alive(first));
}

TEST_F(SupervisorTest, OtherLayoutsNeedAnotherProcess) {
  ::setenv("FAKE_DATAPLANE", "old_layout", 1);
  start();
  run_until([&] { return supervisor_->starts() == 2; });
  ::unsetenv("FAKE_DATAPLANE");
  ASSERT_TRUE(wait_ready(1));
}

TEST_F(SupervisorTest, WhatDiesAtItsStartIsStartedLessAndLessOften) {
  ::setenv("FAKE_DATAPLANE", "die_at_start", 1);
  start();
  run_until([] { return false; }, milliseconds(1500));
  EXPECT_GE(supervisor_->starts(), 3u);  // at 0, 100, 300, 700, 1500 ms
  EXPECT_LE(supervisor_->starts(), 5u);
}

TEST_F(SupervisorTest, WhoIsDeafToSigtermIsKilled) {
  ::setenv("FAKE_DATAPLANE", "deaf_to_sigterm", 1);
  start();
  ASSERT_TRUE(wait_ready(1));
  const pid_t child = pid();
  const auto began = Clock::now();
  stop();
  EXPECT_FALSE(alive(child));
  EXPECT_GT(Clock::now() - began, milliseconds(2500));
}

TEST_F(SupervisorTest, WhatHangsIsKilledAndReplaced) {
  ::setenv("FAKE_DATAPLANE", "hang", 1);
  start();
  ASSERT_TRUE(wait_ready(1));
  const pid_t hung = pid();
  ::unsetenv("FAKE_DATAPLANE");
  ASSERT_TRUE(wait_ready(2));
  EXPECT_FALSE(alive(hung));
}

TEST_F(SupervisorTest, ABrokenRingIsReplacedWithoutARestart) {
  ::setenv("FAKE_DATAPLANE", "break_ring", 1);
  start();
  ASSERT_TRUE(wait_ready(1));
  const pid_t first = pid();
  int answers = 0;
  const auto ask = [&] {
    const auto query = [](size_t position, uint64_t id) -> std::optional<message::Slot> {
      if (position != 0) return std::nullopt;
      message::Query sessions;
      sessions.kind = message::QueryKind::kSessions;
      sessions.limit = 5;
      return message::make(sessions, id, 0);
    };
    supervisor_->link().request(query, milliseconds(5000), [&](const auto& answer) {
      EXPECT_TRUE(answer) << answer.error().text;
      ++answers;
    });
  };
  ask();
  ASSERT_TRUE(run_until([&] { return !supervisor_->link().attached(); }));
  ask();  // waits for the new channel, and so does the first if its answer was lost
  ASSERT_TRUE(run_until([&] { return answers == 2; }));
  EXPECT_EQ(pid(), first);
  EXPECT_EQ(ready_, 1);
}

}  // namespace
}  // namespace espalier::daemon

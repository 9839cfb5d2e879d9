// What espalierd says when the numbers that static keys have used are gone.
#include "control/daemon/shared_memory.hpp"

#include <fstream>

#include "control/daemon/config_store.hpp"
#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

class LostNumbers : public DaemonTest {
 protected:
  // What the log says when the memory is made.
  std::string log_of_start() {
    ::testing::internal::CaptureStderr();
    must(SharedMemory::create(runtime_dir(), state_dir()));
    return ::testing::internal::GetCapturedStderr();
  }
  bool is_warned() {
    const std::string log = log_of_start();
    return log.find(" warning ") != std::string::npos && log.find("sa-numbers was lost") != std::string::npos;
  }
  void reboot() { std::filesystem::remove(runtime_dir() + "/sa-cells"); }
  std::string numbers() const { return state_dir() + "/sa-numbers"; }
  void apply_something() { std::ofstream(ConfigStore::applied_file(state_dir())) << "x"; }
};

TEST_F(LostNumbers, ANewMachineIsQuietAndSoIsOneThatGoesOn) {
  EXPECT_FALSE(is_warned());
  apply_something();
  EXPECT_FALSE(is_warned());
  reboot();
  EXPECT_FALSE(is_warned());
}

TEST_F(LostNumbers, AMachineWithAnAppliedConfigurationIsWarnedOf) {
  EXPECT_FALSE(is_warned());
  apply_something();
  reboot();
  std::filesystem::remove(numbers());
  EXPECT_TRUE(is_warned());
  EXPECT_FALSE(is_warned()) << "told once";
  reboot();
  std::filesystem::resize_file(numbers(), 0);
  EXPECT_TRUE(is_warned());
}

TEST_F(LostNumbers, SoIsOneThatHasCellsOfAnEarlierBoot) {
  EXPECT_FALSE(is_warned());
  std::ofstream(runtime_dir() + "/sa-cells") << "of another boot";
  std::filesystem::remove(numbers());
  EXPECT_TRUE(is_warned());
}

}  // namespace
}  // namespace espalier::daemon

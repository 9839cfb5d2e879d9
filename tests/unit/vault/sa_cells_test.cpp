// control/shared/sa_cells.hpp and sequence_file.hpp: files that are not ours, cells whose content cannot be.
#include "control/shared/sa_cells.hpp"

#include <sys/stat.h>

#include "control/shared/crc32c.hpp"
#include "tests/unit/vault/directory_fixture.hpp"

namespace espalier::test {
namespace {

// --- files

TEST_F(Directory, FilesAreForTheOwnerOnlyAndHoldNoKey) {
  auto process = start();
  for (const auto& path : {cells_path(), numbers_path()}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << path;
  }
}

TEST_F(Directory, OnlyOneOpensThem) {
  auto process = start();
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  // A process that was handed the descriptors keeps the lock when the one that opened them is gone.
  const SaCells heir =
      must(SaCells::attach(process->cells.fd().duplicate(), process->cells.numbers_fd().duplicate()));
  process.reset();
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
}

TEST_F(Directory, AnExistingFileKeepsItsCapacity) {
  start();
  EXPECT_EQ(start({.capacity = 100, .window_words = 64})->cells.capacity(), kGeometry.capacity);
  reboot();
  EXPECT_EQ(start({.capacity = 100, .window_words = 64})->cells.capacity(), kGeometry.capacity);
}

TEST_F(Directory, ForeignAndDamagedNumbersAreNeverOverwritten) {
  { must(start()->directory.claim(wants(kOutKey))); }
  const auto refused_with = [&](size_t offset) {
    flip(numbers_path(), offset);
    const bool refused = !SaCells::open(runtime_.path(), state_.path(), kGeometry);
    flip(numbers_path(), offset);
    return refused;
  };
  for (size_t offset = 0; offset < 64; ++offset) EXPECT_TRUE(refused_with(offset)) << offset;
  EXPECT_TRUE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  std::ofstream(numbers_path(), std::ios::trunc) << "these are somebody's notes";
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  EXPECT_EQ(std::filesystem::file_size(numbers_path()), 26u);
}

TEST_F(Directory, ADamagedEntryIsAnError) {
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    must(process->reserver.extend(10, 100));
  }
  reboot();
  for (size_t offset = 64; offset < 128; ++offset) {
    flip(numbers_path(), offset);
    EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry)) << offset;
    flip(numbers_path(), offset);
  }
  EXPECT_TRUE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
}

TEST_F(Directory, ACreationThatWasInterruptedIsCompleted) {
  std::ofstream(numbers_path()).close();
  std::filesystem::resize_file(numbers_path(), 64 + 3 * 64);
  std::ofstream(cells_path() + ".new") << "half of a file";
  EXPECT_EQ(start()->cells.capacity(), kGeometry.capacity);
}

TEST_F(Directory, ShortFilesAreRefusedBeforeTheyAreTouched) {
  start();
  std::filesystem::resize_file(numbers_path(), 64 + 64 * kGeometry.capacity - 1);
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  EXPECT_FALSE(SaCells::attach(Fd(::open(cells_path().c_str(), O_RDWR | O_CLOEXEC)),
                               Fd(::open(numbers_path().c_str(), O_RDWR | O_CLOEXEC))));
}

TEST_F(Directory, CellsOfOtherNumbersAreRefused) {
  start();
  std::filesystem::remove(numbers_path());
  const auto opened = SaCells::open(runtime_.path(), state_.path(), kGeometry);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find("does not belong"), std::string::npos);
  // One that was made here would pass for theirs after the next boot.
  EXPECT_FALSE(std::filesystem::exists(numbers_path()));
}

TEST_F(Directory, ANumbersFileThatHeldNothingIsToldFromOneThatGoesOn) {
  EXPECT_TRUE(start()->cells.numbers_made_anew());
  EXPECT_FALSE(start()->cells.numbers_made_anew());
  reboot();
  EXPECT_FALSE(start()->cells.numbers_made_anew());
  reboot();
  std::filesystem::resize_file(numbers_path(), 0);  // as some file systems leave a file after a power failure
  EXPECT_TRUE(start()->cells.numbers_made_anew());
}

TEST_F(Directory, AnSaIsInUseSinceItWasClaimedNotSinceTheProcessBegan) {
  constexpr uint32_t kLongAgo = 1;
  const auto installed_s = [](Process & process) -> auto& {
    return process.cells.cell(*process.directory.find(kOutKey)).owner.installed_s;
  };
  const uint32_t before = boot_time_s();
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    EXPECT_GE(installed_s(*process), before);
    EXPECT_LE(installed_s(*process), boot_time_s());
    installed_s(*process) = kLongAgo;
  }
  auto process = start();
  const auto index = must(process->directory.claim(wants(kOutKey))).index;
  EXPECT_EQ(installed_s(*process), kLongAgo);
  process->directory.release(index);
  must(process->directory.claim(wants(kOutKey)));
  EXPECT_GE(installed_s(*process), before);
}

TEST_F(Directory, CellsOfAnotherSizeAreMadeAnew) {
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    must(process->reserver.extend(10, 100));
  }
  std::filesystem::resize_file(cells_path(), 4096);
  auto process = start();
  EXPECT_EQ(process->directory.outbound(*process->directory.find(kOutKey)).next_sequence, 101u);
}

// --- cells whose content cannot be

class DamagedCell : public Directory {
 protected:
  void expect_refused(const std::function<void(SaCell& in, SaCell& out)>& damage) {
    auto process = start();
    SaCell& in = process->cells.cell(must(process->directory.claim(wants(kInKey, 64))).index);
    SaCell& out = process->cells.cell(must(process->directory.claim(wants(kOutKey))).index);
    SequenceReserver reserver(process->cells);
    ASSERT_TRUE(SaDirectory::rebuild(process->cells, reserver));
    damage(in, out);
    EXPECT_FALSE(SaDirectory::rebuild(process->cells, reserver));
  }
};

TEST_F(DamagedCell, State) {
  expect_refused([](SaCell& in, SaCell&) { in.owner.state = static_cast<CellState>(3); });
}
TEST_F(DamagedCell, Fingerprint) {
  expect_refused([](SaCell& in, SaCell&) { in.owner.identity.fingerprint[7] ^= 1; });
}
TEST_F(DamagedCell, NumberZero) {
  expect_refused([](SaCell&, SaCell& out) { out.outbound.next_sequence = 0; });
}
TEST_F(DamagedCell, AnEndThatNoSaHas) {
  expect_refused([](SaCell&, SaCell& out) { out.outbound.sequence_end = kSequenceEnd + 1; });
}
TEST_F(DamagedCell, EsnWithoutAWindow) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{1} << 31; });
}
TEST_F(DamagedCell, WindowFloor) {
  expect_refused([](SaCell& in, SaCell&) { in.window.floor = 0; });
}
TEST_F(DamagedCell, WindowTooLarge) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = kMaxReplayWindow + 1; });
}
TEST_F(DamagedCell, WindowOutsideOfTheArea) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{4096} << 32 | 64; });
}
TEST_F(DamagedCell, WindowAtAnOddPlace) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{3} << 32 | 64; });
}
TEST_F(DamagedCell, TwoCellsWithOneKey) {
  expect_refused([](SaCell& in, SaCell& out) {
    out.owner.identity = in.owner.identity;
    out.owner.checksum = in.owner.checksum;
    out.window.reset(0);
    out.window.shape = 0;
  });
}
TEST_F(DamagedCell, TwoWindowsInOnePlace) {
  expect_refused([this](SaCell& in, SaCell&) {
    // A third cell that claims the first one's words.
    const SaCells cells = must(SaCells::attach(Fd(::open(cells_path().c_str(), O_RDWR | O_CLOEXEC)),
                                               Fd(::open(numbers_path().c_str(), O_RDWR | O_CLOEXEC))));
    SaCell& third = cells.cell(SaIndex(5));
    third.owner.identity = identity_of(77, Direction::kIn);
    third.owner.checksum = crc32c(&third.owner.identity, sizeof third.owner.identity);
    third.window.reset(0);
    third.window.shape = in.window.shape.load();
    third.owner.state = CellState::kInUse;
  });
}

}  // namespace
}  // namespace espalier::test

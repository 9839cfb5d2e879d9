#include "control/daemon/shared_memory.hpp"

#include <sys/stat.h>

#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

bool is_same_file(const Fd& a, const Fd& b) {
  struct stat first {
  }, second{};
  return ::fstat(a.get(), &first) == 0 && ::fstat(b.get(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

Result<SharedMemory> SharedMemory::create(const std::string& runtime_dir, const std::string& state_dir) {
  auto cells = TRY(SaCells::open(runtime_dir, state_dir, {}));
  if (!cells.note().empty()) log::proc().info("SA cells: {}", cells.note());
  auto vault = TRY(Vault::create(cells.capacity()));
  if (!vault.warning().empty()) log::proc().warn("SA vault: {}", vault.warning());
  auto segment = TRY(Segment::create("espalier-statistics", sizeof(statistics::Segment)));
  auto* statistics = segment.as<statistics::Segment>();
  statistics->magic = statistics::kMagic;
  statistics->layout = statistics::kLayout;
  return SharedMemory(std::move(vault), std::move(cells), std::move(segment));
}

Result<SharedMemory> SharedMemory::attach(handover::SegmentFds fds) {
  auto cells = TRY(SaCells::attach(std::move(fds.cells), std::move(fds.numbers)));
  auto vault = TRY(Vault::attach(std::move(fds.vault)));
  auto segment = TRY(Segment::attach(std::move(fds.statistics), sizeof(statistics::Segment)));
  const auto* statistics = segment.as<statistics::Segment>();
  if (statistics->magic != statistics::kMagic || statistics->layout != statistics::kLayout)
    return fail("the statistics segment is not one, or of another layout");
  return SharedMemory(std::move(vault), std::move(cells), std::move(segment));
}

handover::Layouts SharedMemory::layouts() {
  return {Vault::kLayout, SaCells::kLayout, SequenceFile::kLayout, statistics::kLayout, message::kVersion};
}

handover::SegmentFds SharedMemory::descriptors() const {
  return {vault_.fd().duplicate(), cells_.fd().duplicate(), cells_.numbers_fd().duplicate(),
          segment_.fd().duplicate()};
}

bool SharedMemory::is_same(const handover::SegmentFds& fds) const {
  return is_same_file(fds.vault, vault_.fd()) && is_same_file(fds.cells, cells_.fd()) &&
         is_same_file(fds.numbers, cells_.numbers_fd()) && is_same_file(fds.statistics, segment_.fd());
}

}  // namespace espalier::daemon

#include "control/daemon/shared_memory.hpp"

#include <sys/stat.h>

#include "control/daemon/config_store.hpp"
#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

bool is_same_file(const Fd& a, const Fd& b) {
  struct stat first {
  }, second{};
  return ::fstat(a.get(), &first) == 0 && ::fstat(b.get(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// A machine on which a gateway ran before has one of these; on a new one sa-numbers is made first.
bool was_used_before(const std::string& runtime_dir, const std::string& state_dir) {
  return ::access(ConfigStore::applied_file(state_dir).c_str(), F_OK) == 0 ||
         ::access((runtime_dir + "/sa-cells").c_str(), F_OK) == 0;
}

}  // namespace

Result<SharedMemory> SharedMemory::create(const std::string& runtime_dir, const std::string& state_dir) {
  const bool used_before = was_used_before(runtime_dir, state_dir);
  auto cells = TRY(SaCells::open(runtime_dir, state_dir, {}));
  if (used_before && cells.numbers_made_anew())
    log::proc().warn(
        "{}/sa-numbers was lost and has been made anew: all static keys begin with sequence number 1 again. "
        "With a "
        "key that was in use before, AES-GCM nonces repeat, which reveals plaintext and allows forgery (RFC "
        "4106 "
        "section 3.1): give all xfrm states new keys, on both sides, before traffic flows",
        state_dir);
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

// The memory that outlives the dataplane: vault, cells and their numbers file, statistics.
//
// The first espalierd creates it; a later one gets it from the living dataplane. Whoever dies, the others
// keep it. Owner: espalierd's thread. Reads statistics and cells only; the vault is read for its SAs, never
// written.
#pragma once

#include <memory>

#include "control/shared/handover.hpp"
#include "control/shared/sa_cells.hpp"
#include "control/shared/statistics.hpp"
#include "control/shared/vault.hpp"

namespace espalier::daemon {

class SharedMemory {
 public:
  // Opens and locks the cells and makes the rest; warns in the log where the numbers that static keys have
  // used were lost. Errors: another process holds the cells, or what the system says.
  static Result<SharedMemory> create(const std::string& runtime_dir, const std::string& state_dir);
  // What a living dataplane handed over; headers and sizes are validated.
  static Result<SharedMemory> attach(handover::SegmentFds fds);

  // The layouts of this build.
  static handover::Layouts layouts();
  // Descriptors to be passed on.
  handover::SegmentFds descriptors() const;
  // Whether `fds` are this memory and not another's.
  bool is_same(const handover::SegmentFds& fds) const;

  const Vault& vault() const { return vault_; }
  const SaCells& cells() const { return cells_; }
  const statistics::Segment& statistics() const { return *segment_.as<statistics::Segment>(); }

 private:
  SharedMemory(Vault vault, SaCells cells, Segment segment)
      : vault_(std::move(vault)), cells_(std::move(cells)), segment_(std::move(segment)) {}
  Vault vault_;
  SaCells cells_;
  Segment segment_;
};

}  // namespace espalier::daemon

// Hands out SA cells, and keeps the numbers of static keys reserved on disk.
//
// A key that comes back finds its cell and goes on where it stopped: after a restart of the dataplane, after
// its SA was removed from the configuration and added again, after a reboot. Cells of static keys are
// therefore never given to another key; an IKE SA's cell is free again when it is released.
//
// Three kinds of threads meet here. The main lcore owns SaDirectory. A service thread calls
// SequenceReserver's extend() and save_windows(), which wait for the disk. Workers see neither; they use the
// cells.
#pragma once

#include <mutex>
#include <unordered_map>
#include <vector>

#include "control/shared/sa_cells.hpp"

namespace espalier {

// Static SAs' way to the disk. Must outlive the SaDirectory that feeds it. extend() and save_windows() may be
// called by several threads; they wait for each other, because the kernel reports that a write failed to one
// sync of the file only.
class SequenceReserver {
 public:
  explicit SequenceReserver(SaCells& cells) : cells_(cells) {}

  // Service thread, every few milliseconds: for each static outbound SA in use with fewer than `low_water`
  // numbers left, reserves numbers up to `block` from the next one. Workers may use them only after they are
  // on the disk. True: something was reserved. On error nothing was granted; call again. Costs no system call
  // when nothing is due. low_water <= block.
  Result<bool> extend(uint64_t low_water, uint64_t block);
  // Any thread, without I/O: whether extend() would reserve something.
  bool is_due(uint64_t low_water, uint64_t block) { return !due_reservations(low_water, block).empty(); }

  // Service thread, every few seconds, and before the process ends: saves how far static inbound windows
  // have come. After a power failure packets of the time since the last call could be replayed, once.
  Result<void> save_windows();

 private:
  friend class SaDirectory;
  struct Watched {
    SaIndex index;
    SaIdentity identity;
    uint64_t saved = 0;  // inbound: the top that was written last
  };
  struct Due {
    size_t position;  // in watched_, which only grows
    SaIndex index;
    SequenceEntry entry;
  };
  void watch(SaIndex index, const SaIdentity& identity);  // main lcore
  std::vector<Due> due_reservations(uint64_t low_water, uint64_t block);
  std::vector<Due> moved_windows();
  Result<void> write(const std::vector<Due>& due);

  SaCells& cells_;
  std::mutex writing_;   // held during I/O
  std::mutex watching_;  // guards watched_, never held during I/O: the main lcore takes it
  std::vector<Watched> watched_;
};

// First fit over the window area, in blocks of one cache line, so that no two windows share one.
class WindowAllocator {
 public:
  static constexpr uint32_t kBlockWords = 8;
  static constexpr uint32_t blocks(uint32_t words) { return (words + kBlockWords - 1) / kBlockWords; }
  explicit WindowAllocator(uint32_t area_words) : used_(area_words / kBlockWords, false) {}

  // Words are rounded up to blocks. std::nullopt: no gap is large enough.
  std::optional<uint32_t> allocate(uint32_t words);
  // Marks what a cell says it has; false when it is out of range, misaligned or overlaps.
  bool adopt(uint32_t offset, uint32_t words);
  void free(uint32_t offset, uint32_t words);

 private:
  std::vector<bool> used_;
  size_t first_gap_ = 0;  // no free block is below it
};

// Where a window's words lie in the area, and how it reads numbers.
struct WindowShape {
  uint32_t offset = 0;  // in words
  uint32_t size = 0;    // in numbers; 0: no window
  bool esn = false;
  friend bool operator==(WindowShape, WindowShape) = default;
};

// What an SA wants of its cell.
struct CellRequest {
  SaIdentity identity;
  uint32_t replay_window = 0;  // inbound: 0..kMaxReplayWindow, at least 1 with esn; outbound: not looked at
  bool esn = false;
  uint64_t last_sequence = 0;  // below sequence_end(esn)
};

struct CellClaim {
  SaIndex index;
  bool continued = false;  // its numbers go on from earlier
};

// Thread: the dataplane's main lcore.
class SaDirectory {
 public:
  // Reads all cells. Errors name a cell whose content cannot be: the file was damaged, and numbers of its key
  // may have been used; nothing is guessed.
  static Result<SaDirectory> rebuild(SaCells& cells, SequenceReserver& reserver);

  // The cell of this key, in use or remembered.
  std::optional<SaIndex> find(const SaIdentity& identity) const;
  bool in_use(SaIndex index) const;

  // Takes the cell of this key, or a free one. A key that has no cell yet starts behind last_sequence; one
  // that has goes on where it was, or behind last_sequence if that is higher: never lower. A key that used
  // numbers beyond 2^32-1 and has ESN no more has none left. The same claim twice gives the same cell. A new
  // static outbound key has no numbers until the reserver's next extend(). Errors: a request that cannot be,
  // no free cell, no room for the window, the key was used for the other direction, by whose numbers it must
  // not be used again; or the cell was claimed by this process, and another window size, ESN or not, or an
  // inbound last_sequence above the window is wanted (release it first, when no worker uses it any more).
  // What an earlier process left in use is used by no one now and may change.
  Result<CellClaim> claim(const CellRequest& request);

  // When no worker uses the cell any more. A static key's numbers stay remembered. Does nothing to a free
  // cell.
  void release(SaIndex index);

  // The window of an inbound cell in use, for the workers' snapshot; `lock` null: one worker only.
  ReplayWindow window(SaIndex index, WindowLock* lock) const;
  OutboundCell& outbound(SaIndex index) const { return cells_->cell(index).outbound; }
  CellCounters& counters(SaIndex index) const { return cells_->cell(index).counters; }
  LearnedPeer& peer(SaIndex index) const { return cells_->cell(index).peer; }  // inbound

 private:
  struct HashIdentity {
    size_t operator()(const SaIdentity& identity) const;
  };
  SaDirectory(SaCells& cells, SequenceReserver& reserver);
  Result<void> adopt(SaIndex index);
  Result<void> adopt_window(SaIndex index);
  Result<void> give_window(SaIndex index, const CellRequest& request, uint64_t seen);
  void set_shape(SaIndex index, WindowShape shape);
  bool was_used_by_the_peer(const SaIdentity& identity) const;
  Result<CellClaim> claim_again(SaIndex index, const CellRequest& request);
  Result<CellClaim> claim_new(const CellRequest& request);
  Result<void> go_on(SaIndex index, const CellRequest& request);

  SaCells* cells_;
  SequenceReserver* reserver_;
  WindowAllocator windows_;
  std::vector<WindowShape> shapes_;  // of all cells; what shared memory says is read once, and checked
  std::vector<bool> claimed_;        // by this process: its workers may use the cell
  std::unordered_map<SaIdentity, SaIndex, HashIdentity> by_identity_;
  std::vector<SaIndex> free_;  // the lowest index last
};

}  // namespace espalier

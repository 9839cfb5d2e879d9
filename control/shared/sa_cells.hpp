// SA cells: what changes with every packet of an SA and must outlive the processes - the next sequence
// number, the replay window, counters, the learned path MTU. They hold no keys. Cell i belongs to vault
// record i.
//
// A static key lives longer than any memfd: if espalierd and the dataplane die together the vault is gone,
// and the configuration brings the same keys back. Using a number twice with one key breaks AES-GCM, so the
// cells are a file. Two files, because no worker may ever wait for a disk:
//   RUNTIME_DIR/sa-cells   mapped; workers count in it; exact for as long as the machine is up. It belongs on
//   a
//                          memory file system: a page that is written to a disk is write-protected meanwhile,
//                          and the next counter that goes up in it waits for the journal.
//   STATE_DIR/sa-numbers   (sequence_file.hpp) written and synced by a service thread: up to where numbers
//   may
//                          have been used. It is what is left after a power failure or a reboot.
// The first is thrown away and filled from the second when it is of another boot, or absent.
//
// espalierd creates and locks both; the dataplane attaches to the descriptors. Workers use cells through
// OutboundCell, CellCounters and ReplayWindow; SaDirectory (sa_directory.hpp) hands them out.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "control/shared/fd.hpp"
#include "control/shared/replay_window.hpp"
#include "control/shared/sequence_file.hpp"

namespace espalier {

// Why a worker got fewer sequence numbers than it asked for.
enum class SequenceStop : uint8_t {
  kNone,
  kNotReserved,  // a static key waits for its next block to reach the disk: kEspSequenceNotReserved
  kExhausted,    // the SA used its last number (RFC 4303 section 3.3.3): kEspSequenceExhausted
};

struct SequenceRun {
  uint64_t first = 0;  // granted numbers are first .. first + granted - 1
  uint32_t granted = 0;
  SequenceStop stop = SequenceStop::kNone;  // not kNone: why granted is less than asked
};

// Without ESN numbers end at 2^32-1.
inline constexpr uint64_t kSequenceEnd = uint64_t{1} << 32;

struct alignas(64) OutboundCell {
  std::atomic<uint64_t> next_sequence;   // the next number to use; from 1
  std::atomic<uint64_t> sequence_limit;  // the first that may not be used
  uint64_t reserved[6];

  // Takes up to n numbers that no one else got or will get. They count as used from now on, whether or not
  // their packets leave. Any worker, several at once. A compare-and-swap rather than fetch_add, so that a run
  // that meets the limit takes no number beyond it; uncontended both cost the same.
  SequenceRun take(uint32_t n) {
    uint64_t next = next_sequence.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t limit = sequence_limit.load(std::memory_order_acquire);
      const uint64_t left = next < limit ? limit - next : 0;
      const auto granted = static_cast<uint32_t>(std::min<uint64_t>(n, left));
      const auto stop = granted == n            ? SequenceStop::kNone
                        : limit >= kSequenceEnd ? SequenceStop::kExhausted
                                                : SequenceStop::kNotReserved;
      if (granted == 0) return {next, 0, stop};
      if (next_sequence.compare_exchange_weak(next, next + granted, std::memory_order_relaxed))
        return {next, granted, stop};
    }
  }
};
static_assert(sizeof(OutboundCell) == 64);

// Several workers add, anyone reads; relaxed. They start at 0 with a new key.
struct alignas(64) CellCounters {
  std::atomic<uint64_t> packets;
  std::atomic<uint64_t> bytes;  // of inner packets
  std::atomic<uint64_t> replay;
  std::atomic<uint64_t> icv;
  std::atomic<uint64_t> malformed;
  std::atomic<uint64_t> mismatch;  // the outer source is not the SA's peer
  std::atomic<uint64_t> no_reserve;
  std::atomic<uint32_t>
      path_mtu_bytes;  // of the outer path, as learned; 0: nothing. Written by whom the ICMP message reaches
  uint32_t reserved;

  static void add(std::atomic<uint64_t>& counter, uint64_t n) {
    counter.fetch_add(n, std::memory_order_relaxed);
  }
};
static_assert(sizeof(CellCounters) == 64);

// Seconds since the machine was booted, those of suspension too (CLOCK_BOOTTIME): cells are never older.
uint32_t boot_time_s();

enum class CellState : uint32_t {
  kFree = 0,
  kInUse = 1,
  kRemembered = 2,  // a static key that is not configured now; its numbers must never start again
};

// Who the cell belongs to. owner: the dataplane's main lcore.
struct alignas(64) CellIdentity {
  std::atomic<CellState> state;  // published last
  uint32_t checksum;             // crc32c of `identity`
  SaIdentity identity;
  std::atomic<uint32_t> installed_s;  // since when it is in use, by boot_time_s(); 0: not told
};
static_assert(sizeof(CellIdentity) == 64);

struct alignas(256) SaCell {
  CellIdentity owner;
  OutboundCell outbound;
  CellCounters counters;
  ReplayState window;
};
static_assert(sizeof(SaCell) == 256 && offsetof(SaCell, outbound) == 64 &&
              offsetof(SaCell, counters) == 128 && offsetof(SaCell, window) == 192);

struct CellGeometry {
  uint32_t capacity = 4096;          // cells
  uint32_t window_words = 1u << 17;  // for all replay windows together; 2 for a window of 32, 32 for 1024
};

class SaCells {
 public:
  static constexpr uint32_t kLayout = 1;  // for the handover

  // espalierd: opens or creates both files and takes an exclusive lock that lasts until every process has
  // closed them. An existing sa-numbers file keeps its own capacity; `geometry` is for new files. Errors:
  // another espalierd runs, a damaged or foreign file (never overwritten), or what the system says.
  static Result<SaCells> open(const std::string& runtime_dir, const std::string& state_dir,
                              CellGeometry geometry);

  // The dataplane, or a later espalierd: maps what another process opened. Validates header and geometry
  // against the file's real size; what is in the cells is validated by SaDirectory.
  static Result<SaCells> attach(Fd cells, Fd numbers);

  uint32_t capacity() const { return geometry_.capacity; }
  SaCell& cell(SaIndex index) const { return cells_[index.value]; }  // index < capacity()
  std::span<std::atomic<uint64_t>> window_area() const { return {words_, geometry_.window_words}; }
  SequenceFile& numbers() { return numbers_; }

  const Fd& fd() const { return fd_; }
  const Fd& numbers_fd() const { return numbers_.fd(); }
  // open(): why the cells were filled from sa-numbers instead of going on exactly; empty if they go on.
  const std::string& note() const { return note_; }
  // open(): sa-numbers was made anew as well, so nothing is known of any static key.
  bool numbers_made_anew() const { return numbers_.made_anew(); }

 private:
  struct Unmap {
    size_t bytes = 0;
    void operator()(std::byte* at) const;
  };
  using Mapping = std::unique_ptr<std::byte, Unmap>;

  SaCells(Fd fd, Mapping mapping, CellGeometry geometry, SequenceFile numbers);
  static Result<Mapping> map(const Fd& fd, size_t bytes);
  static Result<SaCells> create(const std::string& path, CellGeometry geometry, SequenceFile numbers,
                                std::string why);
  Result<void> restore();

  Fd fd_;
  Mapping mapping_;
  CellGeometry geometry_;
  SaCell* cells_;
  std::atomic<uint64_t>* words_;
  SequenceFile numbers_;
  std::string note_;
};

}  // namespace espalier

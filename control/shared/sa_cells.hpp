// SA cells: what changes while an SA is used and must outlive the processes - the next sequence number, the
// replay window, counters, which limits were reached, the learned path MTU and peer. They hold no keys. Cell
// i belongs to vault record i.
//
// A static key lives longer than any memfd: if espalierd and the dataplane die together the vault is gone,
// and the configuration brings the same keys back. Using a number twice with one key breaks AES-GCM, so the
// cells are a file. Two files, because no worker may ever wait for a disk:
//   RUNTIME_DIR/sa-cells   mapped; workers count in it; exact for as long as the machine is up. It belongs on
//                          a memory file system: a page that is written to a disk is write-protected
//                          meanwhile, and the next counter that goes up in it waits for the journal.
//   STATE_DIR/sa-numbers   (sequence_file.hpp) written and synced by a service thread: up to where numbers
//                          may have been used. It is what is left after a power failure or a reboot.
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
#include "control/shared/learned_peer.hpp"
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

// The first number that an SA does not have (RFC 4303 section 3.3.3).
inline constexpr uint64_t kSequenceEnd = uint64_t{1} << 32;                // without ESN
inline constexpr uint64_t kExtendedSequenceEnd = kLastExtendedNumber + 1;  // with it
constexpr uint64_t sequence_end(bool esn) {
  return esn ? kExtendedSequenceEnd : kSequenceEnd;
}

struct alignas(64) OutboundCell {
  std::atomic<uint64_t> next_sequence;   // the next number to use; from 1
  std::atomic<uint64_t> sequence_limit;  // the first that is not reserved; of an IKE key: sequence_end
  std::atomic<uint64_t> sequence_end;    // kSequenceEnd or kExtendedSequenceEnd
  uint64_t reserved[5];

  // Takes up to n numbers that no one else got or will get. They count as used from now on, whether or not
  // their packets leave. Any worker, several at once. A compare-and-swap rather than fetch_add, so that a run
  // that meets the limit takes no number beyond it; uncontended both cost the same.
  SequenceRun take(uint32_t n) {
    uint64_t next = next_sequence.load(std::memory_order_relaxed);
    for (;;) {
      const SequenceRun run = offer(next, n);
      if (run.granted == 0 ||
          next_sequence.compare_exchange_weak(next, next + run.granted, std::memory_order_relaxed))
        return run;
    }
  }

  // What take() would give to somebody before whom `ahead` numbers more are taken; nothing is taken.
  SequenceRun look(uint32_t n, uint64_t ahead) const {
    return offer(next_sequence.load(std::memory_order_relaxed) + ahead, n);
  }

  // No number below `first` is given any more. Any thread, beside take().
  void skip_to(uint64_t first) {
    uint64_t next = next_sequence.load(std::memory_order_relaxed);
    while (next < first && !next_sequence.compare_exchange_weak(next, first, std::memory_order_relaxed)) {
    }
  }

 private:
  SequenceRun offer(uint64_t next, uint32_t n) const {
    const uint64_t end = sequence_end.load(std::memory_order_relaxed);
    const uint64_t limit = std::min(sequence_limit.load(std::memory_order_acquire), end);
    const uint64_t left = next < limit ? limit - next : 0;
    const auto granted = static_cast<uint32_t>(std::min<uint64_t>(n, left));
    const auto stop = granted == n   ? SequenceStop::kNone
                      : limit == end ? SequenceStop::kExhausted
                                     : SequenceStop::kNotReserved;
    return {next, granted, stop};
  }
};
static_assert(sizeof(OutboundCell) == 64);

// Limits (SaLimits) that an SA has reached; bits.
enum Expired : uint32_t { kExpiredSoft = 1, kExpiredHard = 2 };

// What workers count and note; several of them, anyone reads; relaxed. All start at 0 with a new key,
// and when an SA was taken out of the configuration and is put in again; they live on over restarts, so that
// what was expired stays so.
struct alignas(64) CellCounters {
  // Touched by every run of packets.
  std::atomic<uint64_t> packets;
  std::atomic<uint64_t> bytes;           // of inner packets
  std::atomic<uint32_t> expired_limits;  // Expired
  std::atomic<uint32_t> last_used_s;     // by boot_time_s(); 0: never
  std::atomic<uint32_t>
      path_mtu_bytes;  // of the outer path, as learned; 0: nothing. Written by whom the ICMP message reaches
  uint32_t reserved[9];
  // Packets that were dropped.
  std::atomic<uint64_t> replay;
  std::atomic<uint64_t> icv;
  std::atomic<uint64_t> malformed;
  std::atomic<uint64_t> mismatch;  // the outer source is not the SA's peer
  std::atomic<uint64_t> no_reserve;
  std::atomic<uint64_t> expired;  // by a hard limit
  uint64_t reserved_drops[2];

  static void add(std::atomic<uint64_t>& counter, uint64_t n) {
    counter.fetch_add(n, std::memory_order_relaxed);
  }
  bool has_expired(Expired limit) const {
    return (expired_limits.load(std::memory_order_relaxed) & limit) != 0;
  }
  // True for the one caller that was first: it reports the event.
  bool expire(Expired limit) {
    return (expired_limits.fetch_or(limit, std::memory_order_relaxed) & limit) == 0;
  }
  // `now_s` by boot_time_s(): one store a second, however many packets there are.
  void note_use(uint32_t now_s) {
    if (last_used_s.load(std::memory_order_relaxed) != now_s)
      last_used_s.store(now_s, std::memory_order_relaxed);
  }
};
static_assert(sizeof(CellCounters) == 128 && offsetof(CellCounters, replay) == 64);

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

// By pairs of cache lines, which a CPU fetches together: no two SAs share one.
struct alignas(128) SaCell {
  CellIdentity owner;
  OutboundCell outbound;
  CellCounters counters;
  ReplayState window;
  LearnedPeer peer;  // inbound, behind a NAT
};
static_assert(sizeof(SaCell) == 384 && offsetof(SaCell, outbound) == 64 &&
              offsetof(SaCell, counters) == 128 && offsetof(SaCell, window) == 256 &&
              offsetof(SaCell, peer) == 320);

struct CellGeometry {
  uint32_t capacity = 4096;          // cells
  uint32_t window_words = 1u << 17;  // for all replay windows together; 2 for a window of 32, 32 for 1024
};

class SaCells {
 public:
  static constexpr uint32_t kLayout = 2;  // for the handover

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

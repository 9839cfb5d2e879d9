// The statistics segment: written by the dataplane, read by everyone (espalierd, CLI, metrics).
//
// One block per worker, one writer per block (owner: that worker; the last block is the main lcore's),
// relaxed 64-bit stores, no locks: a reader sees each counter whole and never older than its own last look.
// Sums over the blocks are made by the reader. All zero is a valid empty segment.
#pragma once

#include <atomic>

#include "control/shared/drop_reason.hpp"
#include "control/shared/types.hpp"

namespace espalier::statistics {

inline constexpr uint64_t kMagic = 0x5453'7265'696c'6145;  // "EalierST"
inline constexpr uint32_t kLayout = 3;
inline constexpr size_t kMaxWorkers = 32;
inline constexpr size_t kBlocks = kMaxWorkers + 1;  // the main lcore's is kBlocks - 1
inline constexpr size_t kMaxInterfaces = 256;
inline constexpr size_t kMaxStages = 48;
inline constexpr size_t kMaxNatRules = 4096;  // per kind
inline constexpr size_t kMaxPolicies = 65536;

// A counter with one writer.
class Counter {
 public:
  void add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct PacketsBytes {
  Counter packets;
  Counter bytes;
  void add(uint64_t p, uint64_t b) { packets.add(p), bytes.add(b); }
};

struct Stage {
  Counter packets;
  Counter cycles;  // of the TSC
};

struct alignas(64) Block {
  Counter heartbeat;  // goes up at least ten times a second while the thread lives
  Counter polls;
  Counter idle_polls;
  Counter sleeps;
  Counter made;  // packets that the gateway itself made: replies, errors, ARP, fragments beyond the first
  Counter flow_hits;
  Counter flow_misses;
  Counter handed_over;
  Counter refused_messages;  // main lcore: ring messages that were refused
  alignas(64) Stage stages[kMaxStages];
  alignas(64) PacketsBytes received[kMaxInterfaces];
  PacketsBytes sent[kMaxInterfaces];
  Counter drops[kMaxInterfaces][kDropReasons];  // by ingress interface; what the gateway made: interface 0
  PacketsBytes nat_rules[2][kMaxNatRules];      // by nat::NatKind and rule index; first packets of flows
  PacketsBytes policies[kMaxPolicies];          // by PolicyIndex; packets that it decided
};

struct Segment {
  uint64_t magic = 0;
  uint32_t layout = 0;
  uint32_t workers = 0;
  std::atomic<uint64_t> generation{0};  // of the configuration that runs
  std::atomic<uint64_t> tsc_hz{0};
  std::atomic<uint32_t> dataplane_pid{0};
  std::atomic<uint32_t> stage_count{0};
  char stage_names[kMaxStages][24] = {};
  Block blocks[kBlocks];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace espalier::statistics

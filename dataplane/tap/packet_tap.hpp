// One `capture` or `trace` that runs: what it wants to see, and the packets that wait to be read.
//
// Threads that see packets (workers, and the main lcore for what it sends and drops itself) each write into a
// ring of their own; the main lcore reads them in the order of time. A full ring costs packets of the tap,
// which are counted, and nothing else.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "control/shared/statistics.hpp"
#include "dataplane/observer.hpp"
#include "dataplane/sa_set.hpp"
#include "dataplane/sad.hpp"
#include "dataplane/tap/capture_ring.hpp"
#include "dataplane/tap/packet_filter.hpp"

namespace espalier::dataplane {

struct TapOptions {
  uint8_t points = 0;  // bits of message::TapPoint
  bool trace = false;
  PacketFilter ethernet, ip;  // for bytes that begin with an Ethernet or an IP header
  uint32_t snap_bytes = message::kMaxTapBytes;
  // The SAs with this SPI or, where it is 0, this name, and those of the other direction: between the same
  // addresses, with the same reqid.
  bool one_tunnel = false;
  Spi spi;
  Name tunnel;
};

// What was seen of a packet. `sa`: that it is or was in; null: none, or not known.
struct Sighting {
  message::TapPoint point{};
  message::TapLink link = message::TapLink::kEthernet;
  Direction direction = Direction::kOut;
  DropReason reason{};
  InterfaceIndex interface = kNoInterface;
  const Sa* sa = nullptr;
  uint64_t time_ns = 0;  // since 1970; 0: now
};

// Nanoseconds since 1970.
uint64_t wall_clock_ns();

class PacketTap {
 public:
  // `threads`: workers and main lcore.
  PacketTap(TapOptions options, uint16_t threads, const Sad& sad);

  // Any thread; cheap, to be asked before anything else.
  bool wants(message::TapPoint point) const { return options_.points & message::bit_of(point); }
  bool wants_all_sas() const { return !options_.one_tunnel; }
  bool wants(SaIndex sa) const { return !options_.one_tunnel || (sa != kNoSa && sas_.has(sa)); }
  const PacketFilter& ethernet_filter() const { return options_.ethernet; }
  bool is_trace() const { return options_.trace; }
  // What an observer has to see of the pipeline for a capture.
  Observer::Interests interests() const;

  // Thread number `thread`: takes the packet if the filter wants it.
  void take(uint16_t thread, rte_mbuf* mbuf, const Sighting& seen);
  // The same for the text of a story, which no filter is asked about.
  void take(uint16_t thread, std::string_view text, const Sighting& seen);
  // A packet that could not be followed.
  void count_lost(uint16_t thread) { lanes_[thread]->lost.add(1); }

  // Main lcore. After SAs came or went.
  void follow_sas();
  // The oldest record of all threads: a message::TapPacket and its bytes; empty if there is none.
  std::span<const uint8_t> front();
  void pop();
  uint64_t lost() const;

 private:
  struct alignas(64) Lane {
    CaptureRing ring;
    statistics::Counter lost;
    explicit Lane(uint32_t bytes) : ring(bytes) {}
  };
  static uint64_t time_of(std::span<const uint8_t> record);
  uint8_t* write(Lane& lane, uint16_t thread, const Sighting& seen, uint32_t packet_bytes, uint32_t captured);

  TapOptions options_;
  const Sad& sad_;
  SaSet sas_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // by thread
  Lane* oldest_ = nullptr;                    // that front() looked at
};

}  // namespace espalier::dataplane

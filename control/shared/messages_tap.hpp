// Messages of taps: what `capture` and `trace` ask of the dataplane, and the packets that come back.
//
// A tap begins with its filters (TapFilter, in pieces) and TapStart, which says how many instructions were
// sent; the Ack's cursor is the tap's id. What it saw waits in bounded buffers until TapRead asks: each
// packet is a TapPacket and as many TapData as its bytes need; the Ack's cursor is 1 while more waits, its
// count how many packets were lost so far for want of room. TapStop ends it, and so do five seconds in which
// nobody reads.
#pragma once

#include "control/shared/messages.hpp"

namespace espalier::message {

// Where packets are looked at.
enum class TapPoint : uint8_t {
  kRx,     // frames as a port received them
  kPlain,  // packets as an SA takes them, and as it gives them back
  kTx,     // frames as they are given to a port
  kDrop,   // what ends here, lost, as it is then
  kStory,  // no packet: the lines of a trace
};
inline constexpr uint8_t kTapPoints = 4;  // that packets are looked at
constexpr uint8_t bit_of(TapPoint point) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(point));
}

// What the bytes begin with.
enum class TapLink : uint8_t { kEthernet, kIp, kText };

// One instruction of classic BPF, as <pcap/bpf.h> and the kernel have it; host byte order.
struct TapInstruction {
  uint16_t code = 0;
  uint8_t jump_true = 0;
  uint8_t jump_false = 0;
  uint32_t k = 0;
};
inline constexpr size_t kMaxTapInstructions = 2048;  // of one program
inline constexpr uint32_t kMaxTapBytes = 65535;      // of one packet, or one story

// Instructions number `first` and following of the program for bytes of `link` (kEthernet or kIp).
struct TapFilter {
  static constexpr Type kType = Type::kTapFilter;
  static constexpr uint16_t kMost = 56;
  TapLink link{};
  uint8_t reserved = 0;
  uint16_t first = 0;
  uint16_t count = 0;  // 1..kMost
  uint16_t reserved_too = 0;
  TapInstruction instructions[kMost];
};

struct TapStart {
  static constexpr Type kType = Type::kTapStart;
  uint8_t points = 0;  // bit_of(TapPoint)s; 0 for a trace
  uint8_t trace = 0;   // 1: the stories of packets that kEthernet's program chooses at rx
  // Instructions that were sent for kEthernet and kIp; 0: every packet matches.
  uint16_t ethernet_instructions = 0;
  uint16_t ip_instructions = 0;
  uint8_t has_tunnel = 0;  // packets of the SAs with this name or this SPI only
  uint8_t reserved = 0;
  uint32_t snap_bytes = kMaxTapBytes;  // of each packet at most
  Spi spi;                             // 0: by name
  Name tunnel;
};

struct TapRead {
  static constexpr Type kType = Type::kTapRead;
  uint64_t id = 0;
};

struct TapStop {
  static constexpr Type kType = Type::kTapStop;
  uint64_t id = 0;
};

struct TapPacket {
  static constexpr Type kType = Type::kTapPacket;
  uint64_t time_ns = 0;         // since 1970
  uint32_t packet_bytes = 0;    // as it was
  uint32_t captured_bytes = 0;  // that follow
  TapPoint point{};
  TapLink link{};
  Direction direction{};  // kPlain: kIn came out of the SA, kOut goes into it
  DropReason reason{};    // kDrop
  InterfaceIndex interface =
      kNoInterface;  // kDrop, kPlain inwards: that it came in by; else that it leaves by
  WorkerId worker;   // the number of workers: the main lcore
  Spi spi;           // of the SA that it is in or was in; 0: none
  Name tunnel;       // that SA's name
};

struct TapData {
  static constexpr Type kType = Type::kTapData;
  static constexpr uint16_t kMost = 480;
  uint16_t bytes = 0;  // 1..kMost
  uint8_t data[kMost];
};

}  // namespace espalier::message

// The memory that keeps the IKE process's SAs over its death: espalierd makes it and holds it, espalier-ike
// alone writes and reads what is inside (ike/daemon/state_store.hpp). Beside the states stands its heartbeat.
//
//   | header | marks of slot 0, 1 ... | bytes of slot 0, 1 ... |
//
// Saves have numbers, and one may change many slots: it counts as soon as `committed` has its number. A slot
// holds the state of one IKE SA in one of two copies: of those whose save counts the newer; one without bytes
// says that there is none. All zero is empty. The segment is large and sparse: bytes that were never touched
// take no memory, and looking at the marks touches none.
#pragma once

#include <atomic>

#include "control/shared/segment.hpp"

namespace espalier::ike_state {

inline constexpr uint64_t kMagic = 0x6574'6174'732d'6b69;
inline constexpr uint32_t kLayout = 2;
inline constexpr size_t kSlots = 8192;
inline constexpr size_t kCopyBytes = 32768;

// What a copy is.
struct Mark {
  std::atomic<uint64_t> save{0};  // its number; 0: not valid. Written last
  uint32_t bytes = 0;
  uint32_t crc = 0;  // CRC-32C over slot number, number of the save and bytes
};
static_assert(sizeof(Mark) == 16 && std::atomic<uint64_t>::is_always_lock_free);

struct Layout {
  std::atomic<uint64_t> magic{0};
  uint32_t layout = 0;
  uint32_t slots = 0;
  alignas(64) std::atomic<uint64_t> heartbeat{0};  // counts while espalier-ike's loop turns
  alignas(64) std::atomic<uint64_t> committed{0};  // number of the last save that is whole
  alignas(4096) Mark marks[kSlots][2];
  alignas(4096) uint8_t data[kSlots][2][kCopyBytes];
};

// A new one.
Result<Segment> create();
// One that another process made; errors: of another layout or size.
Result<Segment> attach(Fd fd);
inline Layout& of(const Segment& segment) {
  return *segment.as<Layout>();
}

}  // namespace espalier::ike_state

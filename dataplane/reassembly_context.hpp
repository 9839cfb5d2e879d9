// One datagram that waits for fragments: reassembler.cpp's own parts, apart because reassembler_build.cpp,
// which may allocate, makes them.
#pragma once

#include <array>

#include "dataplane/reassembler.hpp"

namespace espalier::dataplane {

// What identifies a datagram: RFC 791 section 3.2, and the security path, so that a forged clear fragment can
// never become part of a decrypted datagram.
struct DatagramKey {
  Ipv4Address source;
  Ipv4Address destination;
  be16 id;
  uint8_t protocol = 0;
  SecurityPath path;
  static DatagramKey of(const Ipv4Header& header, SecurityPath path);
  uint32_t hash() const;  // without the path: fragment_hash()
  friend bool operator==(const DatagramKey&, const DatagramKey&) = default;
};

// A fragment, its lengths checked. Offsets and ends are in bytes of the datagram's payload.
struct FragmentPiece {
  rte_mbuf* mbuf = nullptr;
  const Ipv4Header* header = nullptr;
  DatagramKey key;
  uint32_t offset = 0;
  uint32_t end = 0;
  uint16_t header_bytes = 0;
  uint16_t total_bytes = 0;
  bool is_last = false;

  std::span<const uint8_t> payload() const {
    return bytes(mbuf).subspan(header_bytes, total_bytes - header_bytes);
  }
  uint32_t first_unit() const { return offset / 8; }
  uint32_t end_unit() const { return (end + 7) / 8; }
};

struct ReassemblyContext {
  // Where the payload begins in the mbuf's buffer: behind headroom and the longest header; when it does not
  // fit there, behind the shortest.
  static constexpr uint16_t kRoomyStart = kPacketHeadroom + 60;
  static constexpr uint16_t kTightStart = sizeof(Ipv4Header);

  enum class Fit : uint8_t { kNew, kDuplicate, kContradiction };

  void begin(const FragmentPiece& piece, rte_mbuf* mbuf, uint64_t now_ms);
  Fit fit(const FragmentPiece& piece) const;
  void store(const FragmentPiece& piece);
  bool has_all() const { return has_last && received_units == (end + 7) / 8; }
  // Whether what came together makes a datagram that may be passed on.
  bool is_sound() const;
  void finish();

  DatagramKey key;
  rte_mbuf* whole = nullptr;
  uint64_t opened_ms = 0;
  uint32_t next = 0;  // in the bucket, or among the free
  uint32_t older = 0;
  uint32_t newer = 0;

  uint32_t received_units = 0;
  uint32_t end = 0;          // the farthest that came; with has_last the payload's length
  uint16_t start = 0;        // kRoomyStart or kTightStart
  uint16_t longest = 0;      // total length of the longest fragment
  uint16_t longest_df = 0;   // and of the longest with DF
  uint8_t header_bytes = 0;  // of the first fragment, 0 while it is missing
  uint8_t ecn_seen = 0;      // bit n: the ECN field n
  bool has_last = false;
  std::array<uint8_t, 60> header{};
  std::array<uint64_t, 128> units{};  // bitmap of the 8-byte units that came

 private:
  void make_room(uint32_t up_to);
  bool ends_contradict(const FragmentPiece& piece) const;
  uint32_t present(const FragmentPiece& piece) const;
  uint8_t* buffer() const { return static_cast<uint8_t*>(whole->buf_addr); }
};

}  // namespace espalier::dataplane

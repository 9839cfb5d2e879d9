// One datagram that waits for fragments: what came of it, and whether the next one fits. The reassembler's
// own parts; nobody else includes this.
#pragma once

#include <array>

#include "dataplane/reassembler.hpp"

namespace espalier::dataplane {

inline constexpr uint32_t kMaxIpBytes = 65535;

// What identifies a datagram: RFC 791 section 3.2 or RFC 8200 section 4.5, and the security path or the
// tunnel interface that stands for it, so that a forged clear fragment can never become part of a decrypted
// datagram.
struct DatagramKey {
  IpAddress source;
  IpAddress destination;
  uint32_t id = 0;  // as it lies in the header
  SecurityPath path;
  InterfaceIndex link = kNoInterface;  // of a link-local source, and of what came by a protected tunnel
  uint8_t protocol = 0;                // IPv4
  uint32_t hash() const;               // without the path: fragment_hash()
  friend bool operator==(const DatagramKey&, const DatagramKey&) = default;
};

// A fragment, its lengths checked. Offsets and ends are in bytes of the datagram's payload.
struct FragmentPiece {
  rte_mbuf* mbuf = nullptr;
  DatagramKey key;
  uint32_t offset = 0;
  uint32_t end = 0;
  uint16_t header_bytes = 0;  // of the headers that the whole has as well
  uint16_t payload_at = 0;    // IPv6: behind the fragment header
  uint16_t total_bytes = 0;
  uint16_t next_header_field = 0;  // IPv6: names the fragment header in the piece, in the whole:
  uint8_t next_header = 0;
  uint8_t ecn = 0;
  bool dont_fragment = false;
  bool is_last = false;

  std::span<const uint8_t> payload() const { return bytes(mbuf).subspan(payload_at, end - offset); }
  uint32_t first_unit() const { return offset / 8; }
  uint32_t end_unit() const { return (end + 7) / 8; }
};

// Some of the 8-byte units of a datagram.
class UnitSet {
 public:
  void clear() { words_.fill(0); }
  void add(uint32_t first, uint32_t end);
  uint32_t count(uint32_t first, uint32_t end) const;
  bool has(uint32_t unit) const { return words_[unit / 64] >> (unit % 64) & 1; }

 private:
  std::array<uint64_t, 128> words_{};
};

struct ReassemblyContext {
  // Where the payload begins in the mbuf's buffer: behind headroom and the longest headers; when it does not
  // fit there, behind the shortest.
  static constexpr uint16_t kRoomyStart = kPacketHeadroom + Reassembler::kMaxHeaderBytes;
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
  uint32_t end = 0;           // the farthest that came; with has_last the payload's length
  uint16_t start = 0;         // kRoomyStart or kTightStart
  uint16_t longest = 0;       // total length of the longest fragment
  uint16_t longest_df = 0;    // and of the longest with DF
  uint16_t header_bytes = 0;  // of the first fragment, 0 while it is missing
  uint8_t ecn_seen = 0;       // bit n: the ECN field n
  bool has_last = false;
  std::array<uint8_t, Reassembler::kMaxHeaderBytes> header{};  // of the first fragment, as the whole has it
  UnitSet units;                                               // that came
  UnitSet firsts;                                              // that a fragment began with

 private:
  void make_room(uint32_t up_to);
  void store_header(const FragmentPiece& piece);
  void finish_ipv4(uint16_t total_bytes);
  void finish_ipv6(uint16_t total_bytes);
  bool has_congestion() const;
  bool ends_contradict(const FragmentPiece& piece) const;
  bool came_before(const FragmentPiece& piece) const;
  uint8_t* buffer() const { return static_cast<uint8_t*>(whole->buf_addr); }
};

}  // namespace espalier::dataplane

// A packet on its way through the pipeline: an mbuf whose data starts at the IP header, and a record of 64
// bytes (Packet) in the mbuf's private area with all that was parsed and decided about it. The Ethernet
// header is taken off by `parse` and put back by `transmit`; between them nobody sees layer 2.
//
// Owner: the thread that holds the mbuf; both travel together through rings.
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <span>

#include "control/shared/drop_reason.hpp"
#include "dataplane/wire.hpp"

namespace espalier::dataplane {

// How a packet was decrypted: the reqid, template addresses and selector of its SA, interned by the SAD,
// never the SPI, so that a rekey does not change it. Part of every flow key: a clear packet can never use the
// decisions that were made for a decrypted one.
using SecurityPath = Id<struct SecurityPathTag, uint32_t>;
inline constexpr SecurityPath kClear{0};
inline constexpr SecurityPath kNestedPath{
    1};  // decrypted more than once: no policy of one template accepts it

enum PacketFlags : uint16_t {
  kFragment = 1,        // an unassembled fragment: ports are zero
  kReassembled = 2,     // was put together here; fragment_limit is its largest piece (Linux: ignore_df)
  kFromGateway = 4,     // made by the gateway itself: replies and ICMP errors
  kAboutDecrypted = 8,  // an ICMP error that quotes a decrypted packet: must not leave in clear
  kIcmpError = 16,      // carries a quote; its session is the quoted packet's
  kInvalid = 32,        // what conntrack calls INVALID
  kEncrypted = 64,      // ESP that esp_output made: not looked up again
};

// An ICMP error that answers a packet (type 0: none, since echo replies are not errors).
struct IcmpAnswer {
  uint8_t type = 0;
  uint8_t code = 0;
  uint16_t mtu_bytes = 0;  // of type 3 code 4
};

// Where a packet goes that does not go on.
enum class Exit : uint8_t {
  kDrop,      // counted by its reason and freed
  kHeld,      // freed, counted nowhere: a copy of it waits (the first fragment of a datagram)
  kToMain,    // to the main lcore: ARP, and packets whose next hop must be resolved
  kToWorker,  // to the worker that owns its session or its fragments
};

struct alignas(64) Packet {
  Ipv4Tuple tuple;         // as received; for ICMP queries see Ipv4Tuple
  InterfaceIndex in;       // ingress; kNoInterface for kFromGateway
  uint16_t flags = 0;      // PacketFlags
  uint16_t l4_offset = 0;  // from the IP header
  uint16_t ip_bytes = 0;   // total length of the IP packet
  SecurityPath path;
  SaIndex sa = kNoSa;           // inbound: that decrypted it last; outbound: that shall encrypt it
  uint32_t neighbor = kNone32;  // NeighborRef of the next hop once it is known
  InterfaceIndex out;           // egress once it is known
  uint16_t fragment_limit = 0;  // kReassembled: output fragments may not be larger; 0: no limit
  DropReason reason{};          // why it may not go on
  uint8_t tcp_flags = 0;
  Exit exit = Exit::kDrop;
  uint8_t reserved = 0;
  WorkerId to_worker;       // with Exit::kToWorker
  Ipv4Address next_hop;     // whom `neighbor` must resolve
  uint32_t flow = kNone32;  // entry of the worker's flow cache
  uint32_t mtu_bytes = 0;   // of the way out, for fragmentation
};
static_assert(sizeof(Packet) == 64);
static_assert(std::is_trivially_copyable_v<Packet>);

inline constexpr uint16_t kBurst = 32;            // packets of one poll
inline constexpr uint16_t kPacketHeadroom = 128;  // for Ethernet, VLAN, outer IP, ESP, IV
inline constexpr uint16_t kTailroom = 64;         // for ESP padding, trailer, ICV

// The record of `mbuf`. Mempools must be made with sizeof(Packet) private bytes, 64-byte aligned.
inline Packet& packet(rte_mbuf* mbuf) {
  return *static_cast<Packet*>(rte_mbuf_to_priv(mbuf));
}
inline Ipv4Header& ip_header(rte_mbuf* mbuf) {
  return *rte_pktmbuf_mtod(mbuf, Ipv4Header*);
}
inline uint8_t* l4_header(rte_mbuf* mbuf) {
  return rte_pktmbuf_mtod_offset(mbuf, uint8_t*, packet(mbuf).l4_offset);
}
inline std::span<uint8_t> bytes(rte_mbuf* mbuf) {
  return {rte_pktmbuf_mtod(mbuf, uint8_t*), mbuf->data_len};
}

using MbufSpan = std::span<rte_mbuf*>;

// Moves the packets for which `keep(mbuf)` holds to the front, both parts in their order, and returns how
// many they are. The others must carry a reason.
template <class Keep>
uint16_t partition(MbufSpan burst, Keep keep) {
  rte_mbuf* rest[kBurst * 2];
  uint16_t kept = 0, others = 0;
  for (rte_mbuf* mbuf : burst)
    if (keep(mbuf))
      burst[kept++] = mbuf;
    else
      rest[others++] = mbuf;
  std::copy_n(rest, others, burst.begin() + kept);
  return kept;
}

}  // namespace espalier::dataplane

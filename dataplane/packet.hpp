// A packet on its way through the pipeline: an mbuf whose data starts at the IP header, and a record of 128
// bytes (Packet) in the mbuf's private area with all that was parsed and decided about it. The Ethernet
// header is taken off by `parse` and put back by `transmit`; between them nobody sees layer 2.
//
// Owner: the thread that holds the mbuf; both travel together through rings.
#pragma once

#include <immintrin.h>
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
inline constexpr SecurityPath kUnknownPath{1};    // a chain of SAs that no policy has: none accepts it
inline constexpr SecurityPath kMadeHere{2};       // GRE that the gateway put around a packet
inline constexpr SecurityPath kEncryptedHere{3};  // ESP that it made
inline constexpr uint32_t kNamedPaths = 4;

enum PacketFlags : uint16_t {
  kFragment = 1,        // an unassembled fragment: ports are zero
  kReassembled = 2,     // was put together here; fragment_limit is its largest piece (Linux: ignore_df)
  kFromGateway = 4,     // made by the gateway itself: replies, ICMP errors, GRE around others; or by its host
  kAboutProtected = 8,  // an ICMP error that quotes a decrypted packet: must not leave in clear
  kIcmpError = 16,      // carries a quote; its session is the quoted packet's
  kInvalid = 32,        // what conntrack calls INVALID
  kEncrypted = 64,      // ESP that esp_output made: not looked up in the policies again
  kCameProtected = 128,  // was decrypted here, also if GRE around it was taken off since
  kMustProtect = 256,    // GRE of an interface with `protect`: leaves as ESP or not at all
  kFromHost = 512,       // of the gateway's host, by its path
  kDontFragment = 1024,  // IPv4: DF; IPv6: always, routers do not fragment
  kOwnIke = 2048,        // made from a datagram of the IKE process: no out policy is asked (stages/ike.hpp)
};

// An ICMP error that answers a packet; each family has its own types and codes for it.
enum class IcmpReason : uint8_t {
  kNone,
  kNetUnreachable,
  kHostUnreachable,
  kProhibited,
  kPortUnreachable,
  kProtocolUnreachable,
  kTimeExceeded,
  kTooBig,
};
struct IcmpAnswer {
  IcmpReason reason = IcmpReason::kNone;
  uint32_t mtu_bytes = 0;  // kTooBig
};

// Where a packet goes that does not go on.
enum class Exit : uint8_t {
  kDrop,      // counted by its reason and freed
  kHeld,      // freed, counted nowhere: a copy of it waits (the first fragment of a datagram)
  kToMain,    // to the main lcore: ARP, ND, packets whose next hop must be resolved, packets for the host
  kToWorker,  // to the worker that owns its session or its fragments
  kAgain,     // back into the pipeline, at Packet::again: it is another packet now
};

// Where packets come into the list of stages (pipeline.hpp).
enum class Entry : uint8_t {
  kReceived,      // frames of a port: at parse
  kHandedOver,    // parsed by another worker: at reassemble
  kDecapsulated,  // taken out of GRE, or of ESP that NAT had to see first: at reassemble
  kMade,          // of the gateway itself: at flow_lookup
  kToTunnel,      // fragments for a tunnel interface: at tunnel_output
};

// Who takes a packet that is for the gateway itself.
enum class LocalService : uint8_t {
  kNone,
  kEsp,  // bare or in UDP
  kIke,
  kGre,
};

struct alignas(64) Packet {
  static constexpr uint8_t kAnswerStory = 128;  // in `story`: it is the gateway's own answer in that story

  // These three are the flow's key (flow_cache.hpp).
  Tuple tuple;  // as received; for ICMP queries see Tuple
  SecurityPath path;
  InterfaceIndex in;        // ingress; kNoInterface for kFromGateway, the interface for what GRE made
  uint16_t flags = 0;       // PacketFlags
  uint16_t l4_offset = 0;   // from the IP header
  uint16_t ip_bytes = 0;    // total length of the IP packet
  SaIndex sa = kNoSa;       // inbound: that decrypted it last; outbound: that shall encrypt it
  uint32_t flow = kNone32;  // entry of the worker's flow cache
  DropReason reason{};      // why it may not go on
  Exit exit = Exit::kDrop;
  uint8_t tcp_flags = 0;
  uint8_t depth = 0;  // how often it was wrapped or unwrapped here

  IpAddress next_hop{};            // whom `neighbor` must resolve
  uint32_t neighbor = kNone32;     // NeighborRef of the next hop once it is known
  uint32_t mtu_bytes = 0;          // of the way out, for fragmentation
  PolicyIndex policy = kNoPolicy;  // whose templates encrypt it
  InterfaceIndex out{};            // egress once it is known
  uint16_t fragment_limit = 0;     // kReassembled: output fragments may not be larger; 0: no limit
  WorkerId to_worker{};            // with Exit::kToWorker
  Entry again{};                   // with Exit::kAgain
  uint8_t template_at = 0;         // of `policy`: the one that `sa` is for
  uint8_t templates = 0;           // of `policy`
  LocalService service{};          // set by flow_lookup
  bool into_tunnel = false;        // `out` is a vti or gre interface that takes the packet
  uint8_t story = 0;               // the observer's story that it is part of, with kAnswerStory; 0: none
  bool is_frame = false;           // the data begins with the Ethernet header: dropped by parse, or when sent
  SaIndex last_sa = kNoSa;         // that it came out of or went into last
  uint8_t reserved[16] = {};
};
static_assert(sizeof(Packet) == 128 && offsetof(Packet, next_hop) == 64);
static_assert(offsetof(Packet, path) == 40 && offsetof(Packet, in) == 44);
static_assert(std::is_trivially_copyable_v<Packet>);

inline constexpr uint16_t kBurst = 32;            // packets of one poll
inline constexpr uint16_t kPacketHeadroom = 128;  // for Ethernet, VLAN, outer IP, UDP, ESP, IV
inline constexpr uint16_t kTailroom = 128;        // for ESP padding, trailer, ICV
inline constexpr uint8_t kMaxDepth = 8;           // tunnels within tunnels

// What a record begins with. Copied: GCC makes a string instruction of assigning Packet{}, which costs as
// much as half of parsing.
inline constexpr Packet kFreshPacket{};

// Made by the dataplane itself, not by the gateway's host.
inline bool is_made_here(const Packet& p) {
  return (p.flags & (kFromGateway | kFromHost)) == kFromGateway;
}

// The record of `mbuf`. Mempools must be made with sizeof(Packet) private bytes, 64-byte aligned.
inline Packet& packet(rte_mbuf* mbuf) {
  return *static_cast<Packet*>(rte_mbuf_to_priv(mbuf));
}
inline Packet& make_fresh(rte_mbuf* mbuf) {
  auto* const to = reinterpret_cast<__m128i*>(&packet(mbuf));
  const auto* const from = reinterpret_cast<const __m128i*>(&kFreshPacket);
  for (size_t i = 0; i < sizeof(Packet) / sizeof(__m128i); ++i)
    _mm_store_si128(to + i, _mm_load_si128(from + i));
  return packet(mbuf);
}
inline Ipv4Header& ipv4_header(rte_mbuf* mbuf) {
  return *rte_pktmbuf_mtod(mbuf, Ipv4Header*);
}
inline Ipv6Header& ipv6_header(rte_mbuf* mbuf) {
  return *rte_pktmbuf_mtod(mbuf, Ipv6Header*);
}
// What the gateway's own answer to a packet of this story belongs to.
constexpr uint8_t answer_story(uint8_t story) {
  return story == 0 ? uint8_t{0} : static_cast<uint8_t>(story | Packet::kAnswerStory);
}
// By the header itself; the record may be that of what is inside.
inline bool is_ipv4(rte_mbuf* mbuf) {
  return *rte_pktmbuf_mtod(mbuf, uint8_t*) >> 4 == 4;
}
inline uint8_t* l4_header(rte_mbuf* mbuf) {
  return rte_pktmbuf_mtod_offset(mbuf, uint8_t*, packet(mbuf).l4_offset);
}
inline std::span<uint8_t> bytes(rte_mbuf* mbuf) {
  return {rte_pktmbuf_mtod(mbuf, uint8_t*), mbuf->data_len};
}

// The largest packet that may leave whole; what came in fragments leaves in fragments no larger (Linux).
inline uint16_t output_limit(const Packet& p) {
  uint32_t limit = p.mtu_bytes;
  if ((p.flags & kReassembled) && p.fragment_limit) limit = std::min<uint32_t>(limit, p.fragment_limit);
  return static_cast<uint16_t>(std::min<uint32_t>(limit, 65535));
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

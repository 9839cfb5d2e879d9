// Stage `parse`: Ethernet, VLAN, IPv4 and ports, each behind a length check.
//
// Only form is judged here; whether an address may be a source or a destination is asked once per flow, by
// `route`. Configuration: the interface table (port and VLAN to interface, MAC address).
#include "dataplane/stages/parse.hpp"

#include <rte_prefetch.h>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

bool has_source_route(const Ipv4Header& ip) {
  constexpr uint8_t kEnd = 0, kNoOperation = 1, kLooseRoute = 131, kStrictRoute = 137;
  const uint8_t* options = reinterpret_cast<const uint8_t*>(&ip + 1);
  const uint32_t length = ip.header_bytes() - sizeof ip;
  for (uint32_t at = 0; at < length && options[at] != kEnd;) {
    if (options[at] == kLooseRoute || options[at] == kStrictRoute) return true;
    if (options[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (at + 1 >= length || options[at + 1] < 2) break;
    at += options[at + 1];
  }
  return false;
}

bool parse_icmp(Packet& p, const IcmpHeader& icmp) {
  const bool error = is_icmp_error(icmp.type);
  if (error) p.flags |= kIcmpError;
  p.tuple.source_port = error ? be16{} : icmp.id;
  p.tuple.destination_port = be16::from_host(static_cast<uint16_t>(icmp.type << 8 | icmp.code));
  return true;
}

// The ports, or what stands for them; later fragments have none.
bool parse_l4(rte_mbuf* mbuf, Packet& p) {
  const uint32_t l4_bytes = p.ip_bytes - p.l4_offset;
  const uint8_t* l4 = l4_header(mbuf);
  switch (p.tuple.protocol) {
    case kProtoTcp: {
      if (l4_bytes < sizeof(TcpHeader)) return stop(mbuf, DropReason::kL4Truncated);
      const auto& tcp = *reinterpret_cast<const TcpHeader*>(l4);
      p.tuple.source_port = tcp.source_port;
      p.tuple.destination_port = tcp.destination_port;
      p.tcp_flags = tcp.flags;
      return true;
    }
    case kProtoUdp: {
      if (l4_bytes < sizeof(UdpHeader)) return stop(mbuf, DropReason::kL4Truncated);
      const auto& udp = *reinterpret_cast<const UdpHeader*>(l4);
      p.tuple.source_port = udp.source_port;
      p.tuple.destination_port = udp.destination_port;
      return true;
    }
    case kProtoIcmp:
      if (l4_bytes < sizeof(IcmpHeader)) return stop(mbuf, DropReason::kL4Truncated);
      return parse_icmp(p, *reinterpret_cast<const IcmpHeader*>(l4));
    default:
      return true;
  }
}

DropReason check_header(rte_mbuf* mbuf, bool check_checksum) {
  if (mbuf->data_len < sizeof(Ipv4Header)) return DropReason::kIpTruncated;
  const Ipv4Header& ip = ip_header(mbuf);
  if (ip.version() != 4) return DropReason::kIpBadVersion;
  const uint32_t header_bytes = ip.header_bytes();
  if (header_bytes < sizeof(Ipv4Header) || header_bytes > mbuf->data_len)
    return DropReason::kIpBadHeaderLength;
  const uint32_t total = ip.total_length.host();
  if (total < header_bytes || total > mbuf->data_len) return DropReason::kIpBadLength;
  if (check_checksum && nat::checksum({reinterpret_cast<const uint8_t*>(&ip), header_bytes}) != 0)
    return DropReason::kIpBadChecksum;
  if (header_bytes > sizeof(Ipv4Header) && has_source_route(ip)) return DropReason::kIpSourceRoute;
  return DropReason::kNone;
}

bool is_group(const MacAddress& mac) {
  return mac[0] & 1;
}

// Takes the Ethernet header and a VLAN tag off. Returns false when the frame goes no further.
bool parse_ethernet(Context& ctx, rte_mbuf* mbuf, uint16_t& ether_type) {
  if (mbuf->nb_segs != 1 || mbuf->data_len < sizeof(EthernetHeader))
    return stop(mbuf, DropReason::kEthernetTruncated);
  const auto& ethernet = *rte_pktmbuf_mtod(mbuf, const EthernetHeader*);
  const MacAddress destination = ethernet.destination;
  ether_type = ethernet.type.host();
  uint16_t vlan_id = 0, l2_bytes = sizeof ethernet;
  if (ether_type == kEtherTypeVlan) {
    if (mbuf->data_len < kMaxL2Bytes) return stop(mbuf, DropReason::kEthernetTruncated);
    const auto& tag = *rte_pktmbuf_mtod_offset(mbuf, const VlanTag*, sizeof ethernet);
    vlan_id = tag.id();
    ether_type = tag.type.host();
    l2_bytes = kMaxL2Bytes;
  }
  Packet& p = packet(mbuf);
  const InterfaceIndex index = ctx.tables->interfaces->by_wire(mbuf->port, vlan_id);
  if (index == kNoInterface) return stop(mbuf, DropReason::kEthernetUnknownVlan);
  p.in = index;
  const Interface& in = ctx.interface(p.in);
  if (!in.enabled) return stop(mbuf, DropReason::kInterfaceDown);
  if (destination != in.mac && !(ether_type == kEtherTypeArp && is_group(destination)))
    return stop(mbuf, is_group(destination) ? DropReason::kIpMulticast : DropReason::kEthernetNotForUs);
  rte_pktmbuf_adj(mbuf, l2_bytes);
  return true;
}

// Counts what interfaces received, once for neighbours of a burst that came in on the same.
class ReceivedCount {
 public:
  explicit ReceivedCount(statistics::Block& stats) : stats_(stats) {}
  ~ReceivedCount() { flush(); }
  ReceivedCount(const ReceivedCount&) = delete;
  ReceivedCount& operator=(const ReceivedCount&) = delete;

  void add(InterfaceIndex in, uint32_t frame_bytes) {
    if (in != in_) flush();
    in_ = in;
    ++packets_;
    bytes_ += frame_bytes;
  }

 private:
  void flush() {
    if (packets_ != 0) stats_.received[in_.value].add(packets_, bytes_);
    packets_ = bytes_ = 0;
  }
  statistics::Block& stats_;
  InterfaceIndex in_ = kNoInterface;
  uint64_t packets_ = 0, bytes_ = 0;
};

bool parse_frame(Context& ctx, rte_mbuf* mbuf, ReceivedCount& received) {
  Packet& p = packet(mbuf) = Packet{};
  p.in = ctx.tables->interfaces->by_wire(mbuf->port, 0);  // until a VLAN tag says otherwise
  uint16_t ether_type = 0;
  const uint32_t frame_bytes = mbuf->pkt_len;
  const bool goes_on = parse_ethernet(ctx, mbuf, ether_type);
  if (p.in != kNoInterface) received.add(p.in, frame_bytes);
  if (!goes_on) return false;
  if (ether_type == kEtherTypeArp) return stop_for_main(mbuf, DropReason::kUsedArp);
  if (ether_type != kEtherTypeIpv4) return stop(mbuf, DropReason::kEthernetUnknownType);
  const bool by_device = (mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  return parse_ip(mbuf, !by_device);
}

}  // namespace

bool parse_ip(rte_mbuf* mbuf, bool check_checksum) {
  if (const DropReason fault = check_header(mbuf, check_checksum); fault != DropReason::kNone)
    return stop(mbuf, fault);
  const Ipv4Header& ip = ip_header(mbuf);
  Packet& p = packet(mbuf);
  p.ip_bytes = ip.total_length.host();
  rte_pktmbuf_trim(mbuf, mbuf->data_len - p.ip_bytes);
  p.l4_offset = ip.header_bytes();
  p.tuple = {};
  p.tuple.source = ip.source;
  p.tuple.destination = ip.destination;
  p.tuple.protocol = ip.protocol;
  p.flags &= ~(kFragment | kIcmpError);
  p.tcp_flags = 0;
  if (!ip.is_fragment()) return parse_l4(mbuf, p);
  p.flags |= kFragment;
  return true;
}

uint16_t parse(Context& ctx, MbufSpan burst) {
  constexpr size_t kAhead = 4;
  for (size_t i = 0; i < burst.size() && i < kAhead; ++i) rte_prefetch0(rte_pktmbuf_mtod(burst[i], void*));
  ReceivedCount received(*ctx.stats);
  size_t i = 0;
  return partition(burst, [&](rte_mbuf* mbuf) {
    if (++i + kAhead <= burst.size()) {
      rte_mbuf* next = burst[i + kAhead - 1];
      rte_prefetch0(rte_pktmbuf_mtod(next, void*));
      rte_prefetch0(&packet(next));
    }
    return parse_frame(ctx, mbuf, received);
  });
}

}  // namespace espalier::dataplane

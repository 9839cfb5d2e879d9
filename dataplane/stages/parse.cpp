// Stage `parse`: Ethernet, VLAN, IPv4 or IPv6, and ports, each behind a length check.
//
// Only form is judged here; whether an address may be a source or a destination is asked once per flow, by
// `route`. Configuration: the interface table (port and VLAN to interface, MAC address).
#include "dataplane/stages/parse.hpp"

#include <rte_prefetch.h>

#include "dataplane/ipv6.hpp"
#include "dataplane/nd.hpp"
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
  const bool error = p.tuple.protocol == kProtoIcmp ? is_icmp_error(icmp.type) : is_icmpv6_error(icmp.type);
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
    case kProtoIcmpv6:
      if (l4_bytes < sizeof(IcmpHeader)) return stop(mbuf, DropReason::kL4Truncated);
      return parse_icmp(p, *reinterpret_cast<const IcmpHeader*>(l4));
    default:
      return true;
  }
}

DropReason check_ipv4(rte_mbuf* mbuf, bool check_checksum) {
  if (mbuf->data_len < sizeof(Ipv4Header)) return DropReason::kIpTruncated;
  const Ipv4Header& ip = ipv4_header(mbuf);
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

bool parse_ipv4(rte_mbuf* mbuf, bool check_checksum) {
  if (const DropReason fault = check_ipv4(mbuf, check_checksum); fault != DropReason::kNone)
    return stop(mbuf, fault);
  const Ipv4Header& ip = ipv4_header(mbuf);
  Packet& p = packet(mbuf);
  p.ip_bytes = ip.total_length.host();
  rte_pktmbuf_trim(mbuf, mbuf->data_len - p.ip_bytes);
  p.l4_offset = ip.header_bytes();
  p.tuple.source = ip.source;
  p.tuple.destination = ip.destination;
  p.tuple.protocol = ip.protocol;
  if (ip.dont_fragment()) p.flags |= kDontFragment;
  if (ip.is_fragment()) p.flags |= kFragment;
  return true;
}

DropReason check_ipv6(rte_mbuf* mbuf) {
  if (mbuf->data_len < sizeof(Ipv6Header)) return DropReason::kIpTruncated;
  const Ipv6Header& ip = ipv6_header(mbuf);
  if (ip.version() != 6) return DropReason::kIpBadVersion;
  const uint32_t total = sizeof ip + ip.payload_length.host();
  if (total > mbuf->data_len || total > 65535) return DropReason::kIpBadLength;  // no jumbograms (RFC 2675)
  // A mapped address on the wire would be taken for IPv4 everywhere behind this line.
  if (ip.source.is_v4()) return DropReason::kIpBadSource;
  if (ip.destination.is_v4()) return DropReason::kIpBadDestination;
  return DropReason::kNone;
}

bool parse_ipv6(rte_mbuf* mbuf) {
  if (const DropReason fault = check_ipv6(mbuf); fault != DropReason::kNone) return stop(mbuf, fault);
  const Ipv6Header& ip = ipv6_header(mbuf);
  Packet& p = packet(mbuf);
  p.ip_bytes = static_cast<uint16_t>(sizeof ip + ip.payload_length.host());
  rte_pktmbuf_trim(mbuf, mbuf->data_len - p.ip_bytes);
  const Ipv6Headers headers = find_ipv6_headers(bytes(mbuf));
  if (headers.bad) return stop(mbuf, DropReason::kIpBadExtension);
  p.l4_offset = headers.l4_offset;
  p.tuple.source = ip.source;
  p.tuple.destination = ip.destination;
  p.tuple.protocol = headers.protocol;
  p.flags |= kDontFragment;
  if (headers.is_fragment()) p.flags |= kFragment;
  return true;
}

bool is_group(const MacAddress& mac) {
  return mac[0] & 1;
}

// ARP asks everybody, IPv6 asks groups (RFC 2464 section 7), and so do IPv4's routing protocols (RFC 1112
// section 6.4).
bool may_be_group(uint16_t ether_type, const MacAddress& mac) {
  if (ether_type == kEtherTypeArp) return true;
  if (ether_type == kEtherTypeIpv6) return mac[0] == 0x33 && mac[1] == 0x33;
  return ether_type == kEtherTypeIpv4 && mac[0] == 0x01 && mac[1] == 0x00 && mac[2] == 0x5e;
}

// Takes the Ethernet header and a VLAN tag off. Returns false when the frame goes no further.
bool parse_ethernet(Context& ctx, rte_mbuf* mbuf, uint16_t& ether_type, uint16_t& l2_taken) {
  if (mbuf->data_len < sizeof(EthernetHeader)) return stop(mbuf, DropReason::kEthernetTruncated);
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
  if (destination != in.mac && !(is_group(destination) && may_be_group(ether_type, destination)))
    return stop(mbuf, is_group(destination) ? DropReason::kIpMulticast : DropReason::kEthernetNotForUs);
  rte_pktmbuf_adj(mbuf, l2_bytes);
  l2_taken = l2_bytes;
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

// Neighbour discovery never leaves its link, so that no other stage need know of it (RFC 4861).
bool is_for_neighbor_discovery(rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  if (p.tuple.protocol != kProtoIcmpv6 || (p.flags & kFragment)) return false;
  if (!nd::is_wanted(l4_header(mbuf)[0])) return false;
  stop_for_main(mbuf, DropReason::kUsedNd);
  return true;
}

// A frame that a device put into several buffers becomes one: those of the pool are large enough for every
// interface's MTU. False: there is no buffer, or the frame is larger than that.
bool gather(Context& ctx, rte_mbuf*& mbuf) {
  rte_mbuf* whole = rte_pktmbuf_alloc(ctx.pool);
  if (whole == nullptr) return stop(mbuf, DropReason::kNoMbuf);
  const uint32_t frame_bytes = mbuf->pkt_len;
  char* at =
      frame_bytes <= UINT16_MAX ? rte_pktmbuf_append(whole, static_cast<uint16_t>(frame_bytes)) : nullptr;
  if (at == nullptr) {
    rte_pktmbuf_free(whole);
    return stop(mbuf, DropReason::kIpBadLength);
  }
  if (const void* bytes = rte_pktmbuf_read(mbuf, 0, frame_bytes, at); bytes != at)
    std::memcpy(at, bytes, frame_bytes);
  whole->port = mbuf->port;
  whole->ol_flags = mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  packet(whole) = packet(mbuf);
  rte_pktmbuf_free(mbuf);
  mbuf = whole;
  return true;
}

// What is inside of a frame that had its header taken off.
bool parse_payload(rte_mbuf* mbuf, uint16_t ether_type) {
  if (ether_type == kEtherTypeArp) return stop_for_main(mbuf, DropReason::kUsedArp);
  if (ether_type == kEtherTypeIpv6)
    return parse_ip(mbuf, Family::kIpv6, false) && !is_for_neighbor_discovery(mbuf);
  if (ether_type != kEtherTypeIpv4) return stop(mbuf, DropReason::kEthernetUnknownType);
  const bool by_device = (mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  return parse_ip(mbuf, Family::kIpv4, !by_device);
}

// What is dropped here ends as the frame that it was, whose header still lies in front: who looks at drops
// may want to know the station.
void put_frame_back(rte_mbuf* mbuf, uint16_t l2_taken) {
  if (packet(mbuf).exit != Exit::kDrop) return;
  rte_pktmbuf_prepend(mbuf, l2_taken);
  packet(mbuf).is_frame = true;
}

bool parse_frame(Context& ctx, rte_mbuf*& mbuf, ReceivedCount& received) {
  const uint8_t story = ctx.observer && ctx.observer->follows() ? packet(mbuf).story : 0;
  make_fresh(mbuf).in = ctx.tables->interfaces->by_wire(mbuf->port, 0);  // until a VLAN tag says otherwise
  if (story) [[unlikely]]
    packet(mbuf).story = story;
  if (mbuf->nb_segs != 1 && !gather(ctx, mbuf)) {
    put_frame_back(mbuf, 0);
    return false;
  }
  Packet& p = packet(mbuf);
  uint16_t ether_type = 0, l2_taken = 0;
  const uint32_t frame_bytes = mbuf->pkt_len;
  const bool is_for_us = parse_ethernet(ctx, mbuf, ether_type, l2_taken);
  if (p.in != kNoInterface) received.add(p.in, frame_bytes);
  if (is_for_us && parse_payload(mbuf, ether_type)) return true;
  put_frame_back(mbuf, l2_taken);
  return false;
}

}  // namespace

bool parse_ip(rte_mbuf* mbuf, Family family, bool check_checksum) {
  Packet& p = packet(mbuf);
  p.tuple = {};
  p.flags &= ~(kFragment | kIcmpError | kDontFragment);
  p.tcp_flags = 0;
  if (!(family == Family::kIpv4 ? parse_ipv4(mbuf, check_checksum) : parse_ipv6(mbuf))) return false;
  return (p.flags & kFragment) || parse_l4(mbuf, p);
}

void set_traffic_class(rte_mbuf* mbuf, uint8_t value) {
  if (!packet(mbuf).tuple.is_v4()) return ipv6_header(mbuf).set_traffic_class(value);
  Ipv4Header& ip = ipv4_header(mbuf);
  nat::ChecksumDelta delta;
  delta.change(be16::from_host(ip.tos), be16::from_host(value));
  ip.checksum = delta.apply(ip.checksum);
  ip.tos = value;
}

void set_ip_length(rte_mbuf* mbuf, uint16_t total_bytes) {
  if (!packet(mbuf).tuple.is_v4()) {
    ipv6_header(mbuf).payload_length =
        be16::from_host(static_cast<uint16_t>(total_bytes - sizeof(Ipv6Header)));
    return;
  }
  Ipv4Header& ip = ipv4_header(mbuf);
  nat::ChecksumDelta delta;
  delta.change(ip.total_length, be16::from_host(total_bytes));
  ip.checksum = delta.apply(ip.checksum);
  ip.total_length = be16::from_host(total_bytes);
}

void rename_upper_layer(rte_mbuf* mbuf, uint8_t protocol) {
  if (!packet(mbuf).tuple.is_v4()) {
    bytes(mbuf)[find_ipv6_headers(bytes(mbuf)).protocol_field] = protocol;
    return;
  }
  Ipv4Header& ip = ipv4_header(mbuf);
  nat::ChecksumDelta delta;
  delta.change(be16::from_host(ip.protocol), be16::from_host(protocol));
  ip.checksum = delta.apply(ip.checksum);
  ip.protocol = protocol;
}

uint16_t parse(Context& ctx, MbufSpan burst) {
  constexpr size_t kAhead = 4;
  for (size_t i = 0; i < burst.size() && i < kAhead; ++i) rte_prefetch0(rte_pktmbuf_mtod(burst[i], void*));
  ReceivedCount received(*ctx.stats);
  size_t i = 0;
  return partition(burst, [&](rte_mbuf*& mbuf) {
    if (++i + kAhead <= burst.size()) {
      rte_mbuf* next = burst[i + kAhead - 1];
      rte_prefetch0(rte_pktmbuf_mtod(next, void*));
      rte_prefetch0(&packet(next));
      rte_prefetch0(&packet(next).next_hop);
    }
    return parse_frame(ctx, mbuf, received);
  });
}

}  // namespace espalier::dataplane

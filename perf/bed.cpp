#include "perf/bed.hpp"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>

#include <cstdlib>

#include "nat/checksum.hpp"

namespace espalier::perf {
namespace {

using dataplane::Configuration;

constexpr uint32_t kRingPackets = 1024;
constexpr uint32_t kPoolMbufs = 1023;  // few packets circulate, as in a gateway
constexpr uint32_t kPoolCache = 256;

constexpr Ipv4Address ip(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return Ipv4Address::from_host(static_cast<uint32_t>(a << 24 | b << 16 | c << 8 | d));
}
// 2001:db8:NETWORK::HOST
constexpr IpAddress ip6(uint16_t network, uint16_t host) {
  return {be64::from_host(0x20010db800000000 | uint64_t{network} << 16), be64::from_host(host)};
}

// The addresses of one family. Tunnel t's remote network is lan_b(t).
struct Plan {
  IpAddress outer_a, outer_b;
  IpAddress lan_a_gateway, lan_b_gateway;
  uint8_t outer_bits, lan_a_bits, lan_b_bits, tunnel_bits;  // as written
  Family family;

  IpAddress host_a(uint32_t n) const {
    return family == Family::kIpv4 ? IpAddress(ip(192, 168, 10, static_cast<uint8_t>(2 + n)))
                                   : ip6(0xa, static_cast<uint16_t>(2 + n));
  }
  IpAddress host_b(uint32_t tunnel, uint32_t n) const {
    return family == Family::kIpv4
               ? IpAddress(ip(10, static_cast<uint8_t>(10 + tunnel / 256), static_cast<uint8_t>(tunnel),
                              static_cast<uint8_t>(2 + n)))
               : IpAddress(be64::from_host(0x20010db8000b0000 | tunnel), be64::from_host(2 + n));
  }
  IpPrefix lan_a() const { return network(lan_a_gateway, lan_a_bits); }
  IpPrefix lan_b(uint32_t tunnel) const { return network(host_b(tunnel, 0), tunnel_bits); }
  static IpPrefix network(IpAddress address, uint8_t bits) {
    return {IpPrefix::of(address, bits).network(), IpPrefix::of(address, bits).length};
  }
};
constexpr Plan kIpv4Plan{
    ip(203, 0, 113, 1), ip(203, 0, 113, 2), ip(192, 168, 10, 1), ip(10, 10, 0, 1), 24, 24, 13, 24,
    Family::kIpv4};
constexpr Plan kIpv6Plan{ip6(0xff, 1), ip6(0xff, 2), ip6(0xa, 1), ip6(0xb, 1), 64, 64, 48, 64, Family::kIpv6};
constexpr const Plan& plan_of(const Shape& shape) {
  return shape.family == Family::kIpv4 ? kIpv4Plan : kIpv6Plan;
}
constexpr Ipv4Address kTranslated = ip(172, 16, 17, 45);
constexpr InterfaceIndex kLan{0}, kWan{1}, kVti{2};
constexpr MacAddress kPeerMac{2, 0, 0, 0, 0xff, 1};

Result<rte_ring*> make_ring() {
  static unsigned counter = 0;
  rte_ring* ring = rte_ring_create(fmt::format("perf{}", counter++).c_str(), kRingPackets, 0,
                                   RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (!ring) return fail("ring: {}", rte_strerror(rte_errno));
  return ring;
}

Result<std::vector<rte_ring*>> make_rings(size_t count) {
  std::vector<rte_ring*> rings;
  for (size_t i = 0; i < count; ++i) rings.push_back(TRY(make_ring()));
  return rings;
}

// A net_ring device over the rings; returns its name.
Result<std::string> make_device(const Side::Rings& rings) {
  static unsigned counter = 0;
  const std::string name = fmt::format("perf{}", counter++);
  const int port = rte_eth_from_rings(
      name.c_str(), const_cast<rte_ring**>(rings.receive.data()), static_cast<unsigned>(rings.receive.size()),
      const_cast<rte_ring**>(rings.transmit.data()), static_cast<unsigned>(rings.transmit.size()), 0);
  if (port < 0) return fail("net_ring device: {}", rte_strerror(rte_errno));
  rte_ether_addr mac;  // one for all: every frame is for whoever receives it
  std::memcpy(mac.addr_bytes, kPeerMac.data(), kPeerMac.size());
  if (const int error = rte_eth_dev_mac_addr_add(static_cast<uint16_t>(port), &mac, 0); error != 0)
    return fail("MAC address of {}: {}", name, rte_strerror(-error));
  return "net_ring_" + name;
}

// --- Configurations ---

InterfaceRecord interface(InterfaceIndex index, std::string_view name, const std::string& device) {
  InterfaceRecord r;
  r.index = index;
  r.name.assign(name);
  r.device.assign(device);
  r.dad = 0;  // nobody else is there, and time does not run between the windows
  return r;
}

SaRecord sa(const Shape& shape, uint32_t tunnel, Direction direction) {
  SaRecord r;
  r.spi = Spi{0x1000 + tunnel};
  r.direction = direction;
  r.reqid = Reqid{1 + tunnel};
  r.replay_window = 1024;
  r.source = plan_of(shape).outer_a;
  r.destination = plan_of(shape).outer_b;
  std::memcpy(r.key, &tunnel, sizeof tunnel);
  switch (shape.protection) {
    case Protection::kGcm:
      break;
    case Protection::kCbcSha256:
      r.algorithm = {.cipher = EspCipher::kAesCbc,
                     .integrity = EspIntegrity::kHmacSha256,
                     .key_bytes = 32,
                     .icv_bytes = 16};
      break;
    case Protection::kEncapsulated:
      r.flags = kSaEncap;
      r.encap_source_port = r.encap_destination_port = 4500;
      break;
    case Protection::kVti:
      r.vti = kVti;
      break;
  }
  r.name.assign(fmt::format("t{}", tunnel));
  return r;
}

// A vti is up while it has SAs of both directions: the one that nothing uses here.
SaRecord unused_sa(const Shape& shape, Direction direction) {
  SaRecord r = sa(shape, 1, direction);
  std::swap(r.source, r.destination);
  return r;
}

PolicyRecord policy(const Shape& shape, uint32_t tunnel, Direction direction, IpPrefix source) {
  PolicyRecord r;
  r.index = PolicyIndex{tunnel};
  r.direction = direction;
  r.templates = 1;
  r.selector.source = source;
  r.selector.destination = plan_of(shape).lan_b(tunnel);
  r.tmpl[0] = {.source = plan_of(shape).outer_a,
               .destination = plan_of(shape).outer_b,
               .reqid = Reqid{1 + tunnel},
               .spi = {}};
  r.name.assign(fmt::format("t{}", tunnel));
  return r;
}

// ESP must not be among the packets that the rule names, or it takes the whole way through NAT itself.
NatRuleRecord snat(InterfaceIndex out, IpPrefix from, IpAddress to) {
  NatRuleRecord r;
  r.number = 10;
  r.translation = NatTranslation::kAddress;
  r.interface = out;
  r.source = {.low = from.network(), .high = from.last(), .ports = {}};
  r.destination = NatMatch::any(Family::kIpv4);
  r.address_low = r.address_high = to;
  return r;
}

NeighborRecord neighbor(InterfaceIndex on, IpAddress address) {
  return {.interface = on, .address = address, .mac = kPeerMac};
}

RouteRecord route(uint32_t index, IpPrefix prefix, NextHop hop) {
  RouteRecord r;
  r.index = RouteIndex{index};
  r.prefix = prefix;
  r.next_hop_count = 1;
  r.next_hops[0] = hop;
  return r;
}

void add_tunnels(const Shape& shape, bool a, Configuration& c) {
  const Plan& plan = plan_of(shape);
  const Direction direction = a ? Direction::kOut : Direction::kIn;
  const IpPrefix seen = shape.source_nat ? IpPrefix::host(kTranslated) : plan.lan_a();
  for (uint32_t t = 0; t < shape.tunnels; ++t) {
    c.sas.push_back(sa(shape, t, direction));
    if (shape.protection != Protection::kVti)
      c.policies.push_back(policy(shape, t, a ? Direction::kOut : Direction::kFwd, seen));
    if (!a)
      for (uint32_t host = 0; host < 16; ++host) c.neighbors.push_back(neighbor(kLan, plan.host_b(t, host)));
  }
  if (shape.protection != Protection::kVti) return;
  InterfaceRecord vti = interface(kVti, "vti0", "");
  vti.kind = InterfaceKind::kVti;
  c.interfaces.push_back(vti);
  c.sas.push_back(unused_sa(shape, a ? Direction::kIn : Direction::kOut));
  c.routes.push_back(route(1, a ? plan.lan_b(0) : plan.lan_a(), {.via = {}, .interface = kVti}));
}

Configuration configuration(const Shape& shape, bool a, const std::string& lan, const std::string& wan) {
  const Plan& plan = plan_of(shape);
  Configuration c;
  c.interfaces = {interface(kLan, "lan0", lan), interface(kWan, "wan0", wan)};
  const IpPrefix lan_address = a ? IpPrefix::of(plan.lan_a_gateway, plan.lan_a_bits)
                                 : IpPrefix::of(plan.lan_b_gateway, plan.lan_b_bits);
  c.addresses = {{kLan, lan_address}, {kWan, IpPrefix::of(a ? plan.outer_a : plan.outer_b, plan.outer_bits)}};
  const IpAddress peer = a ? plan.outer_b : plan.outer_a;
  c.neighbors = {neighbor(kWan, peer)};
  c.routes = {route(0, IpPrefix::any(shape.family), {.via = peer, .interface = kWan})};
  add_tunnels(shape, a, c);
  if (shape.source_nat)
    c.nat_rules = {a ? snat(kWan, plan.lan_a(), kTranslated)
                     : snat(kLan, IpPrefix::host(kTranslated), plan.lan_b_gateway)};
  return c;
}

// --- Frames ---

void write_ip_header(const Shape& shape, uint32_t flow, uint8_t* at) {
  const Plan& plan = plan_of(shape);
  const IpAddress source = plan.host_a(flow % 200),
                  destination = plan.host_b(flow % shape.tunnels, flow % 16);
  if (shape.family == Family::kIpv6) {
    *reinterpret_cast<dataplane::Ipv6Header*>(at) = {
        .version_class_flow = be32::from_host(6u << 28),
        .payload_length =
            be16::from_host(static_cast<uint16_t>(shape.ip_bytes - sizeof(dataplane::Ipv6Header))),
        .next_header = kProtoUdp,
        .hop_limit = 64,
        .source = source,
        .destination = destination};
    return;
  }
  auto& header = *reinterpret_cast<dataplane::Ipv4Header*>(at);
  header = {.version_ihl = 0x45,
            .tos = 0,
            .total_length = be16::from_host(shape.ip_bytes),
            .id = be16::from_host(static_cast<uint16_t>(flow)),
            .fragment = {},
            .ttl = 64,
            .protocol = kProtoUdp,
            .checksum = 0,
            .source = source.v4(),
            .destination = destination.v4()};
  header.checksum = nat::checksum({at, sizeof header});
}

std::vector<uint8_t> frame(const Shape& shape, uint32_t flow, const MacAddress& to) {
  using namespace dataplane;
  const bool v4 = shape.family == Family::kIpv4;
  std::vector<uint8_t> bytes(sizeof(EthernetHeader) + shape.ip_bytes);
  auto& ethernet = *reinterpret_cast<EthernetHeader*>(bytes.data());
  ethernet = {
      .destination = to, .source = kPeerMac, .type = be16::from_host(v4 ? kEtherTypeIpv4 : kEtherTypeIpv6)};
  auto* ip_header = bytes.data() + sizeof ethernet;
  write_ip_header(shape, flow, ip_header);
  const size_t header_bytes = v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  auto& udp = *reinterpret_cast<UdpHeader*>(ip_header + header_bytes);
  udp = {.source_port = be16::from_host(static_cast<uint16_t>(2000 + flow)),
         .destination_port = be16::from_host(5000),
         .length = be16::from_host(static_cast<uint16_t>(shape.ip_bytes - header_bytes)),
         .checksum = 0};
  return bytes;
}

}  // namespace

Result<std::unique_ptr<Side>> Side::create(const std::string& name, const Shape& shape, Rings lan,
                                           Rings wan) {
  std::string folder = (std::filesystem::temp_directory_path() / "espalier-perf-XXXXXX").string();
  if (!::mkdtemp(folder.data())) return fail("{}: {}", folder, errno_text());
  auto side = std::make_unique<Side>();
  side->folder_ = folder;
  side->statistics_ = TRY(Segment::create("perf-statistics", sizeof(statistics::Segment)));
  const uint32_t sas = std::max(256u, shape.tunnels + 1);
  side->vault_ = TRY(Vault::create(sas));
  side->cells_ = TRY(SaCells::open(folder, folder, {.capacity = sas, .window_words = sas * 40}));
  std::filesystem::remove_all(folder);  // the files live on as long as they are open
  side->lan_device_ = TRY(make_device(lan));
  side->wan_device_ = TRY(make_device(wan));
  const dataplane::GatewayOptions options{.workers = shape.workers,
                                          .session_capacity = 1u << 18,
                                          .flow_entries = 1u << 17,
                                          .mbufs = 4096,
                                          .largest_mtu_bytes = 1500,
                                          .rx_queues = shape.workers};
  side->gateway_ =
      TRY(dataplane::Gateway::create(options, {side->statistics(), *side->vault_, *side->cells_}));
  TRY(side->apply(configuration(shape, name == "a", side->lan_device_, side->wan_device_)));
  return side;
}

Result<void> Side::apply(dataplane::Configuration configuration) {
  return gateway_->apply(std::move(configuration), gateway_->generation() + 1);
}

Result<std::unique_ptr<Bed>> Bed::create(const Shape& shape) {
  std::unique_ptr<Bed> bed(new Bed(shape));
  TRY(bed->make_rings());
  TRY(bed->make_sides());
  TRY(bed->make_templates());
  return bed;
}

Bed::~Bed() = default;

Result<void> Bed::make_rings() {
  const size_t threads = shape_.workers + 1u;
  a_lan_ = {TRY(perf::make_rings(shape_.workers)), TRY(perf::make_rings(threads))};
  a_wan_ = {TRY(perf::make_rings(shape_.workers)), TRY(perf::make_rings(threads))};
  b_lan_ = {TRY(perf::make_rings(shape_.workers)), TRY(perf::make_rings(threads))};
  pool_.reset(rte_pktmbuf_pool_create(fmt::format("perf_lan{}", reinterpret_cast<uintptr_t>(this)).c_str(),
                                      kPoolMbufs, kPoolCache, sizeof(dataplane::Packet),
                                      RTE_MBUF_DEFAULT_BUF_SIZE, 0));
  if (!pool_) return fail("packet buffers: {}", rte_strerror(rte_errno));
  return {};
}

Result<void> Bed::make_sides() {
  a_ = TRY(Side::create("a", shape_, a_lan_, a_wan_));
  Side::Rings b_wan{{a_wan_.transmit.begin(), a_wan_.transmit.begin() + shape_.workers}, a_wan_.receive};
  b_wan.transmit.resize(shape_.workers + 1u, a_wan_.receive.front());
  b_ = TRY(Side::create("b", shape_, b_lan_, b_wan));
  return {};
}

Result<void> Bed::make_templates() {
  const MacAddress to = (*a_->gateway().tables().interfaces)[kLan].mac;
  templates_.resize(shape_.workers);
  next_template_.resize(shape_.workers);
  for (uint32_t flow = 0; flow < shape_.flows; ++flow)
    templates_[flow % shape_.workers].push_back(frame(shape_, flow, to));
  return {};
}

void Bed::fill(uint16_t worker, uint32_t count) {
  const auto& frames = templates_[worker];
  for (uint32_t i = 0; i < count; ++i) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    if (!mbuf) std::abort();  // the bed's arithmetic is wrong
    const auto& bytes = frames[next_template_[worker]++ % frames.size()];
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(bytes.size())), bytes.data(), bytes.size());
    rte_ring_sp_enqueue(a_lan_.receive[worker], mbuf);
  }
}

uint64_t Bed::run(Side& side, uint16_t worker, rte_ring& queue) {
  dataplane::Worker& polled = side.gateway().worker(WorkerId{worker});
  const uint64_t begin = rte_rdtsc_precise();
  while (!rte_ring_empty(&queue)) polled.poll();
  return rte_rdtsc_precise() - begin;
}

uint32_t Bed::drain(uint16_t worker) {
  uint32_t count = 0;
  void* mbuf = nullptr;
  for (; rte_ring_sc_dequeue(b_lan_.transmit[worker], &mbuf) == 0; ++count)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  return count;
}

uint64_t Bed::port_cycles(uint32_t count) {
  std::array<rte_mbuf*, dataplane::kBurst> burst;
  const uint16_t port = a_->gateway().tables().ports->ports.front()->port.id();
  fill(0, count);
  const uint64_t begin = rte_rdtsc_precise();
  while (const uint16_t n = rte_eth_rx_burst(port, 0, burst.data(), burst.size()))
    rte_eth_tx_burst(port, 0, burst.data(), n);
  const uint64_t cycles = rte_rdtsc_precise() - begin;
  void* mbuf = nullptr;
  while (rte_ring_sc_dequeue(a_lan_.transmit[0], &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  return cycles;
}

}  // namespace espalier::perf

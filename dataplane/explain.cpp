// `explain`: what would become of packets, by a rehearsal (rehearsal.hpp) on the live tables; either frames
// as they come, or a packet that is made up here from a question. Main lcore.
#include "dataplane/gateway.hpp"
#include "dataplane/stages/outer_header.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/story/words.hpp"

namespace espalier::dataplane {
namespace {

using Bytes = std::vector<uint8_t>;

message::TextRow row(const Rehearsal::Line& line) {
  message::TextRow made;
  made.stage.assign(std::string_view(line.stage).substr(0, 31));
  made.text.assign(std::string_view(line.text).substr(0, 239));
  return made;
}

void write_ports(const message::Explain& q, std::span<uint8_t> l4) {
  const be16 ports[2] = {be16::from_host(q.source_port), be16::from_host(q.destination_port)};
  std::memcpy(l4.data(), ports, sizeof ports);
}

// Of a protocol that the question has words for; others stay empty. The checksum is written last.
void write_l4(const message::Explain& q, std::span<uint8_t> l4) {
  const auto checksum = [&] { return nat::l4_checksum(q.source, q.destination, q.protocol, l4); };
  if (q.protocol == kProtoIcmp || q.protocol == kProtoIcmpv6) {
    auto& icmp = *reinterpret_cast<IcmpHeader*>(l4.data());
    icmp.type = q.icmp_type;
    icmp.id = be16::from_host(q.source_port);
    icmp.checksum = checksum();
  } else if (q.protocol == kProtoTcp) {
    write_ports(q, l4);
    auto& tcp = *reinterpret_cast<TcpHeader*>(l4.data());
    tcp.flags = nat::kTcpSyn;
    tcp.data_offset = sizeof tcp / 4 << 4;
    tcp.checksum = checksum();
  } else if (q.protocol == kProtoUdp) {
    write_ports(q, l4);
    auto& udp = *reinterpret_cast<UdpHeader*>(l4.data());
    udp.length = be16::from_host(static_cast<uint16_t>(l4.size()));
    udp.checksum = checksum();
  }
}

// The packet that is asked about, large enough for every header that a stage may read.
Bytes packet_of(const message::Explain& q) {
  const size_t ip_bytes = q.destination.is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  Bytes made(std::max<size_t>(q.size_bytes, ip_bytes + sizeof(TcpHeader)));
  write_outer_header({.source = q.source,
                      .destination = q.destination,
                      .hop_limit = q.ttl,
                      .protocol = q.protocol,
                      .dont_fragment = q.dont_fragment != 0},
                     static_cast<uint16_t>(made.size()), made.data());
  write_l4(q, std::span(made).subspan(ip_bytes));
  return made;
}

Bytes frame_around(const Bytes& ip, const Interface& in) {
  const uint16_t type = ip[0] >> 4 == 4 ? kEtherTypeIpv4 : kEtherTypeIpv6;
  Bytes frame(in.vlan_id ? kMaxL2Bytes : sizeof(EthernetHeader));
  auto& ethernet = *reinterpret_cast<EthernetHeader*>(frame.data());
  ethernet.destination = in.mac;
  ethernet.type = be16::from_host(in.vlan_id ? kEtherTypeVlan : type);
  if (in.vlan_id)
    *reinterpret_cast<VlanTag*>(frame.data() + sizeof ethernet) = {.control = be16::from_host(in.vlan_id),
                                                                   .type = be16::from_host(type)};
  frame.insert(frame.end(), ip.begin(), ip.end());
  return frame;
}

// ESP and GRE that are made up here have nothing inside: what takes them off has nothing to say.
void end_at_wrapping(const message::Explain& q, Rehearsal& rehearsal) {
  if (q.protocol != kProtoEsp && q.protocol != kProtoGre) return;
  const auto is_unwrapping = [](const Rehearsal::Line& line) {
    return line.stage == "esp_input" || line.stage == "local_input";
  };
  const auto from = std::find_if(rehearsal.lines.begin(), rehearsal.lines.end(), is_unwrapping);
  if (from == rehearsal.lines.end()) return;
  rehearsal.lines.erase(from, rehearsal.lines.end());
  rehearsal.lines.push_back(
      {"result", q.protocol == kProtoEsp
                     ? "delivered to the gateway itself: decrypted, if an SA has its SPI"
                     : "delivered to the gateway itself: unwrapped, if it is for a gre interface"});
}

}  // namespace

Result<Gateway::Mbufs> Gateway::load(Frames packets) {
  Mbufs mbufs;
  for (const auto& bytes : packets) {
    mbufs.emplace_back(rte_pktmbuf_alloc(pool_.get()));
    rte_mbuf* mbuf = mbufs.back().get();
    if (!mbuf) return fail("no packet buffer is free");
    char* at =
        bytes.size() <= UINT16_MAX ? rte_pktmbuf_append(mbuf, static_cast<uint16_t>(bytes.size())) : nullptr;
    if (!at)
      return fail("{} bytes are more than a packet buffer holds; {} fit", bytes.size(),
                  rte_pktmbuf_tailroom(mbuf));
    std::memcpy(at, bytes.data(), bytes.size());
    make_fresh(mbuf);
  }
  return mbufs;
}

Result<Rehearsal> Gateway::rehearse(Mbufs packets, Entry entry, size_t untold) {
  if (!rehearsal_room_) rehearsal_room_ = TRY(RehearsalRoom::create(jumbo_pool_.get()));
  Context ctx = context_for(WorkerId{options_.workers});
  ctx.tables = tables_.get();
  ctx.now_ms = clock_.now_ms();
  std::vector<rte_mbuf*> released;
  for (auto& packet : packets) released.push_back(packet.release());
  return rehearsal_room_->run(ctx, released, entry, untold);
}

Result<Rehearsal> Gateway::rehearse(InterfaceIndex in, Frames frames, size_t untold) {
  Mbufs mbufs = TRY(load(frames));
  if (in != kNoInterface) {
    if (in.value >= tables_->interfaces->size()) return fail("there is no interface {}", in.value);
    const Interface& from = (*tables_->interfaces)[in];
    if (!from.has_wire()) return fail("{} has no wire that frames come in by", from.name.view());
    for (auto& mbuf : mbufs) mbuf->port = from.port;
    return rehearse(std::move(mbufs), Entry::kReceived, untold);
  }
  Rehearsal refused;
  const auto is_bad = [&](const auto& mbuf) {
    Packet& p = packet(mbuf.get());
    p.flags = kFromGateway | kFromHost;
    p.in = p.out = kNoInterface;
    if (parse_ip(mbuf.get(), is_ipv4(mbuf.get()) ? Family::kIpv4 : Family::kIpv6, false)) return false;
    ++refused.ended[static_cast<size_t>(p.reason)];
    return true;
  };
  std::erase_if(mbufs, is_bad);
  Rehearsal rehearsal = TRY(rehearse(std::move(mbufs), Entry::kMade));
  for (size_t reason = 0; reason < kDropReasons; ++reason) rehearsal.ended[reason] += refused.ended[reason];
  return rehearsal;
}

Result<void> Gateway::take_path(const message::Explain& question, Packet& p) {
  if (!question.decrypted) return {};
  const Sa* found = nullptr;
  sas_->sad().for_each([&](const Sa& sa) {
    if (sa.direction() == Direction::kIn && sa.spi() == question.sa_spi) found = &sa;
  });
  if (!found) return fail("no inbound SA has the SPI {:#x}", question.sa_spi.value);
  p.flags |= kCameProtected;
  if (found->vti() != kNoInterface)
    p.in = found->vti();  // judged by the vti's own policies, and in clear from then on
  else
    p.path = found->path();
  return {};
}

Result<Rehearsal> Gateway::rehearse(const message::Explain& question) {
  const Bytes ip = packet_of(question);
  const bool by_wire = question.in != kNoInterface && (*tables_->interfaces)[question.in].has_wire();
  if (question.in == kNoInterface) return rehearse(kNoInterface, std::array{std::span(ip)});
  if (by_wire && !question.decrypted) {
    const Bytes frame = frame_around(ip, (*tables_->interfaces)[question.in]);
    return rehearse(question.in, std::array{std::span(frame)});
  }
  // As it comes out of a tunnel.
  Mbufs mbufs = TRY(load(std::array{std::span(ip)}));
  rte_mbuf* mbuf = mbufs.front().get();
  packet(mbuf).in = question.in;
  TRY(take_path(question, packet(mbuf)));
  if (!parse_ip(mbuf, question.destination.family(), false)) {
    const DropReasonInfo& why = info(packet(mbuf).reason);
    return fail("such a packet is dropped before any table is asked ({}): {}", why.name, why.help);
  }
  const std::string what = story::text(packet(mbuf).tuple);
  Rehearsal rehearsal = TRY(rehearse(std::move(mbufs), Entry::kDecapsulated));
  rehearsal.lines.insert(rehearsal.lines.begin(), {"packet", what});
  return rehearsal;
}

Result<std::vector<message::TextRow>> Gateway::explain(const message::Explain& question) {
  if (question.source.family() != question.destination.family())
    return fail("source and destination are not of one family");
  if (question.in != kNoInterface && question.in.value >= tables_->interfaces->size())
    return fail("there is no interface {}", question.in.value);
  Rehearsal rehearsal = TRY(rehearse(question));
  end_at_wrapping(question, rehearsal);
  std::vector<message::TextRow> rows;
  for (const Rehearsal::Line& line : rehearsal.lines) rows.push_back(row(line));
  return rows;
}

}  // namespace espalier::dataplane

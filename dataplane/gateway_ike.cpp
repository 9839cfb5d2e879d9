// IKE as the gateway sees it: datagrams to and from the IKE process, its questions, and what it has to be
// told. Its SAs are in gateway_ike_sas.cpp.
#include <spdlog/spdlog.h>

#include "control/shared/text.hpp"
#include "crypto/wipe.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/outer_header.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kMessagesPerRound = 256;

uint32_t ip_header_bytes(Family family) {
  return family == Family::kIpv4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
}

Tuple tuple_of(const message::IkeDatagram& head) {
  return {.source = head.local,
          .destination = head.remote,
          .source_port = be16::from_host(head.local_port),
          .destination_port = be16::from_host(head.remote_port),
          .protocol = kProtoUdp};
}

size_t marker_bytes(const message::IkeDatagram& head, std::span<const uint8_t> message) {
  constexpr uint8_t kNatKeepalive = 0xff;  // RFC 3948 section 2.3
  const bool is_keepalive = message.size() == 1 && message[0] == kNatKeepalive;
  return head.local_port == kIkeNatPort && !is_keepalive ? kNonEspMarkerBytes : 0;
}

// UDP header, marker where there is one, and the message, to `udp`; with a checksum in both families, as
// Linux sends.
void write_ike(const message::IkeDatagram& head, std::span<const uint8_t> message, std::span<uint8_t> udp) {
  auto& header = *reinterpret_cast<UdpHeader*>(udp.data());
  header = {.source_port = be16::from_host(head.local_port),
            .destination_port = be16::from_host(head.remote_port),
            .length = be16::from_host(static_cast<uint16_t>(udp.size())),
            .checksum = 0};
  const auto payload = udp.subspan(sizeof header);
  std::ranges::fill(payload.first(payload.size() - message.size()), uint8_t{0});
  std::ranges::copy(message, payload.last(message.size()).begin());
  header.checksum = nat::l4_checksum(head.local, head.remote, kProtoUdp, udp);
}

}  // namespace

void Gateway::attach_ike(Channel channel) {
  spdlog::info("subsystem=ike an IKE process has connected");
  ike_link_.attach(std::move(channel));
  ike_assembly_.clear();
  ike_named_.reset();
}

// Of SAs: changes are carried out together when the round's messages were read, or when something depends on
// them. Datagrams do: whom they reach may send by the new SAs at once.
uint32_t Gateway::serve_ike() {
  if (const auto why = ike_link_.look_after(clock_.now_ms()); !why.empty()) {
    spdlog::error("subsystem=ike the channel to the IKE process is given up: {}", why);
    main_statistics().refused_messages.add(1);
  }
  message::Slot slot;
  const crypto::WipeAtExit wipe(slot);
  if (!ike_link_.receive(slot)) return 0;
  IkeChange change(kMessagesPerRound);
  uint32_t taken = 0;
  do take_from_ike(slot, change);
  while (++taken < kMessagesPerRound && ike_link_.receive(slot));
  finish(change);
  return taken;
}

void Gateway::take_from_ike(const message::Slot& slot, IkeChange& change) {
  auto decoded = message::decode_from_ike(slot);
  const uint64_t id = slot.header.request_id;
  if (!decoded) {
    main_statistics().refused_messages.add(1);
    spdlog::warn("subsystem=ike a message was refused: {}", decoded.error());
    if (id != 0) change.answers.push_back({id, std::string(decoded.error())});
    return;
  }
  if (const auto* send = std::get_if<message::IkeSend>(&*decoded)) {
    take_part(send->part, change);
  } else if (const auto* ask = std::get_if<message::IkeSaAsk>(&*decoded)) {
    finish(change);
    ike_link_.send(use_of(ask->spi), id, generation());
  } else if (const auto* way = std::get_if<message::IkeWay>(&*decoded)) {
    finish(change);
    ike_link_.send(message::IkeWayIs{.local = own_address_towards(way->remote)}, id, generation());
  } else {
    change_ike_sas(*decoded, id, change);
  }
  if (auto* sa = std::get_if<message::IkeSa>(&*decoded)) crypto::wipe(*sa);
}

void Gateway::take_part(const message::IkeDatagram& part, IkeChange& change) {
  switch (ike_assembly_.add(part)) {
    case IkeAssembly::Outcome::kWaits:
      return;
    case IkeAssembly::Outcome::kRefused:
      main_statistics().refused_messages.add(1);
      return;
    case IkeAssembly::Outcome::kWhole:
      change.datagrams.push_back({ike_assembly_.head(), ike_assembly_.take_bytes()});
  }
}

// The only packets that no out policy is asked about because of what they are: of IKE's ports and of an own
// address.
void Gateway::send_ike(const message::IkeDatagram& head, std::span<const uint8_t> message) {
  const auto drop = [&](DropReason reason) {
    main_statistics().drops[0][static_cast<size_t>(reason)].add(1);
  };
  main_statistics().made.add(1);
  if (!tables_->interfaces->is_own_address(head.local)) return drop(DropReason::kIpBadSource);
  const uint32_t ip_bytes = ip_header_bytes(head.local.family());
  const size_t udp_bytes = sizeof(UdpHeader) + marker_bytes(head, message) + message.size();
  const auto total = static_cast<uint16_t>(ip_bytes + udp_bytes);
  const bool fits = kPacketHeadroom + total + kTailroom <= rte_pktmbuf_data_room_size(pool_.get());
  rte_mbuf* mbuf = rte_pktmbuf_alloc(fits ? pool_.get() : jumbo_pool_.get());
  char* at = mbuf ? rte_pktmbuf_append(mbuf, total) : nullptr;
  if (!at) {
    rte_pktmbuf_free(mbuf);
    return drop(mbuf ? DropReason::kTooBig : DropReason::kNoMbuf);
  }
  auto* const start = reinterpret_cast<uint8_t*>(at);
  write_outer_header(
      {.source = head.local, .destination = head.remote, .protocol = kProtoUdp, .id = context_.next_ip_id()},
      total, start);
  write_ike(head, message, {start + ip_bytes, udp_bytes});
  Packet& p = make_fresh(mbuf);
  p.tuple = tuple_of(head);
  p.flags = kFromGateway | kOwnIke;
  p.in = kNoInterface;
  p.out = interface_of_link_local(head.local);
  p.l4_offset = static_cast<uint16_t>(ip_bytes);
  p.ip_bytes = total;
  hand_to_worker(mbuf);
}

// A link-local address says which link its packets leave by; others do not.
InterfaceIndex Gateway::interface_of_link_local(IpAddress own) const {
  if (!own.is_link_local()) return kNoInterface;
  for (const Interface& interface : *tables_->interfaces)
    if (interface.has_address(own)) return interface.index;
  return kNoInterface;
}

void Gateway::to_ike(rte_mbuf* mbuf) {
  const Tuple& tuple = packet(mbuf).tuple;
  const message::IkeDatagram head{.local = tuple.destination,
                                  .remote = tuple.source,
                                  .local_port = tuple.destination_port.host(),
                                  .remote_port = tuple.source_port.host()};
  drop_by_main(mbuf, ike_link_.deliver(head, ike_message(mbuf), generation()));
}

// As masquerade chooses the address of an interface: of IPv4 by the next hop, of IPv6 by the destination.
IpAddress Gateway::own_address_towards(IpAddress remote) const {
  const RouteResult route = tables_->fib->lookup(remote);
  if (route.verdict != RouteVerdict::kForward) return {};
  const bool by_hop = remote.is_v4() && !route.next_hop.is_unspecified();
  return tables_->interfaces->address_towards(route.interface, by_hop ? route.next_hop : remote);
}

// To a second: the cell has no finer time.
message::IkeSaUse Gateway::use_of(Spi spi) const {
  message::IkeSaUse use{.spi = spi};
  const Sa* const sa = sas_->find_ike_inbound(spi);
  if (!sa) return use;
  const CellCounters& counters = sa->counters();
  const uint32_t last_s = counters.last_used_s.load(std::memory_order_relaxed);
  const uint32_t now_s = boot_time_s();
  use.known = 1;
  use.packets = counters.packets.load(std::memory_order_relaxed);
  use.bytes = counters.bytes.load(std::memory_order_relaxed);
  use.used = use.packets != 0;
  use.idle_ms = last_s != 0 && last_s < now_s ? (now_s - last_s) * uint64_t{1000} : 0;
  return use;
}

void Gateway::tell_ike(const SaWatch::Expiry& event) {
  ike_link_.send(message::IkeExpire{.spi = event.sa.spi(),
                                    .direction = event.sa.direction(),
                                    .hard = event.hard,
                                    .destination = event.sa.destination()},
                 0, generation());
}

void Gateway::tell_ike(const SaWatch::Move& event) {
  ike_link_.send(
      message::IkeMapping{.spi = event.sa.spi(), .port = event.now.port, .address = event.now.address}, 0,
      generation());
}

// `policy`: null where a VTI's route is not usable, so that no policy was asked.
void Gateway::tell_ike_of_want(const Packet& p, const PolicyRecord* policy, InterfaceIndex vti) {
  if (!tables_->settings.ike) return;
  if (!policy && vti != kNoInterface) policy = tables_->spd->lookup(Direction::kOut, p.tuple, vti, vti);
  const bool has_template = policy && policy->templates != 0;
  const Reqid reqid = has_template ? policy->tmpl[0].reqid : Reqid{};
  if (reqid.value == 0 && vti == kNoInterface) return;  // no SA of IKE's
  ike_link_.send(message::IkeAcquire{.reqid = reqid, .vti = vti, .tuple = p.tuple}, 0, generation());
}

}  // namespace espalier::dataplane

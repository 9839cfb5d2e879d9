// What the main lcore does for tunnels: SAs that expire, vti interfaces that come and go with them,
// keepalives, and word of packets that want an SA.
#include <spdlog/spdlog.h>

#include "control/shared/text.hpp"
#include "dataplane/consequences.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/outer_header.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint64_t kAcquireEveryMs = 1000;  // of one policy

}  // namespace

template <class Event>
void Gateway::tell(const Event& event) {
  if (events_.size() < kMostEvents) events_.push_back(message::make(event, 0, generation()));
}

// IKE's SAs are the IKE process's matter, the others' limits and peers espalierd's.
void Gateway::report(const SaWatch::Expiry& event) {
  const Sa& sa = event.sa;
  if (sas_->is_ike(sa.index())) return tell_ike(event);
  tell(message::Expire{.spi = sa.spi(), .direction = sa.direction(), .hard = event.hard, .name = sa.name()});
}

void Gateway::report(const SaWatch::Move& event) {
  if (sas_->is_ike(event.sa.index())) return tell_ike(event);
  tell(message::Mapping{.spi = event.sa.spi(),
                        .old_port = event.before.port,
                        .new_port = event.now.port,
                        .old_address = event.before.address,
                        .new_address = event.now.address,
                        .name = event.sa.name()});
}

void Gateway::follow_sas() {
  const SaWatch::Findings found = sa_watch_.look(*sas_, clock_.now_ms(), boot_time_s());
  for (const SaWatch::Expiry& event : found.expired) report(event);
  for (const SaWatch::Move& event : found.moved) report(event);
  for (const Sa* sa : found.silent) send_keepalive(*sa);
  if (found.any_gone) choose_sas_anew();
}

// Policies have atomics for the SAs that they use: workers see the change with their next packet. Flows are
// asked anew only where it matters to them which SA that is.
void Gateway::choose_sas_anew() {
  sas_->sad().assign_policies(tables_->spd->policies(), *tables_->policy_sas);
  bool decided = sas_decide_flows(running_);
  sas_->for_each_ike(
      [&](SaIndex, const SaRecord& record) { decided |= region_decided_by(record).has_value(); });
  if (decided) decide_anew();
}

// A vti is up while packets can go out by it and come in. Returns whether one changed.
bool Gateway::follow_vtis() {
  const auto is_usable = [](const Sa& sa) { return !sa.counters().has_expired(kExpiredHard); };
  std::vector<uint8_t> directions(tables_->interfaces->size(), 0);
  sas_->sad().for_each([&](const Sa& sa) {
    if (sa.vti() == kNoInterface || sa.vti().value >= directions.size() || !is_usable(sa)) return;
    directions[sa.vti().value] |= sa.direction() == Direction::kOut ? 1 : 2;
  });
  bool changed = false;
  for (const Interface& interface : *tables_->interfaces) {
    if (interface.kind != InterfaceKind::kVti) continue;
    const bool up = directions[interface.index.value] == 3;
    LinkState& link = tunnel_links_.find(interface.name.view())->second;
    if (link.up.exchange(up, std::memory_order_relaxed) == up) continue;
    spdlog::info("subsystem=net {} is {}", interface.name.view(), up ? "up" : "down: it has no SA");
    changed = true;
  }
  return changed;
}

// One byte of 0xff (RFC 3948 section 2.3), as an own packet that no policy is asked about.
void Gateway::send_keepalive(const Sa& sa) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
  main_statistics().made.add(1);
  if (!mbuf) {
    main_statistics().drops[0][static_cast<size_t>(DropReason::kNoMbuf)].add(1);
    return;
  }
  const uint16_t ip_bytes = sa.shape().outer_bytes;
  const auto total = static_cast<uint16_t>(ip_bytes + sizeof(UdpHeader) + 1);
  auto* at = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, total));
  write_outer_header({.source = sa.source(), .destination = sa.destination(), .protocol = kProtoUdp}, total,
                     at);
  *reinterpret_cast<UdpHeader*>(at + ip_bytes) = {.source_port = sa.encap_source_port(),
                                                  .destination_port = sa.encap_destination_port(),
                                                  .length = be16::from_host(sizeof(UdpHeader) + 1),
                                                  .checksum = 0};
  at[total - 1] = 0xff;
  Packet& p = make_fresh(mbuf);
  p.tuple = {.source = sa.source(),
             .destination = sa.destination(),
             .source_port = sa.encap_source_port(),
             .destination_port = sa.encap_destination_port(),
             .protocol = kProtoUdp};
  finish_udp_checksum(p.tuple, {at + ip_bytes, sizeof(UdpHeader) + 1});
  p.path = kEncryptedHere;
  p.in = kNoInterface;
  p.flags = kFromGateway | kEncrypted;
  p.l4_offset = ip_bytes;
  p.ip_bytes = total;
  hand_to_worker(mbuf);
}

// A packet without an SA: it is dropped, and who makes SAs is told, once a second for each policy.
void Gateway::acquire(rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const bool is_known_out = p.out != kNoInterface && p.out.value < tables_->interfaces->size();
  const bool by_vti = is_known_out && tables_->tunnels->is_vti(p.out);
  const bool by_policy = !by_vti && p.policy.value < tables_->spd->policies().size();
  const uint32_t key = by_vti ? statistics::kMaxPolicies + p.out.value : by_policy ? p.policy.value : kNone32;
  const uint64_t now = clock_.now_ms();
  if (key != kNone32 && acquire_due_ms_[key] <= now) {
    acquire_due_ms_[key] = now + kAcquireEveryMs;
    const InterfaceIndex vti = by_vti ? p.out : kNoInterface;
    tell(message::Acquire{.policy = by_policy ? p.policy : kNoPolicy, .tuple = p.tuple, .vti = vti});
    tell_ike_of_want(p, by_policy ? &(*tables_->spd)[p.policy] : nullptr, vti);
  }
  drop_by_main(mbuf, p.reason);
}

}  // namespace espalier::dataplane

#include "ike/sa/nat.hpp"

#include <algorithm>

#include "crypto/prf.hpp"
#include "crypto/random.hpp"

namespace espalier::ike {
namespace {

template <class Integer>
std::array<uint8_t, sizeof(Integer)> wire(BigEndian<Integer> value) {
  return std::bit_cast<std::array<uint8_t, sizeof(Integer)>>(value);
}

Notify hash_notify(NotifyType type, const NatHash& hash) {
  return {.type = type, .protocol = ProtocolId::kNone, .spi = {}, .data = Bytes(hash.begin(), hash.end())};
}

// Whether the message has notifications of this type, and whether one of them is `hash`.
struct Found {
  bool any = false, match = false;
};
Found look_for(const Message& message, NotifyType type, const NatHash& hash) {
  Found found;
  for (const Payload& each : message.payloads) {
    const auto* notify = std::get_if<Notify>(&each);
    if (notify == nullptr || notify->type != type) continue;
    found.any = true;
    found.match |= std::ranges::equal(notify->data, hash);
  }
  return found;
}

}  // namespace

Result<NatHash> nat_hash(uint64_t initiator_spi, uint64_t responder_spi, const Endpoint& endpoint) {
  const auto spi_i = wire(be64::from_host(initiator_spi)), spi_r = wire(be64::from_host(responder_spi));
  const auto port = wire(be16::from_host(endpoint.port));
  const auto mapped = std::bit_cast<std::array<uint8_t, 16>>(endpoint.address);
  const ByteView address = endpoint.address.is_v4() ? ByteView(mapped).last(4) : ByteView(mapped);
  auto hash = crypto::sha1({spi_i, spi_r, address, port});
  if (!hash) return fail("NAT detection: {}", hash.error());
  return *hash;
}

Result<std::vector<Notify>> nat_notifies(uint64_t initiator_spi, uint64_t responder_spi,
                                         const Endpoint& local, const Endpoint& remote,
                                         bool force_encapsulation) {
  NatHash source = TRY(nat_hash(initiator_spi, responder_spi, local));
  if (force_encapsulation) {
    // Not the hash of a wrong address: that the peer could guess, and see what we do.
    if (const auto filled = crypto::fill_random(source); !filled)
      return fail("NAT detection: {}", filled.error());
  }
  const NatHash destination = TRY(nat_hash(initiator_spi, responder_spi, remote));
  return std::vector{hash_notify(NotifyType::kNatDetectionSourceIp, source),
                     hash_notify(NotifyType::kNatDetectionDestinationIp, destination)};
}

Result<NatFindings> detect_nat(const Message& message, const Endpoint& local, const Endpoint& remote) {
  const Header& header = message.header;
  const NatHash seen_source = TRY(nat_hash(header.initiator_spi, header.responder_spi, remote));
  const NatHash seen_destination = TRY(nat_hash(header.initiator_spi, header.responder_spi, local));
  const Found source = look_for(message, NotifyType::kNatDetectionSourceIp, seen_source);
  const Found destination = look_for(message, NotifyType::kNatDetectionDestinationIp, seen_destination);
  if (!source.any || !destination.any) return NatFindings{};
  return NatFindings{.supported = true, .local = !destination.match, .remote = !source.match};
}

NatPlan plan_nat(const NatFindings& findings, bool forced) {
  if (!findings.supported) return {};
  const bool encapsulate = findings.local || findings.remote || forced;
  return {.float_port = encapsulate,
          .encapsulate = encapsulate,
          .keepalive = findings.local || forced,
          .follow_peer = findings.remote && !findings.local};
}

Endpoint floated(Endpoint endpoint, const NatPlan& plan) {
  if (plan.float_port && endpoint.port == kIkePort) endpoint.port = kNatPort;
  return endpoint;
}

}  // namespace espalier::ike

// NAT detection against the hashes that strongSwan computed and sent.
#include "ike/sa/nat.hpp"

#include <gtest/gtest.h>

#include "ike/wire/codec.hpp"
#include "tests/unit/ike_sa/vector_file.hpp"

namespace espalier::ike::test {
namespace {

using espalier::test::parse_address;
using espalier::test::to_hex;

Endpoint at(const char* address, uint16_t port = 500) {
  return {parse_address(address), port};
}
const Endpoint kUs = at("198.51.100.3"), kThem = at("203.0.113.2"), kElsewhere = at("192.0.2.9", 1024);

Message decoded(const Bytes& datagram) {
  const auto envelope = parse_envelope(datagram);
  if (!envelope) throw std::runtime_error(envelope.error().text);
  auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  if (!payloads) throw std::runtime_error(payloads.error().text);
  return {envelope->header, std::move(*payloads)};
}

Message message_with(uint64_t spi_i, uint64_t spi_r, const Endpoint& from, const Endpoint& to,
                     bool force = false) {
  Message message{{.initiator_spi = spi_i, .responder_spi = spi_r}, {}};
  std::vector<Notify> notifies = nat_notifies(spi_i, spi_r, from, to, force).value();
  std::ranges::move(notifies, std::back_inserter(message.payloads));
  return message;
}

// From the log of the recording in data/strongswan.txt ("natd_chunk", "natd_hash").
TEST(Nat, HashesOfStrongSwan) {
  EXPECT_EQ(to_hex(nat_hash(0xa6acdca9b9069c6b, 0, kThem).value()),
            "9c9fdd5e62bf6bf494668c47b6650735d0f5884f");
  EXPECT_EQ(to_hex(nat_hash(0xa6acdca9b9069c6b, 0xa25ee27cb8013131, kUs).value()),
            "7dc150643aacfe687e8730bf27fde7709a6b9916");
}

TEST(Nat, Ipv6AddressesAreHashedWhole) {
  const Endpoint a{{be64::from_host(0x20010db800000001), be64::from_host(1)}, 500};
  const Endpoint b{{be64::from_host(0x20010db800000002), be64::from_host(1)}, 500};
  EXPECT_NE(nat_hash(1, 2, a).value(), nat_hash(1, 2, b).value());
  // Of 8 + 8 + 16 + 2 bytes, by sha1sum.
  EXPECT_EQ(to_hex(nat_hash(1, 2, a).value()), "e5903953cb93ca935ec22eda267511377e46d08e");
}

// strongSwan with ESP in user space claims to be behind a NAT; its destination hash is right.
TEST(Nat, MessagesOfStrongSwan) {
  for (const Vector& vector : read_vectors("strongswan.txt")) {
    SCOPED_TRACE(vector.name);
    const Message request = decoded(vector["message_i"]), response = decoded(vector["message_r"]);
    const NatFindings forced_by_peer{.supported = true, .local = false, .remote = true};
    EXPECT_EQ(detect_nat(request, kThem, kUs).value(), forced_by_peer);
    EXPECT_EQ(detect_nat(response, kUs, kThem).value(), forced_by_peer);
    const NatFindings both{.supported = true, .local = true, .remote = true};
    EXPECT_EQ(detect_nat(request, kElsewhere, kUs).value(), both);
  }
}

TEST(Nat, WhoIsBehindOne) {
  const Message message = message_with(1, 2, kThem, kUs);
  EXPECT_EQ(detect_nat(message, kUs, kThem).value(), (NatFindings{true, false, false}));
  EXPECT_EQ(detect_nat(message, kElsewhere, kThem).value(), (NatFindings{true, true, false}));
  EXPECT_EQ(detect_nat(message, kUs, kElsewhere).value(), (NatFindings{true, false, true}));
  EXPECT_EQ(detect_nat(message, kUs, at("203.0.113.2", 501)).value(), (NatFindings{true, false, true}))
      << "port";
}

// A peer that does not know which of its addresses it sends from names all of them.
TEST(Nat, OneOfSeveralSourceHashesIsEnough) {
  Message message = message_with(1, 2, kElsewhere, kUs);
  message.payloads.emplace_back(nat_notifies(1, 2, kThem, kUs, false).value().front());
  EXPECT_EQ(detect_nat(message, kUs, kThem).value(), (NatFindings{true, false, false}));
  EXPECT_EQ(detect_nat(message, kUs, kElsewhere).value(), (NatFindings{true, false, false}));
  EXPECT_EQ(detect_nat(message, kUs, at("192.0.2.10")).value(), (NatFindings{true, false, true}));
}

TEST(Nat, SpisOfTheHeaderCount) {
  Message message = message_with(1, 2, kThem, kUs);
  message.header.responder_spi = 3;
  EXPECT_EQ(detect_nat(message, kUs, kThem).value(), (NatFindings{true, true, true}));
}

TEST(Nat, WithoutBothKindsNothingIsFound) {
  const std::vector<Notify> notifies = nat_notifies(1, 2, kElsewhere, kElsewhere, false).value();
  for (const Notify& one : notifies) {
    const Message message{{.initiator_spi = 1, .responder_spi = 2}, {one}};
    EXPECT_EQ(detect_nat(message, kUs, kThem).value(), NatFindings{});
  }
  EXPECT_EQ(detect_nat(Message{}, kUs, kThem).value(), NatFindings{});
}

TEST(Nat, DamagedHashesMatchNothing) {
  Message message = message_with(1, 2, kThem, kUs);
  for (Payload& payload : message.payloads) std::get<Notify>(payload).data.pop_back();
  EXPECT_EQ(detect_nat(message, kUs, kThem).value(), (NatFindings{true, true, true}));
}

TEST(Nat, ForcedEncapsulationLooksLikeANat) {
  const Message first = message_with(1, 2, kThem, kUs, true), second = message_with(1, 2, kThem, kUs, true);
  EXPECT_EQ(detect_nat(first, kUs, kThem).value(), (NatFindings{true, false, true}));
  const auto source = [](const Message& message) {
    return message.notify(NotifyType::kNatDetectionSourceIp)->data;
  };
  EXPECT_NE(source(first), source(second)) << "random";
}

TEST(Nat, WhatFollows) {
  const NatFindings none{true, false, false}, local{true, true, false}, remote{true, false, true},
      both{true, true, true};
  EXPECT_EQ(plan_nat(none, false), NatPlan{});
  EXPECT_EQ(plan_nat(none, true), (NatPlan{true, true, true, false}));
  EXPECT_EQ(plan_nat(local, false), (NatPlan{true, true, true, false}));
  EXPECT_EQ(plan_nat(remote, false), (NatPlan{true, true, false, true}));
  EXPECT_EQ(plan_nat(both, false), (NatPlan{true, true, true, false}))
      << "the peer is not followed from behind a NAT";
  EXPECT_EQ(plan_nat(NatFindings{}, true), NatPlan{}) << "the peer cannot do it";
}

TEST(Nat, FloatsFromPort500Only) {
  const NatPlan plan{.float_port = true, .encapsulate = true};
  EXPECT_EQ(floated(kThem, plan).port, 4500);
  EXPECT_EQ(floated(kElsewhere, plan).port, 1024);
  EXPECT_EQ(floated(kThem, NatPlan{}).port, 500);
}

}  // namespace
}  // namespace espalier::ike::test

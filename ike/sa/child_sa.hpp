// A child SA: the pair of ESP SAs that carries traffic between two sets of selectors (RFC 7296 section 1.3),
// as the IKE SA knows it, and the records that the dataplane gets of it. Owner: the IKE SA that has it.
//
//   kInstalled ──► kRekeying ──► kRekeyed ──► kDeleting ──► inbound drains ──► gone
//
// Who answers a rekeying installs the inbound SA at once, and the outbound one when it hears that the peer
// uses the new SA or deletes the old: `outbound` says so.
#pragma once

#include "ike/sa/archive.hpp"
#include "ike/sa/context.hpp"
#include "ike/sa/keys.hpp"

namespace espalier::ike {

struct ChildSa {
  enum class Outbound : uint8_t {
    kWaits,  // installed when the peer uses the new SA or deletes the old one
    kInstalled,
    kRemoved,  // deleted, or never to be used: the loser of a collision
  };
  std::shared_ptr<const ChildConfig> config;
  ChildState state = ChildState::kInstalled;
  Outbound outbound = Outbound::kInstalled;
  bool created_by_us = false;  // we sent the request that made it
  bool transport = false;
  bool encapsulated = false;
  bool redundant = false;  // lost a collision: whoever created it deletes it
  EspSuite suite;
  std::vector<TrafficSelector> local, remote;
  Spi spi_in, spi_out;
  Spi replaces;  // spi_in of the child that this one rekeys; 0: none, or it is gone
  ChildKeys keys;
  Bytes lowest_nonce;  // of the two that made it: decides collisions (section 2.8.1)
  Time created = kNever, rekey_at = kNever, expires_at = kNever;
  Time drained_at = kNever;  // deleted; the inbound SA takes what is still on its way
  Time poll_at = kNever;     // asks whether the peer uses it

  bool is_live() const { return state == ChildState::kInstalled || state == ChildState::kRekeying; }
};

struct ChildPath {  // of the IKE SA
  IpAddress local, remote;
  uint16_t local_port = 0, remote_port = 0;
  bool keepalive = false, follow_peer = false;
  std::string_view connection;  // for the operator: "PEER-tunnel-0"
};
// What the dataplane gets. `path` as it is now.
SaRecord make_record(const ChildSa& child, const ChildPath& path, Direction direction);

// How long a child lives: rekeying begins between 9/11 and 10/11 of the lifetime, as strongSwan does with
// VyOS's `lifetime`, so that the two ends seldom begin together.
void set_lifetimes(ChildSa& child, Context& context);
// The selectors that a side of a child has: those configured, or where none are (transport mode, `protocol`
// alone) the host `address`.
std::vector<TrafficSelector> selectors_of(const SelectorSide& side, IpAddress address);

template <class Archive>
void visit(Archive& archive, DirectionKeys& keys) {
  visit(archive, keys.cipher);
  visit(archive, keys.salt);
  visit(archive, keys.integrity);
}
template <class Archive>
void visit(Archive& archive, EspSuite& suite) {
  archive(suite.algorithm.cipher);
  archive(suite.algorithm.integrity);
  archive(suite.algorithm.key_bytes);
  archive(suite.algorithm.icv_bytes);
  archive(suite.group);
  archive(suite.esn);
}
// All but `config`, which stays where it is configured; state.cpp saves its name.
template <class Archive>
void visit(Archive& archive, ChildSa& child) {
  archive(child.state);
  archive(child.outbound);
  archive(child.created_by_us);
  archive(child.transport);
  archive(child.encapsulated);
  archive(child.redundant);
  visit(archive, child.suite);
  visit(archive, child.local);
  visit(archive, child.remote);
  archive(child.spi_in);
  archive(child.spi_out);
  archive(child.replaces);
  visit(archive, child.keys.in);
  visit(archive, child.keys.out);
  visit(archive, child.lowest_nonce);
  for (Time* time : {&child.created, &child.rekey_at, &child.expires_at, &child.drained_at, &child.poll_at})
    visit(archive, *time);
}

}  // namespace espalier::ike

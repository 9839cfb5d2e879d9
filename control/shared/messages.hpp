// What espalierd and the dataplane's main lcore say to each other through a pair of rings (ring.hpp).
//
// A message is a Header and one payload struct, copied by value into a slot of kSlotBytes. The receiver
// copies it out, compares version, type and size, and only then looks inside; what does not fit is refused
// and counted. A configuration travels as ConfigBegin, its records in any number, ConfigCommit; all of it or
// nothing takes effect. Every request is answered by zero or more rows or text lines and one Ack with the
// same request id. Secrets: a slot is wiped by the receiver as soon as it was copied.
#pragma once

#include "control/shared/drop_reason.hpp"
#include "control/shared/records.hpp"

namespace espalier::message {

inline constexpr uint16_t kVersion = 4;
inline constexpr size_t kSlotBytes = 512;

enum class Type : uint16_t {
  // espalierd -> dataplane
  kConfigBegin = 1,
  kInterface = 2,
  kAddress = 3,
  kRoute = 4,
  kNeighbor = 5,
  kNatRule = 6,
  kPolicy = 7,
  kSa = 8,
  kConfigCommit = 9,
  kConfigAbort = 10,
  kQuery = 11,
  kExplain = 12,
  kTapFilter = 13,  // messages_tap.hpp
  kTapStart = 14,
  kTapRead = 15,
  kTapStop = 16,
  // dataplane -> espalierd
  kAck = 64,
  kInterfaceRow = 65,
  kRouteRow = 66,
  kNeighborRow = 67,
  kSessionRow = 68,
  kTextRow = 69,
  kTapPacket = 70,
  kTapData = 71,
  // dataplane -> espalierd, events that nobody asked for: request id 0, no Ack
  kAcquire = 80,
  kExpire = 81,
  kMapping = 82,
};

struct Header {
  uint16_t version = kVersion;
  Type type{};
  uint32_t payload_bytes = 0;
  uint64_t request_id = 0;
  uint64_t generation = 0;  // of the configuration that the sender speaks of
};

struct ConfigBegin {
  static constexpr Type kType = Type::kConfigBegin;
  SettingsRecord settings;
};
struct Interface {
  static constexpr Type kType = Type::kInterface;
  InterfaceRecord record;
};
struct Address {
  static constexpr Type kType = Type::kAddress;
  AddressRecord record;
};
struct Route {
  static constexpr Type kType = Type::kRoute;
  RouteRecord record;
};
struct Neighbor {
  static constexpr Type kType = Type::kNeighbor;
  NeighborRecord record;
};
struct NatRule {
  static constexpr Type kType = Type::kNatRule;
  NatRuleRecord record;
};
struct Policy {
  static constexpr Type kType = Type::kPolicy;
  PolicyRecord record;
};
struct Sa {
  static constexpr Type kType = Type::kSa;
  SaRecord record;
};
struct ConfigCommit {
  static constexpr Type kType = Type::kConfigCommit;
  uint32_t records = 0;  // how many were sent since ConfigBegin; another number refuses the whole
};
struct ConfigAbort {
  static constexpr Type kType = Type::kConfigAbort;
};

enum class QueryKind : uint8_t { kInterfaces, kRoutes, kNeighbors, kSessions };

// Which sessions: those of which either direction's tuple has all that is set.
struct SessionFilter {
  uint8_t has_prefix = 0;
  uint8_t protocol = kProtoAny;
  uint16_t port = 0;  // host order; 0: any
  uint32_t rule = 0;  // number of the rule that translated it; 0: any
  IpPrefix prefix;
};

// Answered by at most `limit` rows; Ack::cursor is where the next query goes on, 0 when all were told.
struct Query {
  static constexpr Type kType = Type::kQuery;
  QueryKind kind{};
  uint8_t count_only = 0;  // kSessions: no rows, Ack::count of this part of the table
  uint64_t cursor = 0;
  uint32_t limit = 256;
  SessionFilter filter = {};  // kSessions
};

// One synthetic packet through the live tables; answered by TextRows, a stage each.
struct Explain {
  static constexpr Type kType = Type::kExplain;
  InterfaceIndex in = kNoInterface;  // kNoInterface: a packet of the gateway itself
  IpAddress source;
  IpAddress destination;
  uint8_t protocol = kProtoUdp;
  uint8_t icmp_type = 8;
  uint8_t dont_fragment = 0;
  uint8_t ttl = 64;
  uint16_t source_port = 0;       // host order
  uint16_t destination_port = 0;  // host order
  uint16_t size_bytes = 64;       // of the IP packet
  uint8_t decrypted = 0;          // 1: as if decrypted by the inbound SA `sa_spi`
  uint8_t reserved = 0;
  Spi sa_spi;
};

struct Ack {
  static constexpr Type kType = Type::kAck;
  uint8_t ok = 0;
  uint8_t reserved[7] = {};
  uint64_t cursor = 0;
  uint64_t count = 0;     // of a Query with count_only
  FixedString<239> text;  // the error, where ok is 0
};

struct InterfaceRow {
  static constexpr Type kType = Type::kInterfaceRow;
  InterfaceIndex index;
  uint8_t admin_up = 0;
  uint8_t link_up = 0;
  uint32_t mtu_bytes = 0;
  uint32_t speed_mbps = 0;  // 0: unknown
  uint16_t rx_queues = 0;
  uint16_t tx_queues = 0;
  uint8_t rss = 0, rx_checksum = 0, tx_checksum = 0, reserved = 0;  // 1: by the device
  MacAddress mac{};
  Name name;
};

struct RouteRow {
  static constexpr Type kType = Type::kRouteRow;
  RouteRecord record;
  uint8_t connected = 0;  // from an interface's address
  uint8_t usable = 0;     // its interface is up
};

enum class NeighborState : uint8_t { kIncomplete, kReachable, kStale, kProbe, kFailed, kPermanent };

struct NeighborRow {
  static constexpr Type kType = Type::kNeighborRow;
  NeighborRecord record;
  NeighborState state{};
  uint16_t queued_packets = 0;
  uint32_t age_s = 0;  // since it was last confirmed
};

// One NAT session, both directions as nf_conntrack shows them.
struct SessionRow {
  static constexpr Type kType = Type::kSessionRow;
  Tuple original;
  Tuple reply;
  WorkerId owner;
  uint8_t tcp_state = 0;  // nat::TcpState
  uint8_t assured = 0;    // traffic was seen in both directions
  uint8_t seen_reply = 0;
  uint32_t source_rule = 0;  // number of the rule that translated it, 0: none
  uint32_t destination_rule = 0;
  uint32_t expires_s = 0;
  uint64_t packets[2] = {};  // original, reply
  uint64_t bytes[2] = {};
};

// A line for the operator. For Explain: `stage` is the pipeline stage that says it.
struct TextRow {
  static constexpr Type kType = Type::kTextRow;
  FixedString<31> stage;
  FixedString<239> text;
};

// A policy protects a packet and there is no SA for it: somebody has to make one. Told once a second for each
// policy at most; the packet was dropped.
struct Acquire {
  static constexpr Type kType = Type::kAcquire;
  PolicyIndex policy;
  Tuple tuple;                        // of the packet
  InterfaceIndex vti = kNoInterface;  // a VTI without an SA; `policy` is kNoPolicy then
};

// An SA reached a limit (SaLimits). After a hard one it is not used any more.
struct Expire {
  static constexpr Type kType = Type::kExpire;
  Spi spi;
  Direction direction{};
  uint8_t hard = 0;
  uint8_t reserved[2] = {};
  Name name;
};

// The outer address or port of an SA's peer changed, behind a NAT (RFC 3948 section 3.1.1 note).
struct Mapping {
  static constexpr Type kType = Type::kMapping;
  Spi spi;
  uint16_t old_port = 0, new_port = 0;  // host order
  IpAddress old_address, new_address;
  Name name;
};

struct Slot {
  Header header;
  uint8_t payload[kSlotBytes - sizeof(Header)];
};
static_assert(sizeof(Slot) == kSlotBytes && sizeof(Header) == 24);

template <class Payload>
Slot make(const Payload& payload, uint64_t request_id, uint64_t generation) {
  static_assert(std::is_trivially_copyable_v<Payload> && sizeof(Payload) <= sizeof(Slot::payload));
  Slot slot{};
  slot.header = {kVersion, Payload::kType, sizeof(Payload), request_id, generation};
  std::memcpy(slot.payload, &payload, sizeof payload);
  return slot;
}

// The payload of `slot` if it is a Payload of this version and size, else false. Does not validate values.
template <class Payload>
bool read(const Slot& slot, Payload& payload) {
  if (slot.header.version != kVersion || slot.header.type != Payload::kType ||
      slot.header.payload_bytes != sizeof(Payload))
    return false;
  std::memcpy(&payload, slot.payload, sizeof payload);
  return true;
}

}  // namespace espalier::message

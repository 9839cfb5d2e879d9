// What the dataplane's main lcore and espalier-ike say to each other through a pair of rings of their own
// (ring.hpp). Slots, versions, wiping and refusing are as in messages.hpp; the types stand in one number
// space with those.
//
// A datagram travels as parts, one behind the other and never mixed with another's. Requests of the IKE
// process (IkeSa, IkeSaRemove, IkeSaMove, IkeCommit, IkeSaAsk, IkeWay) carry a request id and are answered by
// one IkeAck, IkeSaUse or IkeWayIs with it, in their order. All are idempotent: after a death of either side
// everything unanswered is sent again. Of the SAs that fit a policy the one that was installed last is used,
// so the oldest is sent first.
//
// IkeBegin ... IkeSa ... IkeCommit names every SA that the IKE process has: what it installed earlier and
// does not name is removed then. SAs of the configuration (static keys) are never touched by these messages.
#pragma once

#include "control/shared/messages.hpp"

namespace espalier::message {

enum class IkeType : uint16_t {
  // espalier-ike -> dataplane
  kSend = 128,  // IkeDatagram
  kBegin = 129,
  kSa = 130,
  kSaRemove = 131,
  kSaMove = 132,
  kSaAsk = 133,
  kWay = 134,
  kCommit = 135,
  // dataplane -> espalier-ike
  kReceived = 160,  // IkeDatagram
  kAck = 161,
  kSaUse = 162,
  kWayIs = 163,
  kAcquire = 164,
  kExpire = 165,
  kMapping = 166,
};

constexpr Type type_of(IkeType type) {
  return static_cast<Type>(type);
}

// A part of one UDP datagram between `local` (the gateway's) and `remote`, without IP and UDP headers and
// without the non-ESP marker, which all but a NAT keepalive (RFC 3948 section 2.3: the byte 0xff) have on
// port 4500.
struct IkeDatagram {
  static constexpr size_t kPartBytes = 416;
  static constexpr uint32_t kMostBytes =
      65535 - 40 - 8 - 4;  // what fits a packet of either family, with a marker
  IpAddress local, remote;
  uint16_t local_port = 0, remote_port = 0;  // host order
  uint32_t total_bytes = 0;                  // of the datagram
  uint32_t offset = 0;                       // of this part
  uint16_t part_bytes = 0;
  uint8_t reserved[2] = {};
  uint8_t bytes[kPartBytes] = {};
};
struct IkeSend {
  static constexpr Type kType = type_of(IkeType::kSend);
  IkeDatagram part;
};
struct IkeReceived {
  static constexpr Type kType = type_of(IkeType::kReceived);
  IkeDatagram part;
};

struct IkeBegin {
  static constexpr Type kType = type_of(IkeType::kBegin);
};
// Refused, and nothing is removed, where another number was named.
struct IkeCommit {
  static constexpr Type kType = type_of(IkeType::kCommit);
  uint32_t sas = 0;  // named since IkeBegin
};
struct IkeSa {
  static constexpr Type kType = type_of(IkeType::kSa);
  SaRecord record;  // never with kSaStaticKey
};
struct IkeSaRemove {
  static constexpr Type kType = type_of(IkeType::kSaRemove);
  Spi spi;
  Direction direction{};
  uint8_t reserved[3] = {};
  IpAddress destination;
};
struct IkeSaMove {
  static constexpr Type kType = type_of(IkeType::kSaMove);
  Spi spi;
  Direction direction{};
  uint8_t reserved[3] = {};
  IpAddress destination;  // as it is
  IpAddress new_source, new_destination;
  uint16_t new_source_port = 0, new_destination_port = 0;  // of the encapsulation; both 0: none
};
struct IkeSaAsk {
  static constexpr Type kType = type_of(IkeType::kSaAsk);
  Spi spi;  // inbound
};
// Which of the gateway's addresses packets to `remote` would leave with.
struct IkeWay {
  static constexpr Type kType = type_of(IkeType::kWay);
  IpAddress remote;
};

struct IkeAck {
  static constexpr Type kType = type_of(IkeType::kAck);
  uint8_t ok = 0;
  FixedString<239> text;
};
struct IkeSaUse {
  static constexpr Type kType = type_of(IkeType::kSaUse);
  Spi spi;
  uint8_t known = 0;
  uint8_t used = 0;  // a packet came; idle_ms counts from the last
  uint8_t reserved[2] = {};
  uint64_t packets = 0, bytes = 0;
  uint64_t idle_ms = 0;
};
struct IkeWayIs {
  static constexpr Type kType = type_of(IkeType::kWayIs);
  IpAddress local;  // unspecified: there is no route
};
struct IkeAcquire {
  static constexpr Type kType = type_of(IkeType::kAcquire);
  Reqid reqid;
  InterfaceIndex vti = kNoInterface;
  uint8_t reserved[2] = {};
  Tuple tuple;
};
struct IkeExpire {
  static constexpr Type kType = type_of(IkeType::kExpire);
  Spi spi;
  Direction direction{};
  uint8_t hard = 0;
  uint8_t reserved[2] = {};
  IpAddress destination;  // outer, of the SA: peers choose outbound SPIs, two may choose the same
};
struct IkeMapping {
  static constexpr Type kType = type_of(IkeType::kMapping);
  Spi spi;
  uint16_t port = 0;  // host order
  uint8_t reserved[2] = {};
  IpAddress address;
};

}  // namespace espalier::message

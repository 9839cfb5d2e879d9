// What the dataplane and espalier-ike take from each other, and what they refuse.
#include <gtest/gtest.h>

#include <random>

#include "control/shared/message_decode.hpp"

namespace espalier::message {
namespace {

constexpr IpAddress kHere = Ipv4Address::from_host(0xcb007101), kThere = Ipv4Address::from_host(0xcb007102);
const IpAddress kThere6 = IpAddress::from_host(uint128{0x20010db8} << 96 | 2);

IkeDatagram part(uint32_t offset, uint16_t bytes, uint32_t total) {
  IkeDatagram d;
  d.local = kHere;
  d.remote = kThere;
  d.local_port = 500;
  d.remote_port = 1025;
  d.offset = offset;
  d.part_bytes = bytes;
  d.total_bytes = total;
  return d;
}

IkeSa sa() {
  SaRecord r;
  r.spi = Spi(0x1000);
  r.source = kHere;
  r.destination = kThere;
  return {r};
}

template <class Payload>
std::string_view refusal_from_ike(const Payload& payload) {
  const auto decoded = decode_from_ike(make(payload, 1, 1));
  return decoded ? "" : decoded.error();
}
template <class Payload>
std::string_view refusal_for_ike(const Payload& payload) {
  const auto decoded = decode_for_ike(make(payload, 1, 1));
  return decoded ? "" : decoded.error();
}

TEST(DecodeIke, EachDirectionHasItsOwnMessages) {
  EXPECT_EQ(refusal_from_ike(IkeSend{part(0, 100, 100)}), "");
  EXPECT_EQ(refusal_for_ike(IkeReceived{part(0, 100, 100)}), "");
  EXPECT_EQ(refusal_from_ike(IkeReceived{part(0, 100, 100)}), "unknown message type");
  EXPECT_EQ(refusal_for_ike(IkeSend{part(0, 100, 100)}), "unknown message type");
  EXPECT_EQ(refusal_from_ike(ConfigAbort{}), "unknown message type");
  EXPECT_EQ(refusal_from_ike(Sa{sa().record}), "unknown message type");
  EXPECT_EQ(refusal_for_ike(Ack{}), "unknown message type");
  EXPECT_FALSE(decode_from_daemon(make(sa(), 1, 1)));
  EXPECT_FALSE(decode_from_dataplane(make(IkeAck{}, 1, 1)));
}

TEST(DecodeIke, PartsLieWithinTheirDatagram) {
  constexpr uint32_t kMost = IkeDatagram::kMostBytes;
  EXPECT_EQ(refusal_from_ike(IkeSend{part(kMost - 5, 5, kMost)}), "");
  EXPECT_EQ(refusal_from_ike(IkeSend{part(kMost - 5, 6, kMost)}), "datagram: a part beyond its end");
  EXPECT_EQ(refusal_from_ike(IkeSend{part(0xffffffff, 5, 100)}), "datagram: a part beyond its end");
  EXPECT_EQ(refusal_from_ike(IkeSend{part(0, 5, kMost + 1)}), "datagram larger than a packet");
  EXPECT_EQ(refusal_from_ike(IkeSend{part(0, 0, 5)}), "datagram: a part of no bytes, or too many");
  EXPECT_EQ(refusal_from_ike(IkeSend{part(0, 417, 500)}), "datagram: a part of no bytes, or too many");
  IkeSend send{part(0, 5, 5)};
  send.part.local_port = 501;
  EXPECT_EQ(refusal_from_ike(send), "datagram of a port that is not IKE's");
  send.part.local_port = 4500;
  EXPECT_EQ(refusal_from_ike(send), "");
  send.part.remote_port = 0;
  EXPECT_EQ(refusal_from_ike(send), "datagram with port 0");
  send.part.remote_port = 1;
  send.part.remote = kThere6;
  EXPECT_EQ(refusal_from_ike(send), "datagram between what are not two unicast addresses of one family");
}

TEST(DecodeIke, RequestsNameWhatCanBe) {
  EXPECT_EQ(refusal_from_ike(sa()), "");
  IkeSa with_static = sa();
  with_static.record.flags = kSaStaticKey;
  EXPECT_EQ(refusal_from_ike(with_static), "an SA of IKE with a static key");
  IkeSa low = sa();
  low.record.spi = Spi(255);
  EXPECT_EQ(refusal_from_ike(low), "SPI below 256");
  IkeSaRemove remove{.spi = Spi(256), .direction = Direction::kIn, .destination = kHere};
  EXPECT_EQ(refusal_from_ike(remove), "");
  remove.direction = Direction::kFwd;
  EXPECT_EQ(refusal_from_ike(remove), "SA direction is neither out nor in");
  IkeSaMove move{.spi = Spi(256),
                 .direction = Direction::kIn,
                 .destination = kHere,
                 .new_source = kThere,
                 .new_destination = kHere};
  EXPECT_EQ(refusal_from_ike(move), "");
  move.new_source_port = 4500;
  EXPECT_EQ(refusal_from_ike(move), "encap with one port");
  move.new_destination_port = 4500;
  EXPECT_EQ(refusal_from_ike(move), "");
  move.new_source = kThere6;
  EXPECT_EQ(refusal_from_ike(move), "SA endpoints are not two unicast addresses of one family");
  EXPECT_EQ(refusal_from_ike(IkeSaAsk{.spi = Spi(1)}), "SPI below 256");
  EXPECT_EQ(refusal_from_ike(IkeWay{.remote = kThere}), "");
  EXPECT_EQ(refusal_from_ike(IkeWay{.remote = {}}), "way to what is not unicast");
  EXPECT_EQ(refusal_from_ike(IkeBegin{}), "");
  EXPECT_EQ(refusal_from_ike(IkeCommit{}), "");
}

TEST(DecodeIke, SoDoAnswersAndEvents) {
  EXPECT_EQ(refusal_for_ike(IkeAck{.ok = 2, .text = {}}), "ok is neither 0 nor 1");
  EXPECT_EQ(refusal_for_ike(IkeSaUse{.spi = Spi(256), .known = 1}), "");
  EXPECT_EQ(refusal_for_ike(IkeSaUse{.spi = Spi(256), .known = 3}), "flag is neither 0 nor 1");
  EXPECT_EQ(refusal_for_ike(IkeWayIs{.local = {}}), "");
  EXPECT_EQ(refusal_for_ike(IkeAcquire{.reqid = Reqid(0), .tuple = {}}), "acquire without reqid and VTI");
  EXPECT_EQ(refusal_for_ike(IkeAcquire{.reqid = Reqid(7), .tuple = {}}), "");
  EXPECT_EQ(refusal_for_ike(IkeExpire{.spi = Spi(256), .direction = Direction::kIn, .destination = kHere}),
            "");
  EXPECT_EQ(refusal_for_ike(IkeExpire{.spi = Spi(256), .hard = 2, .destination = kHere}),
            "hard is neither 0 nor 1");
  EXPECT_EQ(refusal_for_ike(IkeMapping{.spi = Spi(256), .port = 0, .address = kThere}), "mapping to port 0");
  Slot slot = make(IkeCommit{}, 1, 1);
  slot.header.version = kVersion - 1;
  EXPECT_EQ(decode_from_ike(slot).error(), "unknown message version");
  slot = make(IkeCommit{}, 1, 1);
  slot.header.payload_bytes = 5;
  EXPECT_EQ(decode_from_ike(slot).error(), "wrong payload size");
}

}  // namespace
}  // namespace espalier::message

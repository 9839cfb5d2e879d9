// Stage parse: every fault has its reason, and what is good goes on in its order.
#include "tests/stage/stage_bench.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;

class Parse : public StageBench {
 protected:
  // The reason that a frame with this IP packet gets; kNone when it goes on.
  DropReason fate(Bytes ip_packet) { return fate_of_frame(test::ethernet(kLanMac, kHostMac, ip_packet)); }
  DropReason fate_of_frame(const Bytes& bytes) {
    rte_mbuf* mbuf = frame(kLan, bytes);
    return parse(ctx, MbufSpan(&mbuf, 1)) == 1 ? DropReason::kNone : reason(mbuf);
  }
  Bytes changed(size_t at, uint8_t value) {
    Bytes bytes = test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes();
    bytes.at(at) = value;
    return bytes;
  }
};

TEST_F(Parse, AGoodPacketIsTakenApart) {
  rte_mbuf* mbuf = parsed(kLan, test::udp("192.168.10.45:4000", "10.10.10.55:5000").payload(10).bytes());
  const Packet& p = packet(mbuf);
  EXPECT_EQ(p.in, kLan);
  EXPECT_EQ(p.tuple.source_port.host(), 4000);
  EXPECT_EQ(p.tuple.destination_port.host(), 5000);
  EXPECT_EQ(p.ip_bytes, 38);
  EXPECT_EQ(p.l4_offset, 20);
  EXPECT_EQ(bytes(mbuf).size(), 38u);  // without Ethernet header and padding
}

TEST_F(Parse, FaultsOfTheFrame) {
  const Bytes good = test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes();
  EXPECT_EQ(fate_of_frame(Bytes(13)), DropReason::kEthernetTruncated);
  EXPECT_EQ(fate_of_frame(test::ethernet(kHostMac, kHostMac, good)), DropReason::kEthernetNotForUs);
  EXPECT_EQ(fate_of_frame(test::ethernet(kLanMac, kHostMac, good, 0x88cc)), DropReason::kEthernetUnknownType);
  EXPECT_EQ(fate_of_frame(test::ethernet(kLanMac, kHostMac, good, 0x86dd)), DropReason::kIpBadVersion)
      << "IPv4 that says it is IPv6";
  EXPECT_EQ(fate_of_frame(test::ethernet(kLanMac, kHostMac, Bytes{0, 5, 8, 0}, 0x8100)),
            DropReason::kEthernetUnknownVlan);
  EXPECT_EQ(fate_of_frame(test::ethernet(kLanMac, kHostMac, Bytes{0, 5}, 0x8100)),
            DropReason::kEthernetTruncated);
}

TEST_F(Parse, FaultsOfTheIpHeader) {
  EXPECT_EQ(fate(Bytes(19, 0x45)), DropReason::kIpTruncated);
  EXPECT_EQ(fate(changed(0, 0x65)), DropReason::kIpBadVersion);
  EXPECT_EQ(fate(changed(0, 0x44)), DropReason::kIpBadHeaderLength);
  EXPECT_EQ(fate(changed(0, 0x4f)), DropReason::kIpBadHeaderLength);
  EXPECT_EQ(fate(changed(3, 19)), DropReason::kIpBadLength);
  EXPECT_EQ(fate(changed(2, 0x10)), DropReason::kIpBadLength);
  EXPECT_EQ(fate(changed(8, 63)), DropReason::kIpBadChecksum);
  const Bytes source_route{131, 7, 4, 10, 0, 0, 1, 0};
  EXPECT_EQ(fate(test::udp("192.168.10.45:1", "10.10.10.55:2").options(source_route).bytes()),
            DropReason::kIpSourceRoute);
  const Bytes endless{7, 0, 0, 0};  // an option of length 0
  EXPECT_EQ(fate(test::udp("192.168.10.45:1", "10.10.10.55:2").options(endless).bytes()), DropReason::kNone);
}

TEST_F(Parse, CutOffTransportHeaders) {
  EXPECT_EQ(fate(test::ip(kProtoUdp, "192.168.10.45", "10.10.10.55", Bytes(7)).bytes()),
            DropReason::kL4Truncated);
  EXPECT_EQ(fate(test::ip(kProtoTcp, "192.168.10.45", "10.10.10.55", Bytes(19)).bytes()),
            DropReason::kL4Truncated);
  EXPECT_EQ(fate(test::ip(kProtoIcmp, "192.168.10.45", "10.10.10.55", Bytes(7)).bytes()),
            DropReason::kL4Truncated);
  EXPECT_EQ(fate(test::ip(kProtoGre, "192.168.10.45", "10.10.10.55", Bytes(1)).bytes()), DropReason::kNone);
}

// Of a device that scatters: the pieces are one packet, however they were cut.
TEST_F(Parse, AFrameInSeveralBuffersBecomesOne) {
  const Bytes packet = test::udp("192.168.10.45:4000", "10.10.10.55:5000").payload(1200).bytes();
  const Bytes whole = test::ethernet(kLanMac, kHostMac, packet);
  for (const size_t first : {size_t{1}, size_t{14}, size_t{20}, size_t{700}, whole.size() - 1}) {
    rte_mbuf* head = frame(kLan, test::ByteView(whole).first(first));
    for (size_t at = first; at < whole.size(); at += 500) {
      rte_mbuf* more =
          frame(kLan, test::ByteView(whole).subspan(at, std::min<size_t>(500, whole.size() - at)));
      burst.pop_back();  // the head has it
      ASSERT_EQ(rte_pktmbuf_chain(head, more), 0);
    }
    ASSERT_GT(head->nb_segs, 1);
    ASSERT_EQ(parse(ctx, MbufSpan(&burst.back(), 1)), 1);
    EXPECT_EQ(burst.back()->nb_segs, 1);
    EXPECT_EQ(content(burst.back()), packet);
    EXPECT_EQ(dataplane::packet(burst.back()).tuple.source_port.host(), 4000);
  }
}

TEST_F(Parse, WhatIsGoodGoesOnInItsOrder) {
  const Bytes good = test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes();
  for (const Bytes& content : {good, changed(8, 1), good, Bytes(3), good})
    frame(kLan, content.size() > 3 ? test::ethernet(kLanMac, kHostMac, content) : content);
  const std::vector<rte_mbuf*> before = burst;
  EXPECT_EQ(parse(ctx, burst), 3);
  EXPECT_EQ(burst, (std::vector<rte_mbuf*>{before[0], before[2], before[4], before[1], before[3]}));
}

}  // namespace
}  // namespace espalier::dataplane

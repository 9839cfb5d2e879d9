// A resolver with two Ethernet interfaces and a dummy, a clock that the test sets, and what came out of it as
// bytes. ARP frames to compare with are built by the test support's own code. Include once per program.
#pragma once

#include <gtest/gtest.h>

#include "dataplane/neighbor_resolver.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"

namespace espalier::dataplane {

using message::NeighborState;
using test::Bytes;
using test::parse_address;
using test::parse_mac;

inline constexpr InterfaceIndex kLan(0), kWan(1), kDummy(2);
inline const MacAddress kLanMac = parse_mac("02:00:00:00:00:01"), kWanMac = parse_mac("02:00:00:00:00:02"),
                        kHostMac = parse_mac("02:00:00:00:aa:01"), kOtherMac = parse_mac("02:00:00:00:aa:02"),
                        kBroadcast = parse_mac("ff:ff:ff:ff:ff:ff");
inline const Ipv4Address kLanIp = parse_address("192.168.10.1"), kWanIp = parse_address("203.0.113.1"),
                         kHost = parse_address("192.168.10.45"), kHost2 = parse_address("192.168.10.46"),
                         kZero = parse_address("0.0.0.0");
inline constexpr uint16_t kRequest = 1, kReply = 2;

class NeighborTest : public testing::Test {
 protected:
  NeighborTest() {
    link_.up = wan_link_.up = true;
    reconfigure(interfaces());
    tick_to(0);  // links come up, addresses are announced
    out_ = {};
  }
  ~NeighborTest() override {
    for (rte_mbuf* mbuf : out_.ready) rte_pktmbuf_free(mbuf);
    for (rte_mbuf* mbuf : out_.dropped) rte_pktmbuf_free(mbuf);
  }

  std::vector<Interface> interfaces() const {
    const auto make = [](InterfaceIndex index, const char* name, uint16_t port, MacAddress mac,
                         IpAddress address, uint8_t length, const LinkState& link) {
      Interface i{.index = index,
                  .port = port,
                  .mac = mac,
                  .name = {},
                  .addresses = {IpPrefix::of(address, length)},
                  .link = &link};
      i.name.assign(name);
      return i;
    };
    std::vector<Interface> all{make(kLan, "eth0", 0, kLanMac, kLanIp, 24, link_),
                               make(kWan, "eth1", 1, kWanMac, kWanIp, 24, wan_link_),
                               make(kDummy, "dum0", kNoPort, {}, parse_address("10.9.9.9"), 32, link_)};
    all[2].kind = InterfaceKind::kDummy;
    return all;
  }
  size_t reconfigure(std::vector<Interface> interfaces, std::vector<NeighborRecord> statics = {}) {
    table_of_interfaces_ =
        std::make_shared<const InterfaceTable>(std::move(interfaces), table_of_interfaces_.get());
    return resolver_.reconfigure(table_of_interfaces_, statics, now_ms_, out_);
  }

  void tick_to(uint64_t now_ms) {
    for (; now_ms_ < now_ms; now_ms_ += 100) resolver_.tick(now_ms_, out_);
    resolver_.tick(now_ms_, out_);
  }
  void tick_for(uint64_t ms) { tick_to(now_ms_ + ms); }

  void receive(InterfaceIndex in, const Bytes& arp) { resolver_.handle_arp(in, arp, now_ms_, out_); }
  void receive_reply(Ipv4Address from, const MacAddress& mac) {
    receive(kLan, test::arp(kReply, mac, from, kLanMac, kLanIp));
  }
  // Numbers its packets by source port.
  void send_to(IpAddress next_hop, InterfaceIndex out = kLan) {
    rte_mbuf* mbuf = pool_.make(test::udp("10.0.0.1:" + std::to_string(++sent_), "10.0.0.2:2").bytes());
    packet(mbuf).out = out;
    packet(mbuf).next_hop = next_hop;
    packet(mbuf).exit = Exit::kToMain;
    resolver_.queue_packet(mbuf, now_ms_, out_);
  }

  // What came out, told and forgotten.
  std::vector<Bytes> take_frames() {
    std::vector<Bytes> frames;
    for (const NeighborFrame& f : std::exchange(out_.frames, {})) {
      EXPECT_EQ(f.ether_type, f.payload[0] >> 4 == 6 ? kEtherTypeIpv6 : kEtherTypeArp);
      Bytes frame{static_cast<uint8_t>(f.interface.value)};
      test::append(frame, f.destination);
      test::append(frame, f.payload);
      frames.push_back(std::move(frame));
    }
    return frames;
  }
  static Bytes frame(InterfaceIndex interface, const MacAddress& destination, const Bytes& arp) {
    Bytes bytes{static_cast<uint8_t>(interface.value)};
    test::append(bytes, destination);
    test::append(bytes, arp);
    return bytes;
  }
  static Bytes question(Ipv4Address target) {
    return frame(kLan, kBroadcast, test::arp(kRequest, kLanMac, kLanIp, {}, target));
  }
  static Bytes probe(Ipv4Address target, const MacAddress& mac) {
    return frame(kLan, mac, test::arp(kRequest, kLanMac, kLanIp, mac, target));
  }
  std::vector<uint16_t> numbers(std::vector<rte_mbuf*>& mbufs) {
    std::vector<uint16_t> all;
    for (rte_mbuf* mbuf : mbufs) {
      all.push_back(test::get16(bytes(mbuf), 20));
      rte_pktmbuf_free(mbuf);
    }
    mbufs.clear();
    return all;
  }
  std::vector<uint16_t> take_ready() { return numbers(out_.ready); }
  std::vector<uint16_t> take_dropped(DropReason reason) {
    for (rte_mbuf* mbuf : out_.dropped) {
      EXPECT_EQ(info(packet(mbuf).reason).name, info(reason).name);
      EXPECT_EQ(packet(mbuf).exit, Exit::kDrop);
    }
    return numbers(out_.dropped);
  }
  std::vector<message::NeighborRow> rows() const {
    std::vector<message::NeighborRow> rows(100);
    uint64_t next;
    rows.resize(resolver_.rows(0, now_ms_, rows, next));
    return rows;
  }
  // The only entry's; "none" has no value.
  std::optional<NeighborState> state() const {
    const auto all = rows();
    EXPECT_LE(all.size(), 1u);
    return all.empty() ? std::nullopt : std::optional(all[0].state);
  }
  NeighborTable::State seen_by_worker(IpAddress a, MacAddress* mac = nullptr, InterfaceIndex i = kLan) {
    const NeighborRef ref = table_.find(i, a);
    MacAddress found{};
    const auto state = ref == kNoNeighbor ? NeighborTable::State::kGone : table_.resolve(ref, found);
    if (mac) *mac = found;
    return state;
  }
  void resolve_host() {
    send_to(kHost);
    receive_reply(kHost, kHostMac);
    take_frames();
    EXPECT_EQ(take_ready().size(), 1u);
  }

  TestPool pool_{2048, 512};
  LinkState link_, wan_link_;
  std::shared_ptr<const InterfaceTable> table_of_interfaces_;
  NeighborTable table_;
  NeighborResolver resolver_{table_};
  NeighborOutput out_;
  uint64_t now_ms_ = 0;
  uint16_t sent_ = 0;
};

using Numbers = std::vector<uint16_t>;
using Frames = std::vector<Bytes>;

}  // namespace espalier::dataplane

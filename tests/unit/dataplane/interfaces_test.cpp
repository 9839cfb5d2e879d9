// The interface table: frames, own addresses and their states, groups, and which address speaks to whom.
#include "dataplane/interfaces.hpp"

#include <gtest/gtest.h>

#include <random>

#include "dataplane/link_local.hpp"
#include "tests/unit/dataplane/table_tools.hpp"

namespace espalier::dataplane {
namespace {

constexpr MacAddress kMac{0x00, 0x1b, 0x21, 0xaa, 0xbb, 0xcc};

Interface ethernet(uint16_t index, std::vector<IpPrefix> addresses) {
  Interface i = interface(index, addresses, index);
  i.mac = kMac;
  return i;
}

void set_all(const InterfaceTable& table, AddressState state) {
  for (const Interface& i : table)
    for (const OwnAddress& own : i.addresses)
      if (own.state) *own.state = state;
}

TEST(LinkLocal, AddressesMadeOfOthers) {
  // RFC 2464 section 4: 34-56-78-9A-BC-DE is 36-56-78-FF-FE-9A-BC-DE.
  EXPECT_EQ(eui64_link_local({0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}), ip("fe80::3656:78ff:fe9a:bcde"));
  // RFC 4291 section 2.7.1.
  EXPECT_EQ(solicited_node(ip("4037::1:800:200e:8c6c")), ip("ff02::1:ff0e:8c6c"));
  // RFC 2464 section 7, RFC 1112 section 6.4: the group's lowest 23 bits.
  EXPECT_EQ(multicast_mac(ip("ff02::1:ff0e:8c6c")), (MacAddress{0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c}));
  EXPECT_EQ(multicast_mac(ip("224.0.0.5")), (MacAddress{0x01, 0x00, 0x5e, 0, 0, 5}));
  EXPECT_EQ(multicast_mac(ip("239.255.1.2")), (MacAddress{0x01, 0x00, 0x5e, 0x7f, 1, 2}));
}

TEST(InterfaceTable, FramesFindTheirInterface) {
  std::vector<Interface> list;
  list.push_back(interface(0, {}, 3));
  list.push_back(interface(1, {}, 3, 201));
  list.push_back(interface(2, {}, 3, 4094));
  list.push_back(interface(3, {}, 5, 201));  // VLANs only
  list.push_back(interface(4, {prefix("192.0.2.1/32")}));
  const InterfaceTable table(std::move(list));
  EXPECT_EQ(table.by_wire(3, 0), InterfaceIndex{0});
  EXPECT_EQ(table.by_wire(3, 201), InterfaceIndex{1});
  EXPECT_EQ(table.by_wire(3, 4094), InterfaceIndex{2});
  EXPECT_EQ(table.by_wire(3, 202), kNoInterface);
  EXPECT_EQ(table.by_wire(5, 0), kNoInterface);
  EXPECT_EQ(table.by_wire(5, 201), InterfaceIndex{3});
  EXPECT_EQ(table.by_wire(4, 201), kNoInterface);
  EXPECT_EQ(table.by_wire(kMaxPorts - 1, 0), kNoInterface);
}

TEST(InterfaceTable, OwnAndConnectedAgreeWithTheModel) {
  std::mt19937 random(3);
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto address = [&](uint32_t low) {
      return family == Family::kIpv4 ? IpAddress(Ipv4Address::from_host(low))
                                     : ipv6(0x2001'0db8'0000'0000, low);
    };
    const uint8_t bits = family == Family::kIpv4 ? 32 : 128;
    std::vector<Interface> list;
    for (uint16_t i = 0; i < 40; ++i)
      list.push_back(
          interface(i, {IpPrefix::of(address(random() & 0xff), static_cast<uint8_t>(bits - random() % 9))}));
    const InterfaceTable table(list);
    for (uint32_t a = 0; a < 512; ++a) {
      int longest = -1;
      InterfaceIndex expected = kNoInterface;
      bool own = false;
      for (const Interface& i : list) {
        const IpPrefix& its = i.addresses[0].prefix;
        own |= its.address == address(a);
        if (its.contains(address(a)) && its.length > longest) {
          longest = its.length;
          expected = i.index;
        }
      }
      EXPECT_EQ(table.connected_to(address(a)), expected);
      EXPECT_EQ(table.is_own_address(address(a)), own);
    }
  }
}

TEST(InterfaceTable, EthernetWithIpv6HasALinkLocalAddress) {
  const IpAddress made = eui64_link_local(kMac), given = ip("fe80::1");
  const InterfaceTable table({ethernet(0, {prefix("2001:db8::1/64")}), ethernet(1, {prefix("fe80::1/64")}),
                              ethernet(2, {prefix("192.0.2.1/24")}),
                              interface(3, {prefix("2001:db8:3::1/64")})});
  set_all(table, AddressState::kUsable);
  const auto at = [&](uint16_t i) -> const Interface& { return table[InterfaceIndex{i}]; };
  EXPECT_TRUE(at(0).has_address(made));
  EXPECT_EQ(at(0).addresses.back().prefix, IpPrefix::of(made, 64));
  EXPECT_FALSE(at(1).has_address(made)) << "the configuration has another one";
  EXPECT_FALSE(at(2).has_ipv6());
  EXPECT_EQ(at(2).addresses.size(), 1u);
  EXPECT_EQ(at(3).addresses.size(), 1u) << "no wire";
  EXPECT_TRUE(table.is_own_address(given, InterfaceIndex{1}));
  EXPECT_FALSE(table.is_own_address(given, InterfaceIndex{0})) << "means something on its own link only";
  EXPECT_TRUE(table.is_own_address(given, kNoInterface));
  EXPECT_TRUE(table.is_own_address(ip("2001:db8::1"), InterfaceIndex{1})) << "weak host model";
  EXPECT_EQ(table.connected_to(ip("fe80::7")), kNoInterface);
}

TEST(InterfaceTable, NewIpv6AddressesAreNotOursYet) {
  const auto list = [](bool dad) {
    std::vector<Interface> all{ethernet(0, {prefix("2001:db8::1/64"), prefix("192.0.2.1/24")}),
                               interface(1, {prefix("2001:db8:3::1/64")})};
    all[0].dad = dad;
    return all;
  };
  const InterfaceTable first(list(true));
  EXPECT_FALSE(first.is_own_address(ip("2001:db8::1")));
  EXPECT_FALSE(first[InterfaceIndex{0}].has_address(ip("2001:db8::1")));
  EXPECT_EQ(first[InterfaceIndex{0}].address_towards(ip("2001:db8::9")), IpAddress{});
  EXPECT_TRUE(first.is_own_address(ip("192.0.2.1")));
  EXPECT_TRUE(first.is_own_address(ip("2001:db8:3::1"))) << "nobody there who could have it";
  EXPECT_TRUE(InterfaceTable(list(false)).is_own_address(ip("2001:db8::1")));
  set_all(first, AddressState::kUsable);
  EXPECT_TRUE(first.is_own_address(ip("2001:db8::1")));
  set_all(first, AddressState::kDuplicate);
  EXPECT_FALSE(first.is_own_address(ip("2001:db8::1")));
}

TEST(InterfaceTable, WhatIsKnownOfAnAddressIsTakenOver) {
  const IpPrefix kept = prefix("2001:db8::1/64"), added = prefix("2001:db8::2/64");
  const InterfaceTable before({ethernet(0, {kept})});
  set_all(before, AddressState::kUsable);
  const InterfaceTable after({ethernet(0, {kept, added})}, &before);
  EXPECT_TRUE(after.is_own_address(kept.address));
  EXPECT_FALSE(after.is_own_address(added.address));
  EXPECT_TRUE(after.is_own_address(eui64_link_local(kMac)));
  EXPECT_EQ(after[InterfaceIndex{0}].addresses[0].state, before[InterfaceIndex{0}].addresses[0].state);
  Interface renamed = ethernet(0, {kept});
  renamed.name.assign("other");
  EXPECT_FALSE(InterfaceTable({renamed}, &before).is_own_address(kept.address)) << "perhaps another network";
}

TEST(Interface, HearsItsGroups) {
  const InterfaceTable table(
      {ethernet(0, {prefix("2001:db8::12:3456/64")}), ethernet(1, {prefix("192.0.2.1/24")})});
  const Interface& v6 = table[InterfaceIndex{0}];
  for (const char* group : {"ff02::1", "ff02::2", "ff02::1:ff12:3456", "ff02::1:ffaa:bbcc"})
    EXPECT_TRUE(v6.hears(ip(group))) << group;
  for (const char* group :
       {"ff02::1:ff12:3457", "ff02::5", "ff02::16", "ff05::1", "2001:db8::12:3456", "224.0.0.1"})
    EXPECT_FALSE(v6.hears(ip(group))) << group;
  EXPECT_FALSE(table[InterfaceIndex{1}].hears(kAllNodes));
}

TEST(Interface, AddressesTowardsIpv4AsLinux) {
  const Interface i = interface(0, {prefix("192.0.2.1/24"), prefix("2001:db8::1/64"),
                                    prefix("198.51.100.1/24"), prefix("198.51.100.2/24")});
  EXPECT_EQ(i.address_towards(ip("192.0.2.77")), ip("192.0.2.1"));
  EXPECT_EQ(i.address_towards(ip("198.51.100.77")), ip("198.51.100.1"));
  EXPECT_EQ(i.address_towards(ip("8.8.8.8")), ip("192.0.2.1"));
  EXPECT_EQ(interface(0, {prefix("2001:db8::1/64")}).address_towards(ip("8.8.8.8")), IpAddress{});
  EXPECT_EQ(interface(0, {prefix("192.0.2.1/24")}).address_towards(ip("2001:db8::1")), IpAddress{});
}

// RFC 6724 section 10.1 has these, as far as they are about scope and prefix length.
TEST(Interface, AddressesTowardsIpv6ByRfc6724) {
  const auto from = [](std::vector<IpPrefix> own, const char* destination) {
    return interface(0, std::move(own)).address_towards(ip(destination));
  };
  EXPECT_EQ(from({prefix("fe80::1/64"), prefix("2001:db8:3::1/64")}, "2001:db8:1::1"), ip("2001:db8:3::1"));
  EXPECT_EQ(from({prefix("2001:db8:3::1/64"), prefix("fe80::1/64")}, "fe80::9"), ip("fe80::1"));
  EXPECT_EQ(from({prefix("2001:db8:3::1/64"), prefix("fe80::1/64")}, "ff02::1"), ip("fe80::1"));
  EXPECT_EQ(from({prefix("2001:db8:3::1/64"), prefix("fe80::1/64")}, "ff05::1"), ip("2001:db8:3::1"));
  EXPECT_EQ(from({prefix("fe80::1/64"), prefix("2001:db8:1::1/64")}, "2001:db8:1::1"), ip("2001:db8:1::1"));
  EXPECT_EQ(from({prefix("2001:db8:3::2/64"), prefix("2001:db8:1::2/64")}, "2001:db8:1::1"),
            ip("2001:db8:1::2"));
  // Bits beyond the network's length do not count, so these are equal and the last one speaks.
  EXPECT_EQ(from({prefix("2001:db8::2:1/64"), prefix("2001:db8::1/64")}, "2001:db8::2:2"), ip("2001:db8::1"));
  EXPECT_EQ(from({prefix("fe80::1/64")}, "2001:db8::1"), ip("fe80::1"))
      << "better than nothing for who asks us";
}

TEST(InterfaceTable, AnInterfaceWithoutAddressBorrowsOne) {
  const InterfaceTable table({interface(0, {}), interface(1, {prefix("fe80::1/64")}),
                              interface(2, {prefix("192.0.2.1/24"), prefix("2001:db8::1/64")})});
  EXPECT_EQ(table.address_towards(InterfaceIndex{0}, ip("8.8.8.8")), ip("192.0.2.1"));
  EXPECT_EQ(table.address_towards(InterfaceIndex{1}, ip("2001:db8:9::1")), ip("2001:db8::1"));
  EXPECT_EQ(table.address_towards(InterfaceIndex{1}, ip("fe80::9")), ip("fe80::1"));
  EXPECT_EQ(InterfaceTable({interface(0, {})}).address_towards(InterfaceIndex{0}, ip("8.8.8.8")),
            IpAddress{});
}

}  // namespace
}  // namespace espalier::dataplane

// vpn.ipsec as policies, and what stays the same from one configuration to the next.
#include <gtest/gtest.h>

#include <set>

#include "control/shared/text.hpp"
#include "tests/unit/config/tables_of.hpp"

namespace espalier::config::testing {
namespace {

std::string tunnel(int number, const std::string& rest) {
  return fmt::format("{{ number = {}; {} }}", number, rest);
}
constexpr const char* kAToB = R"(local = { prefix = "10.1.0.0/24"; }; remote = { prefix = "10.2.0.0/24"; };)";

std::string peer(const std::string& name, const std::string& tunnels, const std::string& rest = "") {
  return fmt::format(
      R"({} = {{ authentication = {{ mode = "pre-shared-secret"; }}; ike-group = "I"; default-esp-group = "E";
    local-address = "192.0.2.1"; remote-address = "192.0.2.2"; {} {} }}; )",
      name, tunnels.empty() ? "" : "tunnel = ( " + tunnels + " );", rest);
}

std::string site(const std::string& peers, const std::string& rest = "", const std::string& interfaces = "",
                 const std::string& secret = "topsecret") {
  return fmt::format(R"(
interfaces = {{ eth0 = {{ device = "net_a"; address = [ "192.0.2.1/24", "2001:db8::1/64" ]; }};
  {}vti1 = {{ type = "vti"; address = "10.9.0.1/30"; mtu = 1400; }}; }};
vpn = {{ ipsec = {{
  authentication = {{ psk = {{ A = {{ id = "%any"; secret = "{}"; }}; }}; }};
  esp-group = {{ E = {{ proposal = {{ number = 1; encryption = "aes256gcm128"; }}; }};
                 T = {{ mode = "transport"; proposal = {{ number = 1; encryption = "aes256gcm128"; }}; }}; }};
  ike-group = {{ I = {{ proposal = {{ number = 1; encryption = "aes256gcm128"; prf = "prfsha256"; dh-group = 19; }}; }}; }};
  site-to-site = {{ peer = {{ {} }}; }};
}}; }};
{})",
                     interfaces, secret, peers, rest);
}

// "out 10.1.0.0/24 > 10.2.0.0/24 375423 tunnel", sorted as they stand.
std::vector<std::string> lines_of(const Tables& tables) {
  std::vector<std::string> lines;
  constexpr const char* kDirections[] = {"out", "in", "fwd"};
  for (const PolicyRecord& p : tables.policies)
    lines.push_back(fmt::format("{} {} > {} {} {}", kDirections[static_cast<int>(p.direction)],
                                to_text(p.selector.source), to_text(p.selector.destination), p.priority,
                                p.tmpl[0].mode == EspMode::kTunnel ? "tunnel" : "transport"));
  return lines;
}

using Lines = std::vector<std::string>;

// The priorities are those that `ip xfrm policy` shows of strongSwan 5.9's tunnels with the same selectors.
TEST(CompileIke, ATunnelHasPoliciesOfEachDirection) {
  const Tables tables = tables_of(site(peer("B", tunnel(0, kAToB))));
  EXPECT_EQ(lines_of(tables), (Lines{"out 10.1.0.0/24 > 10.2.0.0/24 375423 tunnel",
                                     "fwd 10.2.0.0/24 > 10.1.0.0/24 375423 tunnel",
                                     "in 10.2.0.0/24 > 10.1.0.0/24 375423 tunnel"}));
  for (const PolicyRecord& p : tables.policies) {
    EXPECT_EQ(p.action, PolicyAction::kProtect);
    EXPECT_EQ(p.templates, 1);
    EXPECT_EQ(p.tmpl[0].level, TemplateLevel::kRequired);
    EXPECT_TRUE(p.tmpl[0].source.is_unspecified() && p.tmpl[0].destination.is_unspecified());
    EXPECT_EQ(p.tmpl[0].reqid, tables.ike.connections.at(0).children.at(0).reqid);
    EXPECT_EQ(p.vti, kNoInterface);
    EXPECT_EQ(p.name.view(), "B-tunnel-0");
  }
  EXPECT_EQ(tables.settings.ike, 1);
  EXPECT_EQ(tables.first_ike_policy, 0u);
}

TEST(CompileIke, EveryPairOfPrefixesOfOneFamily) {
  const Tables tables =
      tables_of(site(peer("B", tunnel(0, R"(local = { prefix = [ "10.1.0.0/24", "2001:db8:1::/48" ]; };
      remote = { prefix = [ "10.2.0.0/24", "10.3.0.0/24", "2001:db8:2::/48" ]; };)"))));
  ASSERT_EQ(tables.policies.size(), 9u);
  EXPECT_EQ(lines_of(tables)[0], "out 10.1.0.0/24 > 10.2.0.0/24 375423 tunnel");
  EXPECT_EQ(lines_of(tables)[1], "out 10.1.0.0/24 > 10.3.0.0/24 375423 tunnel");
  EXPECT_EQ(lines_of(tables)[2], "out 2001:db8:1::/48 > 2001:db8:2::/48 350847 tunnel");
  for (const PolicyRecord& p : tables.policies) EXPECT_EQ(p.tmpl[0].reqid, tables.policies[0].tmpl[0].reqid);
}

TEST(CompileIke, TransportModeHasNothingToForward) {
  const Tables tables = tables_of(site(peer("B", tunnel(0, R"(esp-group = "T"; protocol = "gre";
      local = { prefix = "192.0.2.1/32"; }; remote = { prefix = "192.0.2.2/32"; };)"))));
  EXPECT_EQ(lines_of(tables), (Lines{"out 192.0.2.1/32 > 192.0.2.2/32 366975 transport",
                                     "in 192.0.2.2/32 > 192.0.2.1/32 366975 transport"}));
  EXPECT_EQ(tables.policies[0].selector.protocol, kProtoGre);
}

TEST(CompileIke, PortsAndPriorities) {
  const Tables tables =
      tables_of(site(peer("B", tunnel(0, R"(protocol = "tcp"; local = { prefix = "10.1.0.0/24"; port = 80; };
      remote = { prefix = "10.2.0.0/24"; };)") +
                                   ", " + tunnel(1, std::string("priority = 7; ") + kAToB))));
  ASSERT_EQ(tables.policies.size(), 6u);
  const Selector& out = tables.policies[0].selector;
  EXPECT_EQ(out.protocol, kProtoTcp);
  EXPECT_EQ(out.source_port, (PortRange{80, 80}));
  EXPECT_TRUE(out.destination_port.is_any());
  EXPECT_EQ(tables.policies[1].selector.destination_port, (PortRange{80, 80}));
  EXPECT_EQ(tables.policies[0].priority, 400000u - 512 * 48 - 256 - 64 - 1);
  EXPECT_EQ(tables.policies[3].priority, 7u);
}

TEST(CompileIke, AVtiHasPoliciesOfItsOwn) {
  const Tables everything = tables_of(site(peer("V", "", R"(vti = { bind = "vti1"; };)")));
  EXPECT_EQ(lines_of(everything)[0], "out 0.0.0.0/0 > 0.0.0.0/0 399999 tunnel");
  EXPECT_EQ(lines_of(everything)[1], "out ::/0 > ::/0 399999 tunnel");
  EXPECT_EQ(everything.policies.size(), 6u);
  for (const PolicyRecord& p : everything.policies) {
    EXPECT_EQ(p.vti, InterfaceIndex(1));
    EXPECT_EQ(p.name.view(), "V-vti");
  }
  const Tables narrow = tables_of(site(peer("V", "", R"(vti = { bind = "vti1"; traffic-selector = {
      local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.2.0.0/16"; }; }; };)")));
  EXPECT_EQ(narrow.policies.size(), 3u);
  EXPECT_EQ(narrow.ike.connections[0].children[0].vti, InterfaceIndex(1));
}

// As VyOS: they keep their selectors, and there is no SA for everything beside them.
TEST(CompileIke, AVtiHasTheSasOfItsPeersTunnels) {
  const std::string second =
      tunnel(1, R"(local = { prefix = "10.1.0.0/24"; }; remote = { prefix = "10.3.0.0/24"; };)");
  const Tables tables = tables_of(
      site(peer("V", tunnel(0, kAToB) + ", " + second, R"(vti = { bind = "vti1"; esp-group = "E"; };)")));
  ASSERT_EQ(tables.ike.connections.size(), 1u);
  std::vector<std::string> names;
  for (const IkeChild& child : tables.ike.connections[0].children) {
    names.push_back(child.name);
    EXPECT_EQ(child.vti, InterfaceIndex(1));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"tunnel-0", "tunnel-1"}));
  EXPECT_EQ(lines_of(tables)[0], "out 10.1.0.0/24 > 10.2.0.0/24 375423 tunnel");
  EXPECT_EQ(lines_of(tables)[3], "out 10.1.0.0/24 > 10.3.0.0/24 375423 tunnel");
  EXPECT_EQ(tables.policies.size(), 6u);
  for (const PolicyRecord& p : tables.policies) EXPECT_EQ(p.vti, InterfaceIndex(1));
}

// As VyOS, which writes no configuration for them.
TEST(CompileIke, WhatIsDisabledIsNotThere) {
  const std::string off = tunnel(1, std::string("disable = true; ") + kAToB);
  const Tables one = tables_of(site(peer("B", tunnel(0, kAToB) + ", " + off)));
  EXPECT_EQ(one.policies.size(), 3u);
  EXPECT_EQ(one.ike.connections[0].children.size(), 1u);
  const Tables none = tables_of(site(peer("B", off) + peer("C", tunnel(0, kAToB), "disable = true;")));
  EXPECT_TRUE(none.policies.empty());
  EXPECT_FALSE(none.ike.wanted());
  EXPECT_EQ(none.settings.ike, 0);
}

uint32_t reqid_of(const Tables& tables, std::string_view peer, std::string_view child) {
  for (const IkeConnection& connection : tables.ike.connections)
    for (const IkeChild& each : connection.children)
      if (connection.name == peer && each.name == child) return each.reqid.value;
  ADD_FAILURE() << peer << " " << child;
  return 0;
}

TEST(CompileIke, ReqidsStayWhileOthersComeAndGo) {
  const std::string b = peer("B", tunnel(0, kAToB));
  const std::string c =
      peer("C", tunnel(0, R"(local = { prefix = "10.1.0.0/24"; }; remote = { prefix = "10.7.0.0/24"; };)"));
  const Tables both = tables_of(site(c + b)),
               alone = tables_of(site(b, "", R"(eth1 = { device = "net_b"; address = "10.1.0.1/24"; }; )"));
  EXPECT_EQ(reqid_of(both, "B", "tunnel-0"), reqid_of(alone, "B", "tunnel-0"));
  EXPECT_NE(reqid_of(both, "B", "tunnel-0"), reqid_of(both, "C", "tunnel-0"));
  EXPECT_GE(reqid_of(both, "B", "tunnel-0"), 0x80000000u);
}

TEST(CompileIke, AReqidOfXfrmIsNotTaken) {
  const std::string b = peer("B", tunnel(0, kAToB));
  const uint32_t usual = reqid_of(tables_of(site(b)), "B", "tunnel-0");
  const Tables tables = tables_of(site(
      b, fmt::format(R"(xfrm = {{ policy = ( {{ direction = "in"; src = "10.8.0.0/24"; dst = "10.9.0.0/24";
      action = "protect"; template = {{ reqid = {}L; }}; }} ); }};)",
                     usual)));
  EXPECT_EQ(reqid_of(tables, "B", "tunnel-0"), 0x80000000u | (usual + 1));
  EXPECT_EQ(tables.first_ike_policy, 1u);
  EXPECT_EQ(tables.policies[1].index, PolicyIndex(1));
}

TEST(CompileIke, OfManyPeersEachHasItsOwn) {
  std::string peers;
  for (int n = 0; n < 2000; ++n)
    peers += peer(
        fmt::format("P{}", n),
        tunnel(0, fmt::format(
                      R"(local = {{ prefix = "10.1.0.0/24"; }}; remote = {{ prefix = "10.{}.{}.0/24"; }};)",
                      2 + n / 256, n % 256)));
  const Tables tables = tables_of(site(peers));
  std::set<uint32_t> reqids;
  for (const IkeConnection& connection : tables.ike.connections)
    reqids.insert(connection.children[0].reqid.value);
  EXPECT_EQ(reqids.size(), 2000u);
}

TEST(CompileIke, OnlyTheNamedInterfacesAddressesAreUsed) {
  const std::string text = site(peer("B", tunnel(0, kAToB)));
  EXPECT_TRUE(tables_of(text).ike.local_addresses.empty());
  std::string named = text;
  named.replace(named.find("authentication = { psk"), 0, R"(interface = [ "eth0" ]; )");
  EXPECT_EQ(tables_of(named).ike.local_addresses.size(), 2u);
}

TEST(CompileIke, DiffShowsWhatChangesAndNoSecret) {
  const Tables before = tables_of(site(peer("B", tunnel(0, kAToB))));
  EXPECT_EQ(diff(before, tables_of(site(peer("B", tunnel(0, kAToB))))), Lines{});
  EXPECT_EQ(diff(before, tables_of(site(peer("B", tunnel(0, kAToB)), "", "", "rotated"))),
            Lines{"~ psk A another secret"});
  const auto type =
      diff(before, tables_of(site(peer("B", tunnel(0, kAToB), R"(connection-type = "initiate";)"))));
  ASSERT_EQ(type.size(), 1u);
  EXPECT_TRUE(type[0].starts_with("~ peer B initiate 192.0.2.1 -> 192.0.2.2")) << type[0];
  const auto gone = diff(before, tables_of(site("")));
  EXPECT_EQ(gone.size(), 3u + 2u + 1u);  // policies, the peer with its tunnel, and that IKE runs
}

}  // namespace
}  // namespace espalier::config::testing

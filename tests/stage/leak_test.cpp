// What an attacker, or the loss of an SA, could make leave or enter in clear: in the whole gateway, with a
// vti, gre interfaces and policies. The tunnels' other ends are OpenSSL (tests/support/esp_codec).
#include "tests/stage/gateway_fixture.hpp"

namespace espalier::test {
namespace {

const EspKey kVtiKey{.spi = 0x3001, .key = Bytes(20, 0x31)}, kGreKey{.spi = 0x3002, .key = Bytes(20, 0x32)};
constexpr size_t kProtocolAt = 9;
constexpr uint8_t kIpip = 4, kUdp = 17, kGre = 47, kEsp = 50;
constexpr std::string_view kOwn = "203.0.113.1", kVtiPeer = "203.0.113.2", kGrePeer = "203.0.113.9";

struct LeakSettings {
  bool vti = true;
  bool vti_sas = true;
  std::string vti_selector = {};  // of the SA that packets come by
  bool gre_protect = false;
  bool gre_sas = false;
  int gre_limit = 1000000;  // packets of its SAs
  std::string policies = {};
  std::string routes = {};
  std::string sessions = "auto";
  bool host_path = false;
};

std::string state(const EspKey& in, uint32_t out_spi, std::string_view peer, std::string_view mode,
                  std::string_view more, std::string_view in_more) {
  const auto one = [&](uint32_t spi, std::string_view src, std::string_view dst, std::string_view direction,
                       uint8_t key, std::string_view rest) {
    return fmt::format(R"({{ spi = {}; src = "{}"; dst = "{}"; mode = "{}"; direction = "{}"; {} {}
      encryption = "aes128gcm128"; key = "0x{}"; }})",
                       spi, src, dst, mode, direction, more, rest,
                       fmt::format("{:02x}", fmt::join(Bytes(20, key), "")));
  };
  return one(out_spi, kOwn, peer, "out", static_cast<uint8_t>(out_spi), "") + ",\n" +
         one(in.spi, peer, kOwn, "in", in.key[0], in_more);
}

std::string states(const LeakSettings& s) {
  std::vector<std::string> all;
  if (s.vti && s.vti_sas)
    all.push_back(state(kVtiKey, 0x2041, kVtiPeer, "tunnel", R"(reqid = 1; vti = "vti1";)", s.vti_selector));
  if (s.gre_sas)
    all.push_back(state(kGreKey, 0x2042, kGrePeer, "transport",
                        fmt::format("reqid = 2; limit = {{ hard-packets = {}; }};", s.gre_limit), ""));
  return fmt::format("{}", fmt::join(all, ",\n"));
}

constexpr std::string_view kVti = R"(vti1 = { type = "vti"; address = [ "10.255.1.1/30" ]; };)";
constexpr std::string_view kVtiRoute =
    R"({ prefix = "10.10.10.0/24"; interface = "vti1"; via = "10.255.1.2"; },)";

std::string leak_config(const LeakSettings& s) {
  return fmt::format(R"(dataplane = {{ host-path = {}; }};
interfaces = {{
  lan0 = {{ device = "net_testbed-lan0"; address = [ "192.168.10.1/24" ]; }};
  wan0 = {{ device = "net_testbed-wan0"; address = [ "203.0.113.1/24" ]; }};
  {}
  gre1 = {{ type = "gre"; local-ip = "203.0.113.1"; remote-ip = "203.0.113.9"; address = [ "10.255.2.1/30" ]; protect = {}; }};
}};
routes = ( {} {{ prefix = "0.0.0.0/0"; via = "203.0.113.254"; }},
  {}
  {{ prefix = "10.10.20.0/24"; interface = "gre1"; via = "10.255.2.2"; }} );
neighbors = ( {{ interface = "lan0"; address = "192.168.10.45"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.2"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.9"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.254"; mac = "02:00:00:00:ff:01"; }} );
nat = {{ sessions = "{}"; }};
xfrm = {{ state = ( {} );
  policy = ( {} ); }};
)",
                     s.host_path, s.vti ? kVti : "", s.gre_protect, s.routes, s.vti ? kVtiRoute : "",
                     s.sessions, states(s), s.policies);
}

// GRE's own policies, in transport mode.
std::string gre_policies(std::string_view level) {
  const auto one = [&](std::string_view direction, std::string_view src, std::string_view dst) {
    return fmt::format(
        R"({{ direction = "{}"; src = "{}/32"; dst = "{}/32"; protocol = "gre"; action = "protect";
      template = {{ mode = "transport"; reqid = 2; level = "{}"; }}; }})",
        direction, src, dst, level);
  };
  return one("out", kOwn, kGrePeer);
}

// RFC 2784, without key.
Bytes gre(std::string_view source, std::string_view destination, const Bytes& inner) {
  Bytes payload{0, 0, 0x08, 0};
  payload.insert(payload.end(), inner.begin(), inner.end());
  return ip(kGre, source, destination, payload).bytes();
}

class LeakTest : public GatewayBed {
 protected:
  void apply(const LeakSettings& settings) {
    apply_text(leak_config(settings));
    bed_->advance_time(std::chrono::milliseconds(200));  // the main lcore sees which vti has SAs
  }
  // The protocols of the IP packets that leave by `out` when `in` gets `packet`.
  std::vector<uint8_t> sent(std::string_view out, std::string_view in, const Bytes& packet) {
    bed_->take_sent(out);
    inject(in, packet);
    std::vector<uint8_t> protocols;
    for (const Bytes& each : taken(out)) protocols.push_back(each[kProtocolAt]);
    return protocols;
  }
  Bytes by_vti(const Bytes& inner) { return esp_tunnel(kVtiKey, ++sequence_, kVtiPeer, kOwn, inner).bytes(); }
  uint64_t sequence_ = 0;
};

using Protocols = std::vector<uint8_t>;
const Bytes kFromBehindVti = udp("10.10.10.55:4000", "192.168.10.45:5000").bytes();

TEST_F(LeakTest, ClearFragmentsDoNotJoinWhatCameByAVti) {
  apply({.sessions = "always"});
  const auto pieces = fragments(udp("10.10.10.55:4000", "192.168.10.45:5000").payload(2000).bytes(), 1400);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(sent("lan0", "wan0", by_vti(pieces[0])), Protocols{});
  EXPECT_EQ(sent("lan0", "wan0", pieces[1]), Protocols{}) << "forged";
  EXPECT_EQ(sent("lan0", "wan0", by_vti(pieces[1])), Protocols({kUdp, kUdp})) << "the right one";
}

TEST_F(LeakTest, ClearGreIsNoWayAroundAVti) {
  apply({});
  const Bytes clear = gre(kGrePeer, kOwn, kFromBehindVti);
  EXPECT_EQ(sent("lan0", "wan0", clear), Protocols{});
  EXPECT_EQ(drops(DropReason::kClearFromTunnel), 1u);
  EXPECT_EQ(sent("lan0", "wan0", by_vti(clear)), Protocols{kUdp}) << "what came by an SA may";
  EXPECT_EQ(sent("lan0", "wan0", clear), Protocols{}) << "and its flow is not that of the clear packets";
}

TEST_F(LeakTest, TheSelectorOfAVtisSaIsAsked) {
  apply({.vti_selector = R"(selector = { src = "10.10.10.0/24"; dst = "192.168.10.0/24"; };)"});
  EXPECT_EQ(sent("lan0", "wan0", by_vti(kFromBehindVti)), Protocols{kUdp});
  EXPECT_EQ(sent("lan0", "wan0", by_vti(udp("10.99.0.1:4000", "192.168.10.45:5000").bytes())), Protocols{});
  EXPECT_EQ(drops(DropReason::kInStateMismatch), 1u);
}

TEST_F(LeakTest, AClearFlowEndsWhenItsSourceComesToLieBehindATunnel) {
  LeakSettings settings{.vti = false, .gre_protect = true, .policies = gre_policies("required")};
  apply(settings);
  const Bytes packet = udp("10.20.0.5:4000", "192.168.10.45:5000").bytes();
  EXPECT_EQ(sent("lan0", "wan0", packet), Protocols{kUdp});
  settings.routes = R"({ prefix = "10.20.0.0/24"; interface = "gre1"; via = "10.255.2.2"; },)";
  apply(settings);
  EXPECT_EQ(sent("lan0", "wan0", packet), Protocols{});
  EXPECT_EQ(drops(DropReason::kClearFromTunnel), 1u);
}

TEST_F(LeakTest, ProtectedGreStaysProtectedWhenAnOptionalSaGoes) {
  LeakSettings settings{
      .vti = false, .gre_protect = true, .gre_sas = true, .gre_limit = 2, .policies = gre_policies("use")};
  apply(settings);
  const Bytes packet = udp("192.168.10.45:4000", "10.10.20.5:5000").bytes();
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{kEsp});
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{kEsp});
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{}) << "expired";
  bed_->advance_time(std::chrono::milliseconds(200));  // the main lcore takes it away from the policy
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{});
  EXPECT_EQ(drops(DropReason::kGreUnprotected), 1u);
}

TEST_F(LeakTest, AnOptionalSaIsUsedAsSoonAsItIsThere) {
  LeakSettings settings{.vti = false, .policies = gre_policies("use")};
  apply(settings);
  const Bytes packet = udp("192.168.10.45:4000", "10.10.20.5:5000").bytes();
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{kGre}) << "as the policy says";
  settings.gre_sas = true;
  apply(settings);
  EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{kEsp});
}

TEST_F(LeakTest, AProtectedGreTakesNothingFromAnotherTunnel) {
  apply({.gre_protect = true, .gre_sas = true, .policies = gre_policies("required")});
  const Bytes inner = udp("10.10.20.5:4000", "192.168.10.45:5000").bytes();
  EXPECT_EQ(sent("lan0", "wan0", by_vti(gre(kGrePeer, kOwn, inner))), Protocols{});
  EXPECT_EQ(drops(DropReason::kGreClear), 1u);
}

// A fragment shows no ports, and without sessions it is not put together with the one that has them.
TEST_F(LeakTest, ClearFragmentsDoNotPassAPolicyThatProtectsPorts) {
  apply({.policies = R"({ direction = "fwd"; src = "10.30.0.0/24"; dst = "192.168.10.0/24"; protocol = "udp";
    dst-port = "5000"; action = "protect"; template = { src = "203.0.113.2"; dst = "203.0.113.1"; mode = "tunnel"; reqid = 3; }; })"});
  const Bytes whole = udp("10.30.0.5:4000", "192.168.10.45:5000").payload(2000).bytes();
  for (const Bytes& piece : fragments(whole, 1400)) EXPECT_EQ(sent("lan0", "wan0", piece), Protocols{});
  EXPECT_EQ(drops(DropReason::kInTemplateMismatch), 2u);
  const Bytes other = udp("10.31.0.5:4000", "192.168.10.45:5000").payload(2000).bytes();
  for (const Bytes& piece : fragments(other, 1400)) EXPECT_EQ(sent("lan0", "wan0", piece), Protocols{kUdp});
}

// A host that is the gateway's own asks the same policies.
TEST_F(LeakTest, TheHostsPacketsDoNotLeaveWithoutAnSa) {
  LeakSettings settings{
      .policies = R"({ direction = "out"; src = "203.0.113.1/32"; dst = "10.50.0.0/24"; action = "protect";
    template = { src = "203.0.113.1"; dst = "203.0.113.2"; mode = "tunnel"; reqid = 3; }; })",
      .host_path = true};
  apply(settings);
  const auto from_host = [&](std::string_view to) {
    bed_->take_sent("wan0");
    bed_->inject_from_host(udp("203.0.113.1:4000", fmt::format("{}:5000", to)).bytes());
    bed_->run_until_idle();
    return bed_->take_sent("wan0").size();
  };
  EXPECT_EQ(from_host("10.51.0.5"), 1u) << "what no policy protects";
  EXPECT_EQ(from_host("10.50.0.5"), 0u);
  EXPECT_EQ(drops(DropReason::kOutNoState), 1u);
}

TEST_F(LeakTest, AVtiWhosePeerIsBehindItselfEndsAsALoop) {
  apply({.routes = R"({ prefix = "203.0.113.2/32"; interface = "vti1"; via = "10.255.1.2"; },)"});
  EXPECT_EQ(sent("wan0", "lan0", udp("192.168.10.45:4000", "10.10.10.55:5000").bytes()), Protocols{});
  EXPECT_EQ(drops(DropReason::kTunnelLoop), 1u);
}

TEST_F(LeakTest, FlowsOfAVtiDoNotMoveToANextHopInClear) {
  LeakSettings settings{.routes =
                            R"({ prefix = "10.40.0.0/24"; via = [ "203.0.113.254", "10.255.1.2" ]; },)"};
  apply(settings);
  std::vector<Bytes> protected_flows;
  for (int port = 1000; port < 1032; ++port) {
    const Bytes packet = udp(fmt::format("192.168.10.45:{}", port), "10.40.0.5:5000").bytes();
    if (sent("wan0", "lan0", packet) == Protocols{kEsp}) protected_flows.push_back(packet);
  }
  ASSERT_GE(protected_flows.size(), 5u);
  settings.vti_sas = false;
  apply(settings);
  for (const Bytes& packet : protected_flows) EXPECT_EQ(sent("wan0", "lan0", packet), Protocols{});
}

}  // namespace
}  // namespace espalier::test

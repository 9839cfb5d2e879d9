// Every command of the operator's socket, against the fake dataplane; answers are compared as documents.
#include "control/daemon/commands/commands.hpp"

#include <fstream>

#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

constexpr const char* kConfig = R"(
interfaces = { eth0 = { device = "net_null0"; address = [ "192.0.2.1/24" ]; };
               eth1 = { device = "net_null1"; address = [ "198.51.100.1/24", "2001:db8::1/64" ]; mss-clamp = "pmtu"; };
               gre1 = { type = "gre"; local-ip = "2001:db8::1"; remote-ip = "2001:db8::9"; key = 5; protect = true; };
               vti1 = { type = "vti"; }; };
nat = {
  source = ( { rule = 10; outbound-interface = "eth1"; source = { address = "192.0.2.0/24"; };
               destination = { address = "10.30.0.0/24"; }; exclude = true; },
             { rule = 20; outbound-interface = "eth1"; protocol = "tcp"; source = { address = "192.0.2.0/24"; };
               translation = { address = "masquerade"; port = "1024-65535"; }; } );
  destination = ( { rule = 5; inbound-interface = "eth1"; protocol = "tcp";
                    destination = { address = "198.51.100.1"; port = "8443"; };
                    translation = { address = "192.0.2.80"; port = "443"; }; } );
};
nat66 = {
  source = ( { rule = 7; outbound-interface = "eth1"; ipsec = "match-none"; source = { address = "2001:db8:1::/48"; };
               translation = { address = "2001:db8:2::/48"; }; } );
  destination = ( { rule = 7; inbound-interface = "local"; protocol = "icmpv6"; exclude = true; } );
};
xfrm = {
  state = ( { spi = 0x1001; src = "198.51.100.1"; dst = "203.0.113.7"; reqid = 7; mode = "tunnel"; direction = "out";
              encryption = "aes128gcm128"; key = "0x000102030405060708090a0b0c0d0e0fa0a1a2a3"; } );
  policy = ( { direction = "out"; src = "192.0.2.0/24"; dst = "10.30.0.0/24"; priority = 1000; action = "protect";
               template = { src = "198.51.100.1"; dst = "203.0.113.7"; mode = "tunnel"; reqid = 7; }; },
             { direction = "out"; src = "2001:db8:1::/48"; dst = "2001:db8:2::/48"; action = "protect"; protocol = "icmpv6"; icmp-type = 128;
               interface = "eth1"; template = ( { src = "2001:db8::1"; dst = "2001:db8::9"; },
                                                { mode = "transport"; level = "use"; spi = 0x3001; } ); },
             { direction = "in"; src = "0.0.0.0/0"; dst = "0.0.0.0/0"; action = "discard"; vti = "vti1"; } );
};
)";

class CommandsTest : public DaemonTest {
 protected:
  CommandsTest() : store_(directory_ + "/espalier.conf", state_dir()) {
    std::ofstream(store_.config_file()) << kConfig;
    supervisor_.emplace(loop_, Supervisor::Directories{runtime_dir(), state_dir()},
                        Supervisor::Events{[this] { applier_->on_ready(); },
                                           [this](const std::string& how) { applier_->on_lost(how); },
                                           [this](const auto& event) { events_.take(event); }});
    applier_.emplace(*supervisor_, store_, [this](const config::Tables& tables) {
      return dataplane_command(tables, fake_dataplane(), runtime_dir(), {0, 1});
    });
    auto outcome = config::load(must(store_.read_config_file()));
    EXPECT_TRUE(outcome.tables) << config::render_diagnostics(outcome.diagnostics);
    applier_->set_initial(std::make_shared<const config::Tables>(std::move(*outcome.tables)));
    context_.emplace(
        commands::Context{*supervisor_, ike_, *applier_, store_, events_, [] { return uint64_t{3}; }});
    supervisor_->start(applier_->command());
    EXPECT_TRUE(run_until([&] { return applier_->acknowledged(); }));
  }
  ~CommandsTest() override {
    bool stopped = false;
    supervisor_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
  }

  Json ask(const Json& request) {
    std::optional<Json> answer;
    commands::dispatch(*context_, must(Request::parse(request.dump())),
                       [&](const Json& document) { answer = document; });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return answer.value_or(Json());
  }
  Json ask_ok(const Json& request) {
    Json answer = ask(request);
    EXPECT_EQ(answer["ok"], true) << answer.dump();
    return answer;
  }

  ConfigStore store_;
  std::optional<Supervisor> supervisor_;
  IkeSupervisor ike_{loop_, {runtime_dir(), "/nonexistent", "nobody", directory_}, [] {}};
  std::optional<Applier> applier_;
  DataplaneEvents events_{[this]() -> const config::Tables& { return applier_->running(); }};
  std::optional<commands::Context> context_;
};

TEST_F(CommandsTest, EveryCommandRefusesArgumentsThatItDoesNotKnow) {
  for (const char* command :
       {"apply",         "capture read",   "capture start",         "capture stop",   "diff",
        "explain",       "show drops",     "show connections",      "show ike sa",    "show interfaces",
        "show ipsec sa", "show nat rules", "show nat translations", "show neighbors", "show pipeline",
        "show policy",   "show route",     "show status",           "show workers",   "trace start"}) {
    Json request{{"command", command}, {"surprise", 1}};
    if (request["command"] == "capture read" || request["command"] == "capture stop") request["id"] = 1;
    if (request["command"] == "explain")
      request.update({{"in", "eth0"}, {"src", "1.2.3.4"}, {"dst", "5.6.7.8"}});
    if (request["command"] == "apply" || request["command"] == "diff") request["text"] = kConfig;
    const Json answer = ask(request);
    EXPECT_EQ(answer["ok"], false) << command;
    EXPECT_NE(std::string(answer["error"]).find("surprise"), std::string::npos) << answer.dump();
  }
  EXPECT_EQ(ask({{"command", "show everything"}})["error"], "no such command: \"show everything\"");
}

TEST_F(CommandsTest, PoliciesAndRulesComeFromTheRunningConfiguration) {
  const Json policies = ask_ok({{"command", "show policy"}})["policies"];
  ASSERT_EQ(policies.size(), 3u);
  EXPECT_EQ(policies[0]["direction"], "out");
  EXPECT_EQ(policies[0]["source"], "192.0.2.0/24");
  EXPECT_EQ(policies[0]["protocol"], "any");
  EXPECT_EQ(policies[0]["template"]["reqid"], 7);
  EXPECT_EQ(policies[0]["template"], policies[0]["templates"][0]);
  EXPECT_FALSE(policies[0].contains("vti"));
  EXPECT_EQ(policies[1]["interface"], "eth1");
  EXPECT_EQ(policies[1]["icmp_type"], "128");
  EXPECT_EQ(policies[1]["source"], "2001:db8:1::/48");
  EXPECT_EQ(policies[1]["templates"][1], Json({{"source", "::"},
                                               {"destination", "::"},
                                               {"reqid", 0},
                                               {"spi", 0x3001},
                                               {"mode", "transport"},
                                               {"level", "use"}}));
  EXPECT_EQ(policies[2]["vti"], "vti1");
  EXPECT_FALSE(policies[2].contains("templates"));
  const Json rules = ask_ok({{"command", "show nat rules"}})["rules"];
  ASSERT_EQ(rules.size(), 5u);
  EXPECT_EQ(rules[0]["kind"], "destination");
  EXPECT_EQ(rules[0]["destination_port"], "8443");
  EXPECT_EQ(rules[0]["translation"], "192.0.2.80");
  EXPECT_EQ(rules[0]["translation_port"], "443");
  EXPECT_EQ(rules[1]["interface"], "local");
  EXPECT_EQ(rules[1]["family"], "ipv6");
  EXPECT_EQ(rules[1]["source"], "any");
  EXPECT_EQ(rules[2]["translation"], "exclude");
  EXPECT_FALSE(rules[2].contains("translation_port"));
  EXPECT_FALSE(rules[2].contains("ipsec"));
  EXPECT_EQ(rules[3]["translation"], "masquerade");
  EXPECT_EQ(rules[3]["interface"], "eth1");
  EXPECT_EQ(rules[3]["family"], "ipv4");
  EXPECT_EQ(rules[4]["translation"], "2001:db8:2::/48");
  EXPECT_EQ(rules[4]["ipsec"], "match-none");
}

TEST_F(CommandsTest, ListsComeInPages) {
  const Json first = ask_ok({{"command", "show nat translations"}, {"limit", 4}});
  EXPECT_EQ(first["translations"].size(), 4u);
  EXPECT_EQ(first["cursor"], 4);
  const Json last = ask_ok({{"command", "show nat translations"}, {"cursor", 8}, {"limit", 4}});
  EXPECT_EQ(last["translations"].size(), 2u);
  EXPECT_EQ(last["translations"][0]["expires_s"], 8);
  EXPECT_EQ(last["cursor"], 0);
  const Json rules = ask_ok({{"command", "show nat rules"}, {"cursor", 1}, {"limit", 1}});
  EXPECT_EQ(rules["rules"].size(), 1u);
  EXPECT_EQ(rules["cursor"], 2);
  EXPECT_EQ(ask_ok({{"command", "show policy"}, {"cursor", 99}})["cursor"], 0);
  EXPECT_EQ(ask({{"command", "show policy"}, {"limit", 5000}})["ok"], false);
}

TEST_F(CommandsTest, RoutesTellTheirOriginAndEveryNextHop) {
  const Json routes = ask_ok({{"command", "show route"}})["routes"];
  ASSERT_EQ(routes.size(), 3u);
  EXPECT_EQ(routes[0],
            Json({{"prefix", "::/0"},
                  {"kind", "via"},
                  {"via", "fe80::9"},
                  {"interface", "eth0"},
                  {"next_hops", {{{"via", "fe80::9"}, {"interface", "eth0"}}, {{"interface", "eth1"}}}},
                  {"metric", 20},
                  {"origin", "kernel"},
                  {"connected", false},
                  {"usable", true}}));
  EXPECT_EQ(routes[1]["kind"], "prohibit");
  EXPECT_EQ(routes[1]["origin"], "static");
  EXPECT_FALSE(routes[1].contains("next_hops"));
  EXPECT_EQ(routes[2]["kind"], "interface");
  EXPECT_EQ(routes[2]["origin"], "connected");
}

TEST_F(CommandsTest, InterfacesTellWhatATunnelIs) {
  const Json interfaces = ask_ok({{"command", "show interfaces"}})["interfaces"];
  ASSERT_EQ(interfaces.size(), 5u);
  EXPECT_EQ(interfaces[1]["mss_clamp"], "pmtu");
  EXPECT_EQ(interfaces[1]["addresses"], Json({"198.51.100.1/24", "2001:db8::1/64"}));
  EXPECT_EQ(interfaces[2]["kind"], "gre");
  EXPECT_EQ(interfaces[2]["local_address"], "2001:db8::1");
  EXPECT_EQ(interfaces[2]["remote_address"], "2001:db8::9");
  EXPECT_EQ(interfaces[2]["key"], 5);
  EXPECT_EQ(interfaces[2]["ttl"], 64);
  EXPECT_EQ(interfaces[2]["protect"], true);
  EXPECT_EQ(interfaces[3]["kind"], "vti");
  EXPECT_FALSE(interfaces[3].contains("remote_address"));
  EXPECT_FALSE(interfaces[4].contains("kind"));  // the configuration has no fifth
}

TEST_F(CommandsTest, TranslationsAreFilteredAndCountedByTheDataplane) {
  const Json request{{"command", "show nat translations"},
                     {"address", "2001:db8::/32"},
                     {"port", 80},
                     {"protocol", "tcp"},
                     {"rule", 20},
                     {"limit", 1}};
  const Json row = ask_ok(request)["translations"][0];
  EXPECT_EQ(row["original"]["source"], "2001:db8::");
  EXPECT_EQ(row["original"]["source_port"], 80);
  EXPECT_EQ(row["protocol"], "tcp");
  EXPECT_EQ(row["source_rule"], 20);
  const Json part = ask_ok({{"command", "show nat translations"}, {"count", true}});
  EXPECT_EQ(part, Json({{"ok", true}, {"count", 500'000}, {"cursor", 1}}));
  for (const auto& [key, wrong] : {std::pair<const char*, Json>{"address", "10.0.0.1/8"},
                                   {"address", 5},
                                   {"port", 0},
                                   {"port", 65536},
                                   {"protocol", "any"},
                                   {"rule", 0},
                                   {"count", 1}}) {
    Json bad{{"command", "show nat translations"}};
    bad[key] = wrong;
    EXPECT_EQ(ask(bad)["ok"], false) << bad.dump();
  }
}

// The fake dataplane installs no SAs.
TEST_F(CommandsTest, AConfiguredSaThatIsNotInstalledIsDown) {
  const Json sas = ask_ok({{"command", "show ipsec sa"}})["sas"];
  ASSERT_EQ(sas.size(), 1u);
  EXPECT_EQ(sas[0]["state"], "down");
  EXPECT_EQ(sas[0]["spi"], 0x1001);
  EXPECT_EQ(sas[0]["remote_address"], "203.0.113.7");
  EXPECT_EQ(sas[0].dump().find("0a0b0c"), std::string::npos) << "a key was told";
}

TEST_F(CommandsTest, EventsAreCountedAndAnExpiredSaSaysSo) {
  EXPECT_EQ(ask_ok({{"command", "show status"}})["acquires"], 0);
  ::setenv("FAKE_DATAPLANE", "events", 1);
  ::kill(*supervisor_->dataplane_pid(), SIGKILL);
  ASSERT_TRUE(run_until([&] { return events_.counts().mappings == 1; }));
  const Json status = ask_ok({{"command", "show status"}});
  for (const char* count : {"acquires", "soft_expires", "hard_expires", "mappings"})
    EXPECT_EQ(status[count], 1) << count;
  EXPECT_EQ(status["refused_messages_from_dataplane"], 0);
  const Json sa = ask_ok({{"command", "show ipsec sa"}})["sas"][0];
  EXPECT_EQ(sa["state"], "down");
  EXPECT_EQ(sa["expired"], "hard");
  EXPECT_EQ(sa["reason"], "expired by a hard limit: give it another key");
}

std::string with_peer() {
  return std::string(kConfig) + R"(vpn = { ipsec = {
    authentication = { psk = { A = { id = "%any"; secret = "topsecret"; }; }; };
    esp-group = { E = { proposal = { number = 1; encryption = "aes256gcm128"; }; }; };
    ike-group = { I = { proposal = { number = 1; encryption = "aes256gcm128"; prf = "prfsha256"; dh-group = 19; }; }; };
    site-to-site = { peer = { B = { authentication = { mode = "pre-shared-secret"; remote-id = "@b"; }; ike-group = "I"; default-esp-group = "E";
      local-address = "198.51.100.1"; remote-address = "203.0.113.9";
      tunnel = ( { number = 0; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.2.0.0/16"; }; },
                 { number = 1; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.3.0.0/16"; }; } ); }; }; };
  }; };)";
}

// Without espalier-ike every tunnel is down, and says why.
TEST_F(CommandsTest, TunnelsThatAreConfiguredAreListedWhateverIkeDoes) {
  EXPECT_EQ(ask_ok({{"command", "show connections"}})["connections"].size(), 0u);
  EXPECT_EQ(ask_ok({{"command", "show ike sa"}})["sas"].size(), 0u);
  ask_ok({{"command", "apply"}, {"text", with_peer()}, {"file", "new.conf"}});
  const Json connections = ask_ok({{"command", "show connections"}})["connections"];
  ASSERT_EQ(connections.size(), 2u);
  EXPECT_EQ(connections[1]["peer"], "B");
  EXPECT_EQ(connections[1]["tunnel"], "tunnel-1");
  EXPECT_EQ(connections[1]["state"], "down");
  EXPECT_EQ(connections[1]["remote_selectors"], "10.3.0.0/16");
  EXPECT_NE(std::string(connections[1]["reason"]).find("espalier-ike does not run"), std::string::npos);
  const Json sas = ask_ok({{"command", "show ipsec sa"}})["sas"];
  ASSERT_EQ(sas.size(), 3u);
  EXPECT_EQ(sas[1]["connection"], "B-tunnel-0");
  EXPECT_EQ(sas[1]["remote_id"], "@b");
  EXPECT_EQ(sas[1]["state"], "down");
  const auto document = std::make_shared<const config::IkeDocument>();
  ike_.configure(
      std::shared_ptr<const config::IkeDocument>(applier_->running_tables(), &applier_->running().ike));
  EXPECT_EQ(ask({{"command", "show ike sa"}})["ok"], false);
  EXPECT_EQ(ask({{"command", "initiate"}, {"peer", "B"}})["error"], "espalier-ike does not run; see the log");
  EXPECT_EQ(ask({{"command", "initiate"}, {"peer", "C"}})["error"],
            "there is no peer \"C\", or it is disabled");
  EXPECT_EQ(ask({{"command", "rekey"}, {"peer", "B"}, {"tunnel", "vti"}})["error"],
            "peer \"B\" has no tunnel \"vti\"");
  EXPECT_EQ(ask({{"command", "terminate"}})["error"], "\"peer\" is missing");
  EXPECT_EQ(ask({{"command", "log"}, {"level", "debug"}, {"peer", "C"}})["error"],
            "there is no peer \"C\", or it is disabled");
  ike_.configure(document);
}

// An SA of IKE is known by its reqid.
TEST_F(CommandsTest, AnSaOfIkeHasTheNameOfItsTunnel) {
  ask_ok({{"command", "apply"}, {"text", with_peer()}, {"file", "new.conf"}});
  SaRecord record;
  record.spi = Spi(0x2001);
  record.direction = Direction::kIn;
  record.reqid = applier_->running().ike.connections[0].children[1].reqid;
  record.source = *config::parse_address("203.0.113.9"),
  record.destination = *config::parse_address("198.51.100.1");
  ASSERT_TRUE(const_cast<Vault&>(supervisor_->memory()->vault()).commit(SaIndex(5), record));
  const Json sas = ask_ok({{"command", "show ipsec sa"}})["sas"];
  ASSERT_EQ(sas.size(), 3u);  // it, the static one, and the other tunnel
  EXPECT_EQ(sas[0]["connection"], "B-tunnel-1");
  EXPECT_EQ(sas[0]["state"], "up");
  EXPECT_EQ(sas[0]["peer"], "B");
  EXPECT_EQ(sas[2]["connection"], "B-tunnel-0");
}

// The test is the vault's and the cells' writer.
TEST_F(CommandsTest, AnInstalledSaTellsWhatItIs) {
  SaRecord record;
  record.spi = Spi(0x2001);
  record.direction = Direction::kIn;
  record.mode = EspMode::kTransport;
  record.algorithm = {EspCipher::kAesCbc, EspIntegrity::kHmacSha256, 32, 16};
  record.flags = kSaEsn | kSaEncap | kSaMapping | kSaHasSelector;
  record.source = *config::parse_address("2001:db8::9"),
  record.destination = *config::parse_address("2001:db8::1");
  record.encap_source_port = record.encap_destination_port = 4500;
  record.vti = InterfaceIndex(3);
  record.limits.hard_packets = 7;
  record.selector.protocol = kProtoUdp;
  std::fill(std::begin(record.key), std::end(record.key), 0xab);
  std::fill(std::begin(record.auth_key), std::end(record.auth_key), 0xab);
  must(const_cast<Vault&>(supervisor_->memory()->vault()).commit(SaIndex(0), record));
  SaCell& cell = supervisor_->memory()->cells().cell(SaIndex(0));
  cell.counters.packets = 7;
  cell.counters.last_used_s = boot_time_s();
  cell.peer.learn({*config::parse_address("2001:db8::77"), 4777});
  const auto shown = [&] { return ask_ok({{"command", "show ipsec sa"}})["sas"][0]; };
  Json sa = shown();
  EXPECT_EQ(sa["mode"], "transport");
  EXPECT_EQ(sa["proposal"], "AES_CBC_256/HMAC_SHA2_256_128");
  EXPECT_EQ(sa["encryption"], "aes256");
  EXPECT_EQ(sa["hash"], "sha256");
  EXPECT_EQ(sa["esn"], true);
  EXPECT_EQ(sa["vti"], "vti1");
  EXPECT_EQ(sa["limits"], Json({{"hard_packets", 7}}));
  EXPECT_EQ(sa["encap"]["source_port"], 4500);
  EXPECT_EQ(sa["encap"]["mapping"], true);
  EXPECT_EQ(sa["selector"]["source"], "::/0");
  EXPECT_EQ(sa["local_address"], "2001:db8::1");
  EXPECT_EQ(sa["learned_peer"], Json({{"address", "2001:db8::77"}, {"port", 4777}}));
  EXPECT_LE(sa["idle_s"], 2);
  EXPECT_EQ(sa["state"], "up");
  EXPECT_FALSE(sa.contains("expired"));
  cell.counters.expire(kExpiredSoft);
  EXPECT_EQ(shown()["expired"], "soft");
  EXPECT_EQ(shown()["state"], "up");
  cell.counters.expire(kExpiredHard);
  sa = shown();
  EXPECT_EQ(sa["expired"], "hard");
  EXPECT_EQ(sa["state"], "down");
  EXPECT_EQ(sa["reason"], "expired after 7 packets (hard-packets): give it another key");
  EXPECT_EQ(sa.dump().find("171"), std::string::npos) << "a key was told";
  cell.counters.expired = 2;
  EXPECT_EQ(ask_ok({{"command", "show drops"}})["tunnels"][0]["reason"], "esp_in_expired");
}

TEST_F(CommandsTest, AnInstalledSaTellsItsAge) {
  const auto& memory = *supervisor_->memory();
  EXPECT_FALSE(ask_ok({{"command", "show ipsec sa"}})["sas"][0].contains("uptime_s"));
  ::setenv("FAKE_DATAPLANE", "install", 1);
  ::kill(*supervisor_->dataplane_pid(), SIGKILL);
  ASSERT_TRUE(run_until([&] { return must(memory.vault().read(SaIndex(0))).has_value(); }));
  Json sa = ask_ok({{"command", "show ipsec sa"}})["sas"][0];
  EXPECT_EQ(sa["state"], "up");
  ASSERT_TRUE(sa["uptime_s"].is_number_unsigned());
  EXPECT_GE(sa["uptime_s"], 1000);
  EXPECT_LE(sa["uptime_s"], 1010);
  memory.cells().cell(SaIndex(0)).owner.installed_s = 0;
  EXPECT_FALSE(ask_ok({{"command", "show ipsec sa"}})["sas"][0].contains("uptime_s"));
  memory.cells().cell(SaIndex(0)).owner.installed_s = 1;
  ::setenv("FAKE_DATAPLANE", "die_at_start", 1);
  ::kill(*supervisor_->dataplane_pid(), SIGKILL);
  ASSERT_TRUE(run_until([&] { return !supervisor_->ready(); }));
  sa = ask_ok({{"command", "show ipsec sa"}})["sas"][0];
  EXPECT_EQ(sa["state"], "down");
  EXPECT_TRUE(sa.contains("reason"));
  EXPECT_FALSE(sa.contains("uptime_s"));
}

TEST_F(CommandsTest, ExplainFindsInterfacesProtocolsAndTunnels) {
  const Json packet{{"command", "explain"}, {"in", "eth0"}, {"src", "192.0.2.9"}, {"dst", "10.30.0.1"}};
  const auto with = [&](const char* key, Json value) {
    Json request = packet;
    request[key] = std::move(value);
    return request;
  };
  EXPECT_EQ(ask_ok(packet)["lines"][0]["stage"], "parse");
  ask_ok(with("in", "local"));
  ask_ok(with("protocol", "icmp"));
  for (const Json& wrong :
       {with("in", "eth9"), with("src", "2001:db8::1"), with("dst", "10.30.0"), with("protocol", "icmpv6"),
        with("protocol", "any"), with("protocol", "quux"), with("dport", 70000), with("size", 20),
        with("tunnel", "nobody"), with("tunnel", "0x1001"), with("df", 1), with("icmp_type", 3)})
    EXPECT_EQ(ask(wrong)["ok"], false) << wrong.dump();
  Json v6{{"command", "explain"}, {"in", "vti1"}, {"src", "2001:db8::5"}, {"dst", "2001:db8:2::1"}};
  ask_ok(v6);
  v6["protocol"] = "icmpv6";
  ask_ok(v6);
  v6["size"] = 47;
  EXPECT_EQ(ask(v6)["error"], "\"size\" of an IPv6 packet is at least 48");
  v6.erase("size"), v6["protocol"] = "icmp";
  EXPECT_EQ(ask(v6)["error"], "IPv6 has protocol icmpv6");
  Json gre = with("protocol", "gre"), icmp = with("protocol", "icmp");
  ask_ok(gre);
  gre["sport"] = 1;
  EXPECT_EQ(ask(gre)["ok"], false);
  icmp["sport"] = 1, icmp["icmp_type"] = 0;
  ask_ok(icmp);
  icmp["dport"] = 1;
  EXPECT_EQ(ask(icmp)["error"], "\"dport\" is for tcp and udp");
}

// Two inbound SAs share an SPI, with two own addresses; a name may look like an SPI. The test is the vault's
// writer.
TEST_F(CommandsTest, ExplainTakesATunnelThatIsOneSaOnly) {
  const std::pair<uint32_t, const char*> sas[] = {
      {0x2001, "one"}, {0x2002, "two"}, {0x2002, "three"}, {0xcafe, "0x2001zz"}};
  for (uint32_t index = 0; const auto& [spi, name] : sas) {
    SaRecord record;
    record.spi = Spi(spi);
    record.direction = Direction::kIn;
    record.source = record.destination = Ipv4Address::from_host(0xc0000201 + index);
    record.name.assign(name);
    must(const_cast<Vault&>(supervisor_->memory()->vault()).commit(SaIndex(index++), record));
  }
  Json request{{"command", "explain"}, {"in", "eth1"}, {"src", "192.0.2.9"}, {"dst", "10.30.0.1"}};
  const auto asked = [&](const char* tunnel) {
    request["tunnel"] = tunnel;
    return ask(request);
  };
  for (const char* good : {"one", "0x2001", "0x00002001", "0x2001zz"})
    EXPECT_EQ(asked(good)["ok"], true) << good;
  for (const char* unknown : {"0x", "0x2001z", "0x2001 ", "0x100002001", "0x-1", "four", "0x2003"})
    EXPECT_EQ(asked(unknown)["error"],
              fmt::format("no inbound SA \"{}\"; show ipsec sa lists them", unknown));
  for (const char* several : {"0x2002", "two", "three"})
    EXPECT_EQ(asked(several)["error"],
              fmt::format("\"{}\" stands for several inbound SAs, or its SPI does; show ipsec sa lists them",
                          several));
  request["in"] = "local";
  EXPECT_EQ(asked("one")["error"], "\"tunnel\" is for what came in; \"local\" is the gateway itself");
}

TEST_F(CommandsTest, DiffAndApplyTellChangesAndErrorsWithTheirLines) {
  std::string text = kConfig;
  text.replace(text.find("rule = 20"), 9, "rule = 30");
  const Json request{{"command", "diff"}, {"file", "new.conf"}, {"text", text}};
  EXPECT_EQ(ask_ok(request)["changes"].size(), 2u);
  EXPECT_EQ(ask_ok({{"command", "diff"}, {"text", kConfig}})["changes"].size(), 0u);
  ask_ok({{"command", "apply"}, {"text", text}});
  EXPECT_EQ(ask_ok({{"command", "show nat rules"}})["rules"][3]["rule"], 30);
  for (const char* command : {"diff", "apply"}) {
    const Json refused = ask({{"command", command}, {"file", "bad.conf"}, {"text", "\nnonsense = 1;\n"}});
    EXPECT_EQ(refused["ok"], false);
    EXPECT_EQ(std::string(refused["error"]).substr(0, 18), "bad.conf:2: error:");
    EXPECT_EQ(refused["diagnostics"][0]["line"], 2);
    const Json twice =
        ask({{"command", command}, {"file", "bad.conf"}, {"text", "\nnonsense = 1;\nmore = 1;\n"}});
    EXPECT_TRUE(std::string(twice["error"]).ends_with("(the first of 2 errors)"));
    EXPECT_EQ(twice["diagnostics"].size(), 2u);
  }
  EXPECT_EQ(ask({{"command", "apply"}})["error"], "\"text\" is missing");
}

TEST_F(CommandsTest, StatusDropsPipelineAndWorkers) {
  const Json status = ask_ok({{"command", "show status"}});
  EXPECT_EQ(status["running"], true);
  EXPECT_EQ(status["refused_requests"], 3);
  EXPECT_EQ(status["dataplane_pid"], *supervisor_->dataplane_pid());
  EXPECT_EQ(ask_ok({{"command", "show drops"}})["drops"].size(), 0u);
  EXPECT_EQ(ask_ok({{"command", "show drops"}, {"all", true}})["drops"].size(), kDropReasons - 1);
  EXPECT_EQ(ask_ok({{"command", "show workers"}})["workers"].size(), 1u);
  EXPECT_EQ(ask_ok({{"command", "show pipeline"}})["stages"].size(), 0u);
}

TEST_F(CommandsTest, ADataplaneThatDoesNotAnswerIsAnError) {
  ::kill(*supervisor_->dataplane_pid(), SIGSTOP);
  const Json answer = ask({{"command", "show route"}});
  ::kill(*supervisor_->dataplane_pid(), SIGCONT);
  EXPECT_EQ(answer["error"], "the dataplane does not answer");
}

}  // namespace
}  // namespace espalier::daemon

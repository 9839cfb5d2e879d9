// Every command of the operator's socket, against the fake dataplane; answers are compared as documents.
#include "control/daemon/commands/commands.hpp"

#include <fstream>

#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

constexpr const char* kConfig = R"(
interfaces = { eth0 = { device = "net_null0"; address = [ "192.0.2.1/24" ]; };
               eth1 = { device = "net_null1"; address = [ "198.51.100.1/24" ]; }; };
nat = {
  source = ( { rule = 10; outbound-interface = "eth1"; source = { address = "192.0.2.0/24"; };
               destination = { address = "10.30.0.0/24"; }; exclude = true; },
             { rule = 20; outbound-interface = "eth1"; protocol = "tcp"; source = { address = "192.0.2.0/24"; };
               translation = { address = "masquerade"; port = "1024-65535"; }; } );
  destination = ( { rule = 5; inbound-interface = "eth1"; protocol = "tcp";
                    destination = { address = "198.51.100.1"; port = "8443"; };
                    translation = { address = "192.0.2.80"; port = "443"; }; } );
};
xfrm = {
  state = ( { spi = 0x1001; src = "198.51.100.1"; dst = "203.0.113.7"; reqid = 7; mode = "tunnel"; direction = "out";
              encryption = "aes128gcm128"; key = "0x000102030405060708090a0b0c0d0e0fa0a1a2a3"; } );
  policy = ( { direction = "out"; src = "192.0.2.0/24"; dst = "10.30.0.0/24"; priority = 1000; action = "protect";
               template = { src = "198.51.100.1"; dst = "203.0.113.7"; mode = "tunnel"; reqid = 7; }; } );
};
)";

class CommandsTest : public DaemonTest {
 protected:
  CommandsTest() : store_(directory_ + "/espalier.conf", state_dir()) {
    std::ofstream(store_.config_file()) << kConfig;
    supervisor_.emplace(loop_, Supervisor::Directories{runtime_dir(), state_dir()},
                        Supervisor::Events{[this] { applier_->on_ready(); },
                                           [this](const std::string& how) { applier_->on_lost(how); }});
    applier_.emplace(*supervisor_, store_, [this](const config::Tables& tables) {
      return dataplane_command(tables, fake_dataplane(), runtime_dir(), {0, 1});
    });
    auto outcome = config::load(must(store_.read_config_file()));
    EXPECT_TRUE(outcome.tables) << config::render_diagnostics(outcome.diagnostics);
    applier_->set_initial(std::make_shared<const config::Tables>(std::move(*outcome.tables)));
    context_.emplace(commands::Context{*supervisor_, *applier_, store_, [] { return uint64_t{3}; }});
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
  std::optional<Applier> applier_;
  std::optional<commands::Context> context_;
};

TEST_F(CommandsTest, EveryCommandRefusesArgumentsThatItDoesNotKnow) {
  for (const char* command : {"apply", "diff", "explain", "show drops", "show interfaces", "show ipsec sa",
                              "show nat rules", "show nat translations", "show neighbors", "show pipeline",
                              "show policy", "show route", "show status", "show workers"}) {
    Json request{{"command", command}, {"surprise", 1}};
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
  ASSERT_EQ(policies.size(), 1u);
  EXPECT_EQ(policies[0]["direction"], "out");
  EXPECT_EQ(policies[0]["source"], "192.0.2.0/24");
  EXPECT_EQ(policies[0]["protocol"], "any");
  EXPECT_EQ(policies[0]["template"]["reqid"], 7);
  const Json rules = ask_ok({{"command", "show nat rules"}})["rules"];
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0]["kind"], "destination");
  EXPECT_EQ(rules[0]["destination_port"], "8443");
  EXPECT_EQ(rules[0]["translation"], "192.0.2.80");
  EXPECT_EQ(rules[0]["translation_port"], "443");
  EXPECT_EQ(rules[1]["translation"], "exclude");
  EXPECT_FALSE(rules[1].contains("translation_port"));
  EXPECT_EQ(rules[2]["translation"], "masquerade");
  EXPECT_EQ(rules[2]["interface"], "eth1");
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

// The fake dataplane installs no SAs.
TEST_F(CommandsTest, AConfiguredSaThatIsNotInstalledIsDown) {
  const Json sas = ask_ok({{"command", "show ipsec sa"}})["sas"];
  ASSERT_EQ(sas.size(), 1u);
  EXPECT_EQ(sas[0]["state"], "down");
  EXPECT_EQ(sas[0]["spi"], 0x1001);
  EXPECT_EQ(sas[0]["remote_address"], "203.0.113.7");
  EXPECT_EQ(sas[0].dump().find("0a0b0c"), std::string::npos) << "a key was told";
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
       {with("in", "eth9"), with("src", "2001:db8::1"), with("dst", "10.30.0"), with("protocol", "any"),
        with("protocol", "quux"), with("dport", 70000), with("size", 20), with("tunnel", "nobody"),
        with("tunnel", "0x1001"), with("df", 1), with("icmp_type", 3)})
    EXPECT_EQ(ask(wrong)["ok"], false) << wrong.dump();
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
  EXPECT_EQ(ask_ok({{"command", "show nat rules"}})["rules"][2]["rule"], 30);
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

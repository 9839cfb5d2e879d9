#include "control/daemon/applier.hpp"

#include <fstream>

#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

constexpr const char* kBase = R"(
dataplane = { workers = 1; };
interfaces = { eth0 = { device = "net_null0"; address = [ "192.0.2.1/24" ]; };
               eth1 = { device = "net_null1"; address = [ "198.51.100.1/24" ]; }; };
)";
constexpr const char* kRoute = R"(routes = ( { prefix = "10.0.0.0/8"; via = "192.0.2.254"; } );
)";

Applier::Tables compile(const std::string& text) {
  config::Source source;
  source.file = "test.conf";
  source.text = config::Secret(text);
  auto outcome = config::load(source);
  EXPECT_TRUE(outcome.tables) << config::render_diagnostics(outcome.diagnostics);
  return std::make_shared<const config::Tables>(std::move(*outcome.tables));
}

class ApplierTest : public DaemonTest {
 protected:
  ApplierTest() {
    std::ofstream(config_file()) << kBase;
    store_.emplace(config_file(), state_dir());
    supervisor_.emplace(loop_, Supervisor::Directories{runtime_dir(), state_dir()},
                        Supervisor::Events{[this] { applier_->on_ready(); },
                                           [this](const std::string& how) { applier_->on_lost(how); }});
    applier_.emplace(
        *supervisor_, *store_,
        [this](const config::Tables& tables) {
          return dataplane_command(tables, fake_dataplane(), runtime_dir(), {0, 1});
        },
        Applier::Hooks{[this](const config::Tables&) { return check_; },
                       [this](const Applier::Tables& tables) { acknowledged_.push_back(tables); }});
    applier_->set_initial(compile(kBase));
  }
  ~ApplierTest() override {
    bool stopped = false;
    supervisor_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
  }

  std::string config_file() const { return directory_ + "/espalier.conf"; }
  void start() {
    supervisor_->start(applier_->command());
    ASSERT_TRUE(run_until([&] { return applier_->acknowledged(); }));
  }
  // The error's text, "" when it was applied.
  std::string apply(const std::string& text, bool restart = false) {
    std::optional<std::string> outcome;
    Applier::Change change{.tables = compile(text), .text = text, .restart = restart};
    applier_->apply(std::move(change),
                    [&](const Result<void>& done) { outcome = done ? "" : done.error().text; });
    EXPECT_TRUE(run_until([&] { return outcome.has_value(); }));
    return outcome.value_or("no answer");
  }
  // What a restarted espalierd would begin with.
  std::string chosen_text() { return std::string(must(store_->choose()).source.text.text()); }

  std::optional<ConfigStore> store_;
  std::optional<Supervisor> supervisor_;
  std::optional<Applier> applier_;
  Result<void> check_;
  std::vector<Applier::Tables> acknowledged_;
};

TEST_F(ApplierTest, WhatTheDataplaneAcknowledgedRunsAndSurvives) {
  start();
  EXPECT_EQ(applier_->generation(), 1u);
  EXPECT_EQ(apply(std::string(kBase) + kRoute), "");
  EXPECT_EQ(applier_->running().routes.size(), 1u);
  EXPECT_EQ(applier_->generation(), 2u);
  EXPECT_NE(chosen_text().find("10.0.0.0/8"), std::string::npos);
}

std::string base_with_peer(const std::string& secret, const std::string& type = "respond") {
  return std::string(kBase) + fmt::format(R"(vpn = {{ ipsec = {{
    authentication = {{ psk = {{ A = {{ id = "%any"; secret = "{}"; }}; }}; }};
    esp-group = {{ E = {{ proposal = {{ number = 1; encryption = "aes256gcm128"; }}; }}; }};
    ike-group = {{ I = {{ proposal = {{ number = 1; encryption = "aes256gcm128"; prf = "prfsha256"; dh-group = 19; }}; }}; }};
    site-to-site = {{ peer = {{ B = {{ authentication = {{ mode = "pre-shared-secret"; }}; ike-group = "I"; default-esp-group = "E";
      connection-type = "{}"; local-address = "192.0.2.1"; remote-address = "192.0.2.2";
      tunnel = {{ number = 0; local = {{ prefix = "10.1.0.0/16"; }}; remote = {{ prefix = "10.2.0.0/16"; }}; }}; }}; }}; }};
  }}; }};
)",
                                          secret, type);
}

// The dataplane would refuse whatever reaches it.
TEST_F(ApplierTest, WhatIsForIkeAloneDoesNotReachTheDataplane) {
  start();
  EXPECT_EQ(apply(base_with_peer("one")), "");
  EXPECT_EQ(acknowledged_.back(), applier_->running_tables());
  const size_t before = acknowledged_.size();
  ::kill(*supervisor_->dataplane_pid(), SIGSTOP);
  EXPECT_EQ(apply(base_with_peer("two")), "");
  EXPECT_EQ(apply(base_with_peer("two", "initiate")), "");
  ::kill(*supervisor_->dataplane_pid(), SIGCONT);
  EXPECT_EQ(acknowledged_.size(), before + 2);
  EXPECT_EQ(applier_->running().ike.psks.at(0).secret.text(), "two");
  EXPECT_EQ(applier_->running().ike.connections.at(0).type, config::ConnectionType::kInitiate);
  EXPECT_NE(chosen_text().find("\"two\""), std::string::npos);
}

TEST_F(ApplierTest, WhatTheCheckRefusesChangesNothing) {
  start();
  check_ = fail("b.pem: No such file or directory");
  EXPECT_EQ(apply(base_with_peer("one")), "b.pem: No such file or directory");
  EXPECT_FALSE(applier_->running().ike.wanted());
  EXPECT_EQ(acknowledged_.size(), 1u);
}

TEST_F(ApplierTest, AnEditedConfigFileWinsOverWhatWasApplied) {
  start();
  EXPECT_EQ(apply(std::string(kBase) + kRoute), "");
  std::ofstream(config_file(), std::ios::app) << "// edited\n";
  EXPECT_EQ(chosen_text(), std::string(kBase) + "// edited\n");
}

TEST_F(ApplierTest, WhatTheDataplaneRefusesChangesNothing) {
  start();
  ::setenv("FAKE_DATAPLANE", "refuse", 1);
  const pid_t old = *supervisor_->dataplane_pid();
  ::kill(old, SIGKILL);  // the next one refuses
  ASSERT_TRUE(run_until([&] { return !applier_->last_refusal().empty(); }));
  EXPECT_FALSE(applier_->acknowledged());
  EXPECT_EQ(apply(std::string(kBase) + kRoute), "the dataplane refuses it: told to refuse");
  EXPECT_TRUE(applier_->running().routes.empty());
  EXPECT_EQ(chosen_text(), kBase);
}

TEST_F(ApplierTest, ADataplaneThatDiesDuringAnApplyGetsItAgain) {
  start();
  const pid_t old = *supervisor_->dataplane_pid();
  ::kill(old, SIGSTOP);
  std::optional<bool> applied;
  const std::string text = std::string(kBase) + kRoute;
  applier_->apply({.tables = compile(text), .text = text},
                  [&](const Result<void>& done) { applied = done.has_value(); });
  run_until([] { return false; }, milliseconds(50));
  ::kill(old, SIGKILL);
  ASSERT_TRUE(run_until([&] { return applied.has_value(); }));
  EXPECT_TRUE(*applied);
  EXPECT_EQ(applier_->running().routes.size(), 1u);
  EXPECT_NE(*supervisor_->dataplane_pid(), old);
}

TEST_F(ApplierTest, WhatIsFixedNeedsARestartThatWasAskedFor) {
  start();
  const std::string two =
      "dataplane = { workers = 2; };\n" + std::string(kBase).substr(std::string(kBase).find("interfaces"));
  const pid_t old = *supervisor_->dataplane_pid();
  EXPECT_NE(apply(two).find("dataplane.workers from 1 to 2"), std::string::npos);
  EXPECT_EQ(*supervisor_->dataplane_pid(), old);
  EXPECT_EQ(apply(two, true), "");
  EXPECT_NE(*supervisor_->dataplane_pid(), old);
  EXPECT_EQ(applier_->running().startup.workers, 2u);
}

TEST_F(ApplierTest, ARestartThatFailsGoesBack) {
  start();
  const std::string two =
      "dataplane = { workers = 2; };\n" + std::string(kBase).substr(std::string(kBase).find("interfaces"));
  ::setenv("FAKE_DATAPLANE", "die_at_start", 1);
  const std::string error = apply(two, true);
  EXPECT_NE(error.find("exited with status 3"), std::string::npos) << error;
  ::unsetenv("FAKE_DATAPLANE");
  ASSERT_TRUE(run_until([&] { return applier_->acknowledged(); }));
  EXPECT_EQ(applier_->running().startup.workers, 1u);
  const auto arguments = arguments_of(*supervisor_->dataplane_pid());
  EXPECT_EQ(arguments, applier_->command().arguments);
}

TEST_F(ApplierTest, AConfigurationThatKillsTheDataplaneIsGivenUp) {
  ::setenv("FAKE_DATAPLANE", "die_at_route", 1);
  start();
  EXPECT_EQ(apply(std::string(kBase) + kRoute), "with it the dataplane was killed by signal 9");
  ASSERT_TRUE(run_until([&] { return applier_->acknowledged(); }));
  EXPECT_TRUE(applier_->running().routes.empty());
  EXPECT_EQ(chosen_text(), kBase);
}

TEST_F(ApplierTest, OneChangeAtATime) {
  start();
  ::kill(*supervisor_->dataplane_pid(), SIGSTOP);
  const std::string text = std::string(kBase) + kRoute;
  bool done = false;
  applier_->apply({.tables = compile(text), .text = text}, [&](const Result<void>&) { done = true; });
  EXPECT_NE(apply(kBase).find("another configuration"), std::string::npos);
  ::kill(*supervisor_->dataplane_pid(), SIGCONT);
  EXPECT_TRUE(run_until([&] { return done; }));
}

}  // namespace
}  // namespace espalier::daemon

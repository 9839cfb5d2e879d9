// The entry points as a whole: docs/example.conf, files on disk, size, and what no text of cases can hold.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "control/config/config.hpp"
#include "control/shared/limits.hpp"
#include "control/shared/record_check.hpp"
#include "control/shared/sa_cells.hpp"
#include "tests/unit/config/case_file.hpp"

namespace espalier::config::testing {
namespace {

std::vector<Diagnostic> check_text(std::string_view text) {
  return check(Source{"test.conf", Secret(text), std::nullopt});
}

std::string documents() {
  const char* root = std::getenv("ESPALIER_SOURCE_ROOT");
  EXPECT_NE(root, nullptr) << "set by meson.build";
  return std::string(root == nullptr ? "." : root) + "/docs";
}
std::string example_path() {
  return documents() + "/example.conf";
}

// A file that exists as long as the test.
class TemporaryFile {
 public:
  TemporaryFile(std::string_view text, mode_t mode) {
    const int fd = mkstemp(path_.data());
    EXPECT_GE(fd, 0);
    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    EXPECT_EQ(fchmod(fd, mode), 0);
    close(fd);
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/espalier-config-XXXXXX";
};

TEST(Example, IsAcceptedByCheckAndNoLintComplains) {
  auto source = read_source(example_path());
  ASSERT_TRUE(source) << source.error().text;
  source->mode.reset();  // a checkout's files are readable by all
  for (const Diagnostic& d : check(*source)) EXPECT_EQ(d.lint, "cannot-be-applied") << d.text;
}

TEST(Example, CompilesToRecordsThatTheDataplaneAccepts) {
  const auto source = read_source(example_path());
  ASSERT_TRUE(source) << source.error().text;
  const CompileOutcome outcome = load(*source);
  ASSERT_TRUE(outcome.tables) << render_diagnostics(outcome.diagnostics);
  const Tables& t = *outcome.tables;
  EXPECT_EQ(t.states.size(), 6u);
  EXPECT_EQ(t.policies.size(), 9u + 3 + 6);  // of xfrm, of OFFICE-B, of OFFICE-C's vti in both families
  EXPECT_EQ(t.ike.connections.size(), 2u);
  EXPECT_EQ(t.settings.ike, 1);
  EXPECT_EQ(t.source_rules.size(), 7u);
  for (const auto& record : t.interfaces) EXPECT_EQ(record_check::check(record), std::nullopt);
  for (const auto& record : t.addresses) EXPECT_EQ(record_check::check(record), std::nullopt);
  for (const auto& record : t.routes) EXPECT_EQ(record_check::check(record), std::nullopt);
  for (const auto& record : t.source_rules) EXPECT_EQ(record_check::check(record), std::nullopt);
  for (const auto& record : t.policies) EXPECT_EQ(record_check::check(record), std::nullopt);
  for (const auto& record : t.states) EXPECT_EQ(record_check::check(record), std::nullopt);
}

TEST(Example, KeysAndSecretsAreInNoMessage) {
  const auto source = read_source(example_path());
  ASSERT_TRUE(source) << source.error().text;
  const std::string text = render_diagnostics(load(*source).diagnostics);
  for (const char* secret : {"SomePreSharedKey", "000102030405", "a0a1a2a3", "606162"})
    EXPECT_EQ(text.find(secret), text.npos) << secret;
}

TEST(Stories, EachCanBeAppliedAsItIs) {
  size_t count = 0;
  for (const auto& file : std::filesystem::directory_iterator(documents() + "/examples")) {
    auto source = read_source(file.path());
    ASSERT_TRUE(source) << source.error().text;
    source->mode.reset();  // a checkout's files are readable by all
    const CompileOutcome outcome = load(*source);
    EXPECT_TRUE(outcome.tables) << file.path();
    EXPECT_EQ(render_diagnostics(outcome.diagnostics), "");
    ++count;
  }
  EXPECT_GE(count, 6u);
}

TEST(Source, NotReadable) {
  EXPECT_EQ(read_source("/nonexistent.conf").error().text,
            "/nonexistent.conf: cannot be opened: No such file or directory");
  EXPECT_EQ(read_source("/tmp").error().text, "/tmp: is not a regular file");
}

constexpr std::string_view kPsk =
    R"(vpn = { ipsec = { authentication = { psk = { A = { id = "a"; secret = "topsecret"; }; }; }; }; };)";

TEST(Secrets, AFileThatOthersCanReadIsWarnedOf) {
  const TemporaryFile open(kPsk, 0644), closed(kPsk, 0640);
  const std::vector<Diagnostic> found = check(*read_source(open.path()));
  ASSERT_EQ(found.size(), 1u) << render_diagnostics(found);
  EXPECT_EQ(
      render_diagnostics({found[0]}),
      fmt::format("{0}: warning: holds secrets and is readable by others: chmod o-r {0}, or use secret-file "
                  "[secrets-readable]\n",
                  open.path()));
  EXPECT_TRUE(check(*read_source(closed.path())).empty());
}

TEST(Secrets, SoIsASecretFile) {
  const TemporaryFile open("topsecret", 0644), closed("topsecret", 0600);
  const std::string_view form =
      R"(vpn = {{ ipsec = {{ authentication = {{ psk = {{ A = {{ id = "a"; secret-file = "{}"; }}; }}; }}; }}; }};)";
  const auto check_with = [&](const std::string& secret_file) {
    const TemporaryFile config(fmt::format(fmt::runtime(form), secret_file), 0644);
    std::vector<Diagnostic> found = check(*read_source(config.path()));
    std::erase_if(found, [](const Diagnostic& d) { return d.text.ends_with("this version"); });
    return found;
  };
  EXPECT_TRUE(check_with(closed.path()).empty());
  ASSERT_EQ(check_with(open.path()).size(), 1u);
  EXPECT_EQ(
      check_with(open.path())[0].text,
      fmt::format("vpn.ipsec.authentication.psk.A.secret-file: \"{}\" is readable by others: take their "
                  "permission away",
                  open.path()));
  ASSERT_EQ(check_with("/nonexistent").size(), 1u);
}

TEST(Text, NulBytes) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(render_diagnostics(check_text("dataplane = { };\n\0nat = { };"sv)),
            "test.conf:2: error: a NUL byte\n");
  EXPECT_EQ(render_diagnostics(check_text("x = \"a\0b\";"sv)), "test.conf:1: error: a NUL byte\n");
}

// libconfig compares each new name of a group with all before it: 50,000 of them take it over a minute.
TEST(Text, TooManyNamesInOneGroup) {
  std::string text = "interfaces = {\n";
  for (int i = 0; i < 50000; ++i) text += fmt::format("d{} = {{ type = \"dummy\"; }};\n", i);
  EXPECT_EQ(render_diagnostics(check_text(text + "};")),
            "test.conf:4098: error: too many names in one group: write a list of groups, ( { name = \"...\"; "
            "}, ... )\n");
}

TEST(Text, TooManyOfAKind) {
  std::string text = "interfaces = (\n";
  for (int i = 0; i < 257; ++i)
    text += fmt::format("{}{{ name = \"d{}\"; type = \"dummy\"; }}\n", i ? "," : "", i);
  EXPECT_EQ(render_diagnostics(check_text(text + ");")),
            "test.conf:1: error: interfaces: 257 interfaces are more than the 256 that there can be\n");
}

// `count` elements of a list, one a line; `form` has their number, several times.
std::string elements(std::string_view form, unsigned count) {
  std::string text;
  for (unsigned i = 0; i < count; ++i)
    text += (i == 0 ? "" : ",") + fmt::format(fmt::runtime(form), i, i / 256, i % 256) + "\n";
  return text;
}

TEST(Text, MoreThanTheDataplaneHasRoomFor) {
  EXPECT_EQ(render_diagnostics(check_text(
                "interfaces = (\n" +
                elements(R"({{ name = "p{0}"; device = "net_null{0}"; }})", limits::kPorts + 1) + ");")),
            "test.conf:66: error: interfaces with a device: 65 are more than the 64 that there can be\n");
  EXPECT_EQ(
      render_diagnostics(check_text(
          R"(interfaces = ( { name = "d"; device = "net_null0"; address = "10.0.0.1/8"; } ); neighbors = ()"
          "\n" +
          elements(R"({{ interface = "d"; address = "10.1.{1}.{2}"; mac = "02:00:00:00:00:01"; }})",
                   limits::kNeighbors + 1) +
          ");")),
      "test.conf:32770: error: neighbors: 32769 are more than the 32768 that there can be\n");
}

constexpr std::string_view kInboundState =
    R"({{ spi = 1000{0}; direction = "in"; src = "198.51.100.3"; dst = "203.0.113.7"; replay-window = 65536; )"
    R"(encryption = "aes128gcm128"; key = "0x{0:040x}"; }})";
constexpr std::string_view kOutboundState =
    R"({{ spi = 1000{0}; direction = "out"; src = "198.51.100.3"; dst = "203.0.113.7"; )"
    R"(encryption = "aes128gcm128"; key = "0x{0:040x}"; }})";

std::vector<std::string> errors_of(std::string_view form, unsigned count) {
  std::vector<std::string> errors;
  for (const Diagnostic& d : check_text("xfrm = { state = (\n" + elements(form, count) + "); };"))
    if (d.severity == Severity::kError) errors.push_back(fmt::format("{}: {}", d.line, d.text));
  return errors;
}

// The largest windows take 2048 words each, of 131072 for all.
TEST(Text, MoreStatesThanThereAreCellsOrRoomForTheirWindows) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(errors_of(kOutboundState, 4096), Lines{});
  EXPECT_EQ(errors_of(kOutboundState, 4097),
            Lines{"4098: xfrm.state: 4097 are more than the 4096 that there can be"});
  EXPECT_EQ(errors_of(kInboundState, 64), Lines{});
  EXPECT_EQ(
      errors_of(kInboundState, 66),
      Lines{"66: xfrm.state 0x186e0.replay-window: there is no room for 65536 packets beside the windows of "
            "the states before it: make some windows smaller"});
}

// RFC 7296 section 3.13: a payload counts its traffic selectors in one byte.
TEST(Text, MorePrefixesOfAVtiThanAMessageTakes) {
  const auto errors = [](unsigned prefixes) {
    std::vector<std::string> texts;
    for (const Diagnostic& d :
         check_text(prelude("interfaces and vti") + R"(
vpn = { ipsec = {
  esp-group = { G = { proposal = { number = 1; encryption = "aes256gcm128"; }; }; };
  ike-group = { G = { proposal = { number = 1; encryption = "aes256gcm128"; prf = "prfsha256"; dh-group = 19; }; }; };
  site-to-site = { peer = { A = { authentication = { mode = "pre-shared-secret"; }; ike-group = "G"; default-esp-group = "G";
    local-address = "any"; remote-address = "any"; vti = { bind = "vti1"; traffic-selector = { remote = { prefix = [ )" +
                    elements(R"("10.{1}.{2}.0/24")", prefixes) + "]; }; }; }; }; }; }; }; };"))
      if (d.severity == Severity::kError) texts.push_back(d.text);
    return texts;
  };
  EXPECT_EQ(errors(255), std::vector<std::string>{});
  EXPECT_EQ(errors(256), std::vector<std::string>{
                             "vpn.ipsec.site-to-site.peer.A.vti.traffic-selector: 256 prefixes on one side; "
                             "IKE's messages take 255: make two tunnels"});
}

std::string many_elements() {
  std::string text = prelude("interfaces") + "routes = (\n";
  for (unsigned i = 0; i < 50000; ++i)
    text += fmt::format("{}{{ prefix = \"11.{}.{}.0/24\"; via = \"192.168.0.9\"; }}\n", i ? "," : "", i / 256,
                        i % 256);
  text += ");\nxfrm = {\n state = (\n";
  for (unsigned i = 0; i < CellGeometry{}.capacity; ++i)
    text += fmt::format(
        "{}{{ spi = {}; direction = \"out\"; src = \"198.51.100.3\"; dst = \"203.0.113.7\"; reqid = {}; "
        "encryption = \"aes128gcm128\"; key = \"0x{:040x}\"; }}\n",
        i ? "," : "", 256 + i, i + 1, i + 1);
  text += ");\n policy = (\n";
  for (unsigned i = 0; i < 50000; ++i)
    text += fmt::format(
        "{}{{ direction = \"out\"; src = \"192.168.0.0/24\"; dst = \"10.{}.{}.0/24\"; action = \"protect\"; "
        "template = {{ src = \"198.51.100.3\"; dst = \"203.0.113.7\"; reqid = {}; }}; }}\n",
        i ? "," : "", i / 256, i % 256, i % CellGeometry{}.capacity + 1);
  return text + "); };\n";
}

// Two lists of 50,000 elements and as many states as there can be, with all lints and the compiler; 2 s of
// processor time for each. It takes 0.5 s; a quadratic step anywhere takes minutes.
TEST(Text, FiftyThousandElementsOfAKind) {
#ifdef __SANITIZE_ADDRESS__
  constexpr double kMostSeconds = 60;
#else
  constexpr double kMostSeconds = 6;
#endif
  const std::string text = many_elements();
  const std::clock_t begin = std::clock();
  const CompileOutcome outcome = load(Source{"test.conf", Secret(text), std::nullopt});
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  ASSERT_TRUE(outcome.tables) << render_diagnostics(outcome.diagnostics).substr(0, 1000);
  EXPECT_TRUE(outcome.diagnostics.empty());
  EXPECT_EQ(outcome.tables->routes.size(), 50000u);
  EXPECT_EQ(outcome.tables->states.size(), CellGeometry{}.capacity);
  EXPECT_EQ(outcome.tables->policies.size(), 50000u);
  RecordProperty("seconds", fmt::format("{:.2f}", seconds));
  EXPECT_LT(seconds, kMostSeconds);
}

TEST(Address, PrefixArithmeticOfBothFamilies) {
  const auto p = [](std::string_view text) { return *parse_prefix(text); };
  EXPECT_TRUE(contains(p("10.0.0.0/8"), p("10.255.0.0/16")));
  EXPECT_FALSE(contains(p("10.0.0.0/9"), p("10.128.0.0/16")));
  EXPECT_TRUE(contains(p("0.0.0.0/0"), p("255.255.255.255")));
  EXPECT_FALSE(contains(p("0.0.0.0/0"), p("::/0")));
  EXPECT_FALSE(contains(p("::/0"), p("0.0.0.0/0")));
  EXPECT_TRUE(contains(p("2001:db8::/33"), p("2001:db8:7fff::/48")));
  EXPECT_FALSE(contains(p("2001:db8::/33"), p("2001:db8:8000::/48")));
  EXPECT_TRUE(p("10.1.0.0/16").overlaps(p("10.0.0.0/8")));
  EXPECT_FALSE(p("10.1.0.0/16").overlaps(p("::/0")));
  EXPECT_EQ(to_text(network_of(*parse_interface_address("192.0.2.133/26"))), "192.0.2.128/26");
  EXPECT_EQ(to_text(network_of(*parse_interface_address("2001:db8::ffff/113"))), "2001:db8::8000/113");
  EXPECT_TRUE(reserves(p("192.0.2.0/30"), *parse_address("192.0.2.3")));
  EXPECT_FALSE(reserves(p("192.0.2.0/31"), *parse_address("192.0.2.1")));
  EXPECT_FALSE(reserves(p("2001:db8::/64"), *parse_address("2001:db8::")));
}

TEST(Address, RangesAreShownAsTheyAreWritten) {
  for (const char* text : {"192.0.2.1", "!192.0.2.0/24", "192.0.2.1-192.0.2.4", "0.0.0.0/0", "2001:db8::1",
                           "::/0", "!2001:db8::/33", "2001:db8::-2001:db8::2", "fe80::/10"})
    EXPECT_EQ(to_text(*parse_match(text)), text);
  EXPECT_EQ(prefix_of(*parse_match("192.0.2.4-192.0.2.7"))->length, 126);
  EXPECT_FALSE(prefix_of(*parse_match("192.0.2.5-192.0.2.8")));
}

TEST(Address, WhatIsNoAddress) {
  for (const char* text :
       {"", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.256", " 1.2.3.4", "1.2.3.4 ", "::1::", "1.2.3.4/8"})
    EXPECT_FALSE(parse_address(text)) << text;
  EXPECT_FALSE(parse_address(std::string_view("1.2.3.4\0x", 9)));
  EXPECT_EQ(parse_address("::ffff:1.2.3.4").error().text, "is an IPv4 address inside of IPv6: write 1.2.3.4");
  for (const char* text : {"::ffff:0:0/96", "::ffff:1.2.3.4/128"}) EXPECT_FALSE(parse_prefix(text)) << text;
  for (const char* text :
       {"1.2.3.4-::1", "1.2.3.4-1.2.3.3", "1.2.3.4-", "!!1.2.3.4", "2001:db8::2-2001:db8::1"})
    EXPECT_FALSE(parse_match(text)) << text;
  for (const char* text : {"1.2.3.4/", "1.2.3.4/08", "1.2.3.4/+8", "1.2.3.4/33", "1.2.3.4/8/8", "::/129"})
    EXPECT_FALSE(parse_interface_address(text)) << text;
  for (const char* text : {"", "0", "65536", "1-", "-1", "2-1", "1-65536", "01", "1,2"})
    EXPECT_FALSE(parse_ports(text)) << text;
  for (const char* text :
       {"02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g", "02:00:00:00:00:-1", "00:00:00:00:00:00"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

}  // namespace
}  // namespace espalier::config::testing

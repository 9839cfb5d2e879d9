// The small parts of espalierd that need no process.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <sstream>

#include "control/daemon/back_off.hpp"
#include "control/daemon/command_line.hpp"
#include "control/daemon/config_request.hpp"
#include "control/daemon/dataplane_events.hpp"
#include "control/daemon/heartbeat.hpp"
#include "control/daemon/options.hpp"
#include "control/daemon/text.hpp"
#include "control/shared/message_decode.hpp"
#include "nat/tcp_state.hpp"

namespace espalier::daemon {
namespace {

using namespace std::chrono_literals;

TEST(BackOff, OnlyShortLivesAreWaitedFor) {
  BackOff back_off;
  EXPECT_EQ(back_off.delay_after(1000ms), 0ms);
  EXPECT_EQ(back_off.delay_after(999ms), 100ms);
  EXPECT_EQ(back_off.delay_after(0ms), 200ms);
  for (int i = 0; i < 10; ++i) back_off.delay_after(0ms);
  EXPECT_EQ(back_off.delay_after(0ms), 5000ms);
  EXPECT_EQ(back_off.delay_after(1h), 0ms);
  EXPECT_EQ(back_off.delay_after(0ms), 100ms);
}

TEST(Heartbeat, WhoStandsStillForFiveSecondsIsNamed) {
  const auto segment = std::make_unique<statistics::Segment>();
  segment->workers = 2;
  HeartbeatWatch watch;
  HeartbeatWatch::TimePoint now{1h};
  watch.start(*segment, now);
  const auto step = [&](bool main, bool worker0, bool worker1) {
    now += 1s;
    if (main) segment->blocks[statistics::kBlocks - 1].heartbeat.add(1);
    if (worker0) segment->blocks[0].heartbeat.add(1);
    if (worker1) segment->blocks[1].heartbeat.add(1);
    return watch.find_hung(*segment, now);
  };
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(step(true, true, true));
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(step(true, true, false));
  EXPECT_EQ(step(true, true, false), "worker 1");
  watch.start(*segment, now);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(step(false, true, true));
  EXPECT_EQ(step(false, true, true), "main");
  segment->workers = 0xffffffff;  // the segment is another process's word
  watch.start(*segment, now);
  EXPECT_FALSE(watch.find_hung(*segment, now));
}

config::Tables some_tables() {
  config::Tables tables;
  tables.interfaces.resize(3);
  for (uint16_t i = 0; i < 3; ++i) {
    tables.interfaces[i].index = InterfaceIndex(i);
    tables.interfaces[i].name.assign(fmt::format("eth{}", i));
  }
  tables.interfaces[0].device.assign("net_null0");
  tables.interfaces[1].device.assign("0000:3b:00.0");
  tables.interfaces[2].device.assign("3b:00.1");
  return tables;
}

std::string joined(const ProgramCommand& command) {
  std::string text;
  for (const auto& argument : command.arguments) text += (text.empty() ? "" : " ") + argument;
  return text;
}

TEST(Options, VersionAndHelp) {
  const auto told = [](const char* option) {
    const char* const words[] = {"espalierd", option};
    const auto parsed = parse_options(2, words);
    const auto* exit = std::get_if<Exit>(&parsed);
    return exit == nullptr ? Exit{-1, {}} : *exit;
  };
  EXPECT_EQ(told("--version").text, "espalierd 0.1.0\n");
  EXPECT_EQ(told("--version").status, 0);
  EXPECT_EQ(told("--help").status, 0);
  EXPECT_EQ(told("--verison").status, 2);
}

TEST(CommandLine, SaysWhatIsFixedForTheDataplane) {
  auto tables = some_tables();
  tables.startup.workers = 2;
  tables.startup.memory = config::Memory::kOrdinary;
  tables.startup.session_capacity = 1000;
  EXPECT_EQ(joined(dataplane_command(tables, "p", "/run/x", {0, 1, 2, 3})),
            "--runtime-dir /run/x --workers 2 --cores 1,2 --memory plain --session-capacity 1000 "
            "--largest-mtu 1500 --ports 4 "
            "--pci 0000:3b:00.0 --pci 3b:00.1");
  tables.startup.cores = {3, 0};
  EXPECT_NE(joined(dataplane_command(tables, "p", "/run/x", {0})).find("--cores 3,0"), std::string::npos);
}

TEST(CommandLine, WhatNeedsAnotherDataplaneIsToldBySetting) {
  const auto command_of = [](const config::Tables& tables) {
    return dataplane_command(tables, "p", "/r", {0, 1, 2});
  };
  auto wanted = some_tables();
  EXPECT_EQ(differences(command_of(some_tables()), command_of(wanted)), std::vector<std::string>{});
  wanted.interfaces[1].mtu_bytes = 9000;
  EXPECT_EQ(
      differences(command_of(some_tables()), command_of(wanted)),
      std::vector<std::string>{"the largest mtu of the interfaces, for which packet buffers are made at the "
                               "start, from 1500 to 9000"});
  wanted.startup.workers = 2;
  wanted.startup.memory = config::Memory::kOrdinary;
  wanted.startup.session_capacity = 1024;
  wanted.interfaces.resize(1);
  const auto all = differences(command_of(some_tables()), command_of(wanted));
  for (const char* setting : {"dataplane.workers from 1 to 2", "dataplane.memory from auto to plain",
                              "dataplane.sessions from 262144 to 1024",
                              "the devices with PCI addresses from 0000:3b:00.0 3b:00.1 to none"})
    EXPECT_EQ(std::count(all.begin(), all.end(), setting), 1) << setting;
}

TEST(CommandLine, APortMoreNeedsAnotherDataplaneOnlyNowAndThen) {
  const auto command_of = [](size_t ports) {
    auto tables = some_tables();
    const auto port = tables.interfaces[0];
    tables.interfaces.assign(ports, port);
    tables.interfaces.push_back(port);
    tables.interfaces.back().kind = InterfaceKind::kVlan;
    return dataplane_command(tables, "p", "/r", {0});
  };
  EXPECT_TRUE(differences(command_of(1), command_of(4)).empty());
  EXPECT_EQ(differences(command_of(4), command_of(5)),
            std::vector<std::string>{
                "the number of ports, for which packet buffers are made at the start, from 4 to 8"});
  EXPECT_TRUE(differences(command_of(5), command_of(8)).empty());
}

// Else a change of it would be taken for one that needs no restart.
TEST(CommandLine, EveryOptionOfTheDataplaneCanBeTold) {
  const auto before = dataplane_command(some_tables(), "p", "/r", {0});
  for (size_t i = 2; i < before.arguments.size(); i += 2) {  // the runtime directory does not change
    auto after = before;
    after.arguments[i + 1] = "other";
    const auto told = differences(before, after);
    ASSERT_EQ(told.size(), 1u) << before.arguments[i];
    EXPECT_NE(told[0], "options of another version") << before.arguments[i];
  }
  auto foreign = before;
  foreign.arguments.insert(foreign.arguments.end(), {"--new", "1"});
  EXPECT_EQ(differences(foreign, before), std::vector<std::string>{"options of another version"});
}

TEST(CommandLine, OnlyPciAddressesAreOffered) {
  auto tables = some_tables();
  tables.interfaces.resize(1);
  const auto offers = [&tables](std::string_view device) {
    tables.interfaces[0].device.assign(device);
    return joined(dataplane_command(tables, "p", "/r", {0})).find("--pci") != std::string::npos;
  };
  for (const char* device : {"0000:3b:00.0", "3b:00.7", "AB:cd.1,rx_burst=1", "0000:3b:00.0,a=b,c=d"})
    EXPECT_TRUE(offers(device)) << device;
  for (const char* device : {"net_null0", "3b:00.8", "3g:00.1", "3b:00", "0000:3b:00.",
                             "net_af_packet,iface=3b:00.0", "10000:3b:00.0"})
    EXPECT_FALSE(offers(device)) << device;
}

TEST(CommandLine, WorkersShareCoresWhenThereAreFewer) {
  auto tables = some_tables();
  tables.startup.workers = 3;
  EXPECT_NE(joined(dataplane_command(tables, "p", "/r", {4, 6})).find("--cores 6,6,6"), std::string::npos);
  EXPECT_NE(joined(dataplane_command(tables, "p", "/r", {4})).find("--cores 4,4,4"), std::string::npos);
}

TEST(CommandLine, ARunningProcessTellsItsArguments) {
  EXPECT_FALSE(allowed_cpus().empty());
  EXPECT_TRUE(arguments_of(0x7ffffff).empty());
}

// Every record once, in order, behind ConfigBegin, with a commit that counts them.
TEST(ConfigRequest, SendsEveryRecordOnceAndCanBeSentAgain) {
  auto tables = std::make_shared<config::Tables>(some_tables());
  tables->addresses.resize(2);
  tables->routes.resize(1);
  tables->source_rules.resize(2);
  tables->destination_rules.resize(1);
  tables->policies.resize(4);
  tables->states.resize(1);
  const auto source = config_request(tables, 9);
  using message::Type;
  const std::vector<Type> expected{
      Type::kConfigBegin, Type::kInterface, Type::kInterface, Type::kInterface,
      Type::kAddress,     Type::kAddress,   Type::kRoute,     Type::kNatRule,
      Type::kNatRule,     Type::kNatRule,   Type::kPolicy,    Type::kPolicy,
      Type::kPolicy,      Type::kPolicy,    Type::kSa,        Type::kConfigCommit};
  for (int round = 0; round < 2; ++round) {
    std::vector<Type> types;
    for (size_t i = 0; auto slot = source(i, 77); ++i) {
      EXPECT_EQ(slot->header.request_id, 77u);
      EXPECT_EQ(slot->header.generation, 9u);
      types.push_back(slot->header.type);
    }
    EXPECT_EQ(types, expected);
  }
  message::ConfigCommit commit;
  ASSERT_TRUE(message::read(*source(expected.size() - 1, 1), commit));
  EXPECT_EQ(commit.records, expected.size() - 2);
}

TEST(Text, AddressesAndRanges) {
  const auto range = [](std::string_view low, std::string_view high) {
    return address_range_text(*config::parse_address(low), *config::parse_address(high));
  };
  EXPECT_EQ(to_text(Ipv4Address::from_host(0xc0000201)), "192.0.2.1");
  EXPECT_EQ(range("0.0.0.0", "255.255.255.255"), "any");
  EXPECT_EQ(range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "any");
  EXPECT_EQ(range("192.0.2.1", "192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(range("192.0.2.0", "192.0.2.255"), "192.0.2.0/24");
  EXPECT_EQ(range("192.0.2.0", "192.0.2.2"), "192.0.2.0-192.0.2.2");
  EXPECT_EQ(range("192.0.2.1", "192.0.2.2"), "192.0.2.1-192.0.2.2");
  EXPECT_EQ(range("2001:db8::", "2001:db8::ffff"), "2001:db8::/112");
  EXPECT_EQ(to_text(PortRange{}), "any");
  EXPECT_EQ(to_text(PortRange{80, 80}), "80");
  EXPECT_EQ(to_text(PortRange{1024, 65535}), "1024-65535");
}

// The names that strongSwan's proposals have, which VyOS shows.
TEST(Text, Proposals) {
  using C = EspCipher;
  using I = EspIntegrity;
  EXPECT_EQ(proposal_text({C::kAesGcm, I::kNone, 16, 16}), "AES_GCM_16_128");
  EXPECT_EQ(proposal_text({C::kAesGcm, I::kNone, 32, 8}), "AES_GCM_8_256");
  EXPECT_EQ(proposal_text({C::kChaCha20Poly1305, I::kNone, 32, 16}), "CHACHA20_POLY1305");
  EXPECT_EQ(proposal_text({C::kAesCbc, I::kHmacSha256, 32, 16}), "AES_CBC_256/HMAC_SHA2_256_128");
  EXPECT_EQ(proposal_text({C::kAesCbc, I::kHmacSha1, 24, 12}), "AES_CBC_192/HMAC_SHA1_96");
  EXPECT_EQ(proposal_text({C::kNull, I::kHmacSha512, 0, 32}), "NULL/HMAC_SHA2_512_256");
}

class Events : public ::testing::Test {
 protected:
  Events() {
    tables_.policies.resize(1);
    tables_.policies[0].name.assign("to-b");
    tables_.interfaces.resize(1);
    tables_.interfaces[0].name.assign("vti1");
  }
  // What taking `event` `times` times at second `at` writes to the log, without time and level.
  std::vector<std::string> log_of(const message::FromDataplane& event, int times, int at) {
    ::testing::internal::CaptureStderr();
    for (int i = 0; i < times; ++i) events_.take(event, Clock::time_point(std::chrono::seconds(at)));
    std::istringstream text(::testing::internal::GetCapturedStderr());
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line.substr(line.find("subsystem=")));
    return lines;
  }
  using Lines = std::vector<std::string>;

  config::Tables tables_;
  DataplaneEvents events_{[this]() -> const config::Tables& { return tables_; }};
};

TEST_F(Events, AreLoggedWithWhatTheyNameAndNotMoreThanTenASecond) {
  message::Acquire acquire;
  acquire.policy = PolicyIndex(0);
  acquire.tuple.source = *config::parse_address("2001:db8::1");
  acquire.tuple.destination = *config::parse_address("2001:db8::2");
  acquire.tuple.protocol = kProtoTcp;
  acquire.tuple.source_port = be16::from_host(1024), acquire.tuple.destination_port = be16::from_host(80);
  const Lines first = log_of(acquire, 25, 100);
  ASSERT_EQ(first.size(), 10u);
  EXPECT_EQ(
      first[9],
      "subsystem=spd policy=\"to-b\" source=2001:db8::1 destination=2001:db8::2 protocol=tcp sport=1024 "
      "dport=80 no SA takes it, and it was dropped");
  acquire.policy = kNoPolicy, acquire.vti = InterfaceIndex(0);
  acquire.tuple.protocol = kProtoGre;
  EXPECT_EQ(
      log_of(acquire, 1, 101),
      Lines{
          "subsystem=spd interface=vti1 source=2001:db8::1 destination=2001:db8::2 protocol=gre no SA takes "
          "it, and it was dropped (15 more were not logged)"});
  acquire.policy = PolicyIndex(7);  // of a configuration that is gone
  EXPECT_TRUE(log_of(acquire, 1, 102)[0].starts_with("subsystem=spd policy=7 "));
  EXPECT_EQ(events_.counts().acquires, 27u);
}

TEST_F(Events, WhatExpiredIsRemembered) {
  message::Expire expire;
  expire.spi = Spi(0x1001);
  expire.name.assign("out-b");
  SaRecord sa;
  sa.spi = Spi(0x1001);
  sa.name.assign("out-b");
  EXPECT_EQ(log_of(expire, 1, 1),
            Lines{"subsystem=esp tunnel=\"out-b\" spi=0x00001001 direction=out reached a soft "
                  "limit: it is time for another key"});
  EXPECT_FALSE(events_.has_expired(sa));
  expire.hard = 1;
  EXPECT_EQ(log_of(expire, 1, 1),
            Lines{"subsystem=esp tunnel=\"out-b\" spi=0x00001001 direction=out reached a hard "
                  "limit and is not used any more: give it another key"});
  EXPECT_TRUE(events_.has_expired(sa));
  sa.direction = Direction::kIn;
  EXPECT_FALSE(events_.has_expired(sa));
}

TEST_F(Events, PeersThatMove) {
  message::Mapping mapping;
  mapping.spi = Spi(0x2001);
  mapping.name.assign("in-b");
  mapping.old_address = *config::parse_address("192.0.2.1"), mapping.old_port = 4500;
  mapping.new_address = *config::parse_address("2001:db8::1"), mapping.new_port = 61000;
  EXPECT_EQ(log_of(mapping, 1, 1), Lines{"subsystem=esp tunnel=\"in-b\" spi=0x00002001 the peer moved from "
                                         "192.0.2.1:4500 to [2001:db8::1]:61000"});
  EXPECT_EQ(events_.counts().mappings, 1u);
}

// The daemon may not include nat/, so it has the names a second time.
TEST(Text, TcpStatesAreCalledAsInTheSessionTable) {
  for (size_t i = 0; i < nat::kTcpStates; ++i)
    EXPECT_EQ(tcp_state_word(static_cast<uint8_t>(i)), nat::kTcpStateNames[i]);
  EXPECT_EQ(tcp_state_word(nat::kTcpStates), "unknown");
}

}  // namespace
}  // namespace espalier::daemon

// The comparator compares: it agrees with the recording itself and with a gateway that picks other random
// values, and it sees every other change, down to single bits with all checksums and ICVs made right again.
#include "tests/golden/comparator.hpp"

#include <gtest/gtest.h>
#include <algorithm>

#include "tests/golden/player.hpp"
#include "tests/golden/recorded_scenario.hpp"
#include "tests/golden/replay_bed.hpp"
#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

const std::filesystem::path kTranslated = GOLDEN_TRANSLATED;

constexpr size_t kIpHeaderBytes = 20;

std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kTranslated))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<Difference> compare(const Scenario& scenario, const Step& step, const FramesByInterface& output,
                                FrameOrder order = FrameOrder::kRecorded) {
  Labels labels(scenario.random);
  const Observation observed{output, expected_drops(step), step.expected.to_host};
  return compare_step(scenario, step, step.expected, observed, order, labels);
}

// A value of the same class that another random value does not have.
std::optional<uint16_t> other_value(const Scenario& scenario, FieldKind kind, uint16_t value) {
  for (const RandomValue& random : scenario.random) {
    if (random.kind != kind || random.recorded != value) continue;
    const uint32_t flipped = value ^ 0x4000u;
    if (random.low <= flipped && flipped <= random.high) return static_cast<uint16_t>(flipped);
    const auto next = [&](uint32_t port) { return port == random.high ? random.low : port + 1; };
    const uint32_t candidate = next(value);
    return static_cast<uint16_t>(candidate == random.excluded ? next(candidate) : candidate);
  }
  return std::nullopt;
}

Substitute renaming(const Scenario& scenario) {
  return [&scenario](FieldKind kind, const Bytes&, uint16_t value) {
    return other_value(scenario, kind, value);
  };
}

const Bytes kOtherIv = {0, 0, 0, 0, 0, 0, 0, 99};
const Substitute kKeepNames = [](FieldKind, const Bytes&, uint16_t) { return std::nullopt; };

// The inner packet of an ESP frame, sealed again as `reseal` wants it, with the outer lengths right.
using Reseal = std::function<Bytes(const EspKey& key, const OpenedEsp& opened)>;
Bytes resealed(const Bytes& frame, const KeyRing& keys, const Reseal& reseal) {
  const ByteView esp = ByteView(frame).subspan(kEthernetBytes + kIpHeaderBytes);
  const EspKey& key = keys.at(get32(esp, 0));
  Bytes changed = copy(ByteView(frame).first(kEthernetBytes + kIpHeaderBytes));
  append(changed, reseal(key, open_esp(key, esp).value()));
  const MutableView header = MutableView(changed).subspan(kEthernetBytes, kIpHeaderBytes);
  put16(header, 2, static_cast<uint16_t>(changed.size() - kEthernetBytes));
  put16(header, 10, 0);
  put16(header, 10, internet_checksum(header));
  return changed;
}

class EveryScenario : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryScenario, AgreesWithItselfInEveryMode) {
  const Scenario scenario = load_recorded(GetParam());
  for (const Cache cache : {Cache::kCold, Cache::kWarm, Cache::kInvalidated})
    for (const Mode& mode : {Mode{cache, 1, QueueOrder::kFirst}, Mode{cache, 3, QueueOrder::kPseudoRandom}}) {
      ReplayBed bed(scenario, kKeepNames, nullptr);
      const auto playback = play(scenario, mode, bed);
      ASSERT_TRUE(playback) << playback.error().text;
      for (const Difference& each : playback->differences)
        ADD_FAILURE() << describe(mode) << ": " << describe(each);
      EXPECT_TRUE(playback->deviations.empty()) << describe(mode);
      EXPECT_TRUE(bed.input_was_right()) << describe(mode);
    }
}

TEST_P(EveryScenario, TakesOtherRandomValuesAndPutsThemIntoTheInput) {
  const Scenario scenario = load_recorded(GetParam());
  ReplayBed bed(scenario, renaming(scenario), nullptr);
  const auto playback = play(scenario, {}, bed);
  ASSERT_TRUE(playback) << playback.error().text;
  for (const Difference& each : playback->differences) ADD_FAILURE() << describe(each);
  EXPECT_TRUE(bed.input_was_right());
}

// Sanitizers make decoding ten times as slow; what they look for shows in a part of the bytes as well.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kByteStep = 7;
#else
constexpr size_t kByteStep = 1;
#endif

// True if the frames differ in random values only: what the comparator is meant to accept.
bool only_random_values_differ(const Scenario& scenario, const Bytes& recorded, const Bytes& ours) {
  const Labels labels(scenario.random);
  const Fields theirs = decode_frame(recorded, scenario.keys);
  const Fields mine = decode_frame(ours, scenario.keys);
  if (theirs.size() != mine.size()) return false;
  size_t different = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (theirs[i].path != mine[i].path) return false;
    if (theirs[i].value == mine[i].value) continue;
    ++different;
    if (theirs[i].kind == FieldKind::kPlain || theirs[i].kind == FieldKind::kNonce) return false;
    if (!labels.is_random(theirs[i].kind, static_cast<uint32_t>(std::get<uint64_t>(theirs[i].value))))
      return false;
  }
  return different != 0;
}

TEST_P(EveryScenario, SeesEveryFlippedByte) {
  const Scenario scenario = load_recorded(GetParam());
  for (const Step& step : scenario.steps)
    for (const auto& [interface, frames] : step.expected.output)
      for (size_t i = 0; i < frames.size(); ++i)
        for (size_t at = 0; at < frames[i].size(); at += kByteStep) {
          FramesByInterface output = step.expected.output;
          Bytes& frame = output[interface][i];
          frame[at] ^= static_cast<uint8_t>(1 << at % 8);
          EXPECT_TRUE(!compare(scenario, step, output).empty() ||
                      only_random_values_differ(scenario, frames[i], frame))
              << step.id << ", frame " << i << " of " << interface << ", byte " << at;
        }
}

TEST_P(EveryScenario, SeesEveryInnermostByteWithRightChecksums) {
  const Scenario scenario = load_recorded(GetParam());
  for (const Step& step : scenario.steps)
    for (const auto& [interface, frames] : step.expected.output)
      for (size_t i = 0; i < frames.size(); ++i)
        for (size_t at = 0;; at += kByteStep) {
          FramesByInterface output = step.expected.output;
          Bytes& frame = output[interface][i];
          if (!flip_innermost(frame, scenario.keys, at, static_cast<uint8_t>(1 << at % 8))) break;
          if (frame == frames[i]) continue;  // a byte of a checksum
          EXPECT_TRUE(!compare(scenario, step, output).empty() ||
                      only_random_values_differ(scenario, frames[i], frame))
              << step.id << ", frame " << i << " of " << interface << ", innermost byte " << at;
        }
}

TEST_P(EveryScenario, SeesMissingSurplusAndMisdirectedFrames) {
  const Scenario scenario = load_recorded(GetParam());
  for (const Step& step : scenario.steps)
    for (const auto& [interface, frames] : step.expected.output) {
      FramesByInterface fewer = step.expected.output, more = step.expected.output,
                        elsewhere = step.expected.output;
      fewer[interface].pop_back();
      more[interface].push_back(frames.front());
      elsewhere[interface == "lan0" ? "wan0" : "lan0"].push_back(elsewhere[interface].back());
      elsewhere[interface].pop_back();
      for (const FramesByInterface& output : {fewer, more, elsewhere})
        EXPECT_FALSE(compare(scenario, step, output).empty()) << step.id;
    }
}

TEST_P(EveryScenario, SeesEveryOtherDropCount) {
  const Scenario scenario = load_recorded(GetParam());
  for (const Step& step : scenario.steps) {
    NamedCounts more = expected_drops(step), fewer = more;
    ++more["no_mbuf"];
    const auto needed = std::ranges::find(step.expected.drops, false, &ExpectedDrop::may_be_none);
    const bool none_is_needed = needed == step.expected.drops.end();
    if (!fewer.empty()) fewer.erase(none_is_needed ? fewer.begin()->first : needed->any_of.front());
    EXPECT_TRUE(drops_agree(step.expected.drops, expected_drops(step))) << step.id;
    EXPECT_FALSE(drops_agree(step.expected.drops, more)) << step.id;
    EXPECT_EQ(drops_agree(step.expected.drops, fewer), none_is_needed) << step.id;
  }
}

TEST_P(EveryScenario, ExpectsOnlyDropReasonsThatExist) {
  std::set<std::string_view> known;
  for (const DropReasonInfo& each : kDropReasonTable) known.insert(each.name);
  for (const Step& step : load_recorded(GetParam()).steps)
    for (const ExpectedDrop& drop : step.expected.drops)
      for (const std::string& reason : drop.any_of) EXPECT_TRUE(known.contains(reason)) << reason;
}

INSTANTIATE_TEST_SUITE_P(Comparator, EveryScenario, ::testing::ValuesIn(scenario_names()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Comparator, RefusesRandomValuesThatChange) {
  const Scenario scenario = load_recorded("03-snat-ports");
  uint16_t next = 2000;
  const Substitute unsteady = [&](FieldKind kind, const Bytes&, uint16_t value) -> std::optional<uint16_t> {
    if (kind != FieldKind::kPort || !other_value(scenario, kind, value)) return std::nullopt;
    return next++;
  };
  Labels labels(scenario.random);
  const Step& step = step_of(scenario, "collision");
  std::vector<size_t> found;
  for (int repeat = 0; repeat < 2; ++repeat) {
    const Bytes frame = rewrite_frame(step.expected.output.at("wan0").front(), scenario.keys, unsteady);
    const Observation observed{{{"wan0", {frame}}}, {}};
    found.push_back(
        compare_step(scenario, step, step.expected, observed, FrameOrder::kRecorded, labels).size());
  }
  EXPECT_EQ(found, (std::vector<size_t>{0, 1}));
}

TEST(Comparator, RefusesRandomValuesOutsideTheirClass) {
  const Scenario scenario = load_recorded("03-snat-ports");
  const Step& step = step_of(scenario, "collision");
  for (const auto& [port, agrees] : {std::pair{1023, false}, {1024, true}, {65535, true}, {4000, false}}) {
    const auto replace = [&, port = port](FieldKind kind, const Bytes&,
                                          uint16_t value) -> std::optional<uint16_t> {
      if (!other_value(scenario, kind, value)) return std::nullopt;
      return static_cast<uint16_t>(port);
    };
    const Bytes frame = rewrite_frame(step.expected.output.at("wan0").front(), scenario.keys, replace);
    EXPECT_EQ(compare(scenario, step, {{"wan0", {frame}}}).empty(), agrees) << port;
  }
}

TEST(Comparator, RefusesOneRandomValueForTwo) {
  Labels labels({{FieldKind::kPort, 5001, 1024, 65535, {}}, {FieldKind::kPort, 5002, 1024, 65535, {}}});
  EXPECT_TRUE(labels.bind(FieldKind::kPort, {}, 5001, 7000));
  EXPECT_FALSE(labels.bind(FieldKind::kPort, {}, 5002, 7000));
  EXPECT_FALSE(labels.bind(FieldKind::kPort, {}, 5003, 7003)) << "not random in the recording";
}

TEST(Comparator, SeesOtherEspTrailersNumbersAndNonces) {
  const Scenario scenario = load_recorded("05-tunnel");
  const Step& step = step_of(scenario, "out");
  const std::map<std::string, Reseal> changes = {
      {"padding_counts",
       [](const EspKey& key, const OpenedEsp& esp) {
         return seal_esp(key, esp.sequence, esp.inner, {kOtherIv, Bytes(esp.padding.size(), 0), kProtoIpip});
       }},
      {"padding",
       [](const EspKey& key, const OpenedEsp& esp) {
         return seal_esp(key, esp.sequence, esp.inner, {kOtherIv, Bytes{1, 2, 3, 4, 5, 6}, kProtoIpip});
       }},
      {"next_header",
       [](const EspKey& key, const OpenedEsp& esp) {
         return seal_esp(key, esp.sequence, esp.inner, {kOtherIv, {}, 41});
       }},
      {"sequence",
       [](const EspKey& key, const OpenedEsp& esp) { return seal_esp(key, esp.sequence + 1, esp.inner); }},
      {"spi", [](EspKey key, const OpenedEsp& esp) {
         key.spi ^= 1;
         return seal_esp(key, esp.sequence, esp.inner);
       }}};
  for (const auto& [field, reseal] : changes) {
    const Bytes frame = resealed(step.expected.output.at("wan0").front(), scenario.keys, reseal);
    std::string found;
    for (const Difference& each : compare(scenario, step, {{"wan0", {frame}}})) found += each.field + " ";
    EXPECT_NE(found.find(".esp." + field + " "), std::string::npos) << field << ": " << found;
  }
}

TEST(Comparator, AcceptsAnotherNonceOnceOnly) {
  const Scenario scenario = load_recorded("05-tunnel");
  const Step& step = step_of(scenario, "out");
  const Bytes frame = resealed(step.expected.output.at("wan0").front(), scenario.keys,
                               [](const EspKey& key, const OpenedEsp& esp) {
                                 return seal_esp(key, esp.sequence, esp.inner, {kOtherIv, {}, kProtoIpip});
                               });
  Labels labels(scenario.random);
  const Observation observed{{{"wan0", {frame}}}, {}};
  EXPECT_TRUE(compare_step(scenario, step, step.expected, observed, FrameOrder::kRecorded, labels).empty());
  const auto again = compare_step(scenario, step, step.expected, observed, FrameOrder::kRecorded, labels);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again.front().field, "wan0[0].ip.esp.iv");
}

TEST(Comparator, FramesMayOvertakeOnlyWithSeveralWorkers) {
  const Scenario scenario = load_recorded("01-forward");
  const Step& step = step_of(scenario, "fragments");
  FramesByInterface output = step.expected.output;
  std::swap(output["wan0"][0], output["wan0"][2]);
  EXPECT_FALSE(compare(scenario, step, output).empty());
  EXPECT_TRUE(compare(scenario, step, output, FrameOrder::kAny).empty());
  output["wan0"][1] = output["wan0"][0];
  EXPECT_FALSE(compare(scenario, step, output, FrameOrder::kAny).empty());
}

TEST(Comparator, SequenceNumbersMayOvertakeOnlyWithSeveralWorkers) {
  const Scenario scenario = load_recorded("18-fragments-untracked");
  const Step& step = step_of(scenario, "small");
  const auto numbered = [&](const std::vector<uint64_t>& numbers) {
    FramesByInterface output = step.expected.output;
    for (size_t i = 0; i < numbers.size(); ++i)
      output["wan0"][i] = resealed(
          output["wan0"][i], scenario.keys,
          [&](const EspKey& key, const OpenedEsp& esp) { return seal_esp(key, numbers[i], esp.inner); });
    return output;
  };
  EXPECT_TRUE(compare(scenario, step, numbered({1, 2, 3})).empty());
  EXPECT_FALSE(compare(scenario, step, numbered({1, 3, 2})).empty());
  EXPECT_TRUE(compare(scenario, step, numbered({1, 3, 2}), FrameOrder::kAny).empty());
  EXPECT_FALSE(compare(scenario, step, numbered({1, 3, 3}), FrameOrder::kAny).empty()) << "twice";
  EXPECT_FALSE(compare(scenario, step, numbered({1, 3, 4}), FrameOrder::kAny).empty()) << "one left out";
}

// The recorded ESP packet, whole again, cut at another size.
TEST(Comparator, SeesOtherFragmentBoundariesOfTheSameEspPacket) {
  const Scenario scenario = load_recorded("16-pmtu");
  const Step& step = step_of(scenario, "no-df-1500");
  const std::vector<Bytes>& recorded = step.expected.output.at("wan0");
  Bytes whole = copy(ByteView(recorded[0]).subspan(kEthernetBytes));
  append(whole, ByteView(recorded[1]).subspan(kEthernetBytes + kIpHeaderBytes));
  put16(whole, 6, 0);
  const auto cut = [&](size_t mtu_bytes) {
    FramesByInterface output;
    for (const Bytes& part : fragments(whole, mtu_bytes)) {
      Bytes frame = copy(ByteView(recorded[0]).first(kEthernetBytes));
      append(frame, part);
      output["wan0"].push_back(frame);
    }
    return output;
  };
  EXPECT_TRUE(compare(scenario, step, cut(1500)).empty());
  EXPECT_FALSE(compare(scenario, step, cut(1492)).empty());
}

TEST(Comparator, SeesBytesBehindThePacket) {
  const Scenario scenario = load_recorded("01-forward");
  const Step& step = step_of(scenario, "out");
  FramesByInterface output = step.expected.output;
  output["wan0"][0].push_back(0);
  EXPECT_FALSE(compare(scenario, step, output).empty());
}

TEST(Comparator, TellsAnAbsentOutputByItsDrops) {
  const Scenario scenario = load_recorded("02-snat");
  const Step& step = step_of(scenario, "tcp-rst-unknown");
  Labels labels(scenario.random);
  const auto differences = compare_step(scenario, step, step.expected, {{}, {{"session_invalid", 1}}},
                                        FrameOrder::kRecorded, labels);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences.front().field, "output");
  EXPECT_EQ(differences.front().ours, "nothing, drops { session_invalid: 1 }");
}

TEST(Comparator, DropsMayBeAnyOfTheReasonsAndNoOther) {
  const std::vector<ExpectedDrop> expected = {{{"a", "b"}, 1}, {{"b"}, 2}, {{"c"}, std::nullopt}};
  EXPECT_TRUE(drops_agree(expected, {{"a", 1}, {"b", 2}, {"c", 1}}));
  EXPECT_TRUE(drops_agree(expected, {{"b", 3}, {"c", 7}}));
  EXPECT_FALSE(drops_agree(expected, {{"a", 2}, {"b", 1}, {"c", 1}})) << "no room for the second a";
  EXPECT_FALSE(drops_agree(expected, {{"a", 1}, {"b", 2}})) << "no c";
  EXPECT_FALSE(drops_agree(expected, {{"a", 1}, {"b", 2}, {"c", 1}, {"d", 1}}));
  EXPECT_TRUE(drops_agree({}, {}));
}

TEST(Comparator, SeesWhatTheHostGot) {
  const Scenario scenario = load_recorded("23-natt");
  const Step& step = step_of(scenario, "ike");
  const auto sees = [&](const std::vector<Datagram>& to_host) {
    Labels labels(scenario.random);
    return !compare_step(scenario, step, step.expected, {{}, {}, to_host}, FrameOrder::kRecorded, labels)
                .empty();
  };
  std::vector<Datagram> other = step.expected.to_host;
  EXPECT_FALSE(sees(other));
  EXPECT_TRUE(sees({}));
  other.front().data.back() ^= 1;
  EXPECT_TRUE(sees(other));
}

TEST(Comparator, AnUnaskedPacketIsNotPlayedOver) {
  const Scenario scenario = load_recorded("01-forward");
  class Talkative : public ReplayBed {
   public:
    using ReplayBed::ReplayBed;
    std::vector<Bytes> take_sent(std::string_view) override {
      return {ethernet({}, {}, udp("192.0.2.1:1", "192.0.2.2:2").bytes())};
    }
  } bed(scenario, kKeepNames, nullptr);
  EXPECT_FALSE(play(scenario, {}, bed));
}

}  // namespace
}  // namespace espalier::test

#include "tests/golden/rehearsal_check.hpp"

#include <algorithm>

#include "tests/golden/host_model.hpp"
#include "tests/golden/reassembly.hpp"

namespace espalier::test {
namespace {

constexpr std::string_view kDone = "happened", kSaid = "explain said beforehand";

// By all reasons, also those of packets that were used up.
NamedCounts named(const DropCounts& before, const DropCounts& after) {
  NamedCounts named;
  for (const DropReasonInfo& each : kDropReasonTable)
    if (const auto i = static_cast<size_t>(each.reason); after[i] != before[i])
      named[std::string(each.name)] = after[i] - before[i];
  return named;
}

void note_sequences(const Fields& fields, KeyRing& keys) {
  uint32_t spi = 0;
  for (const Field& field : fields) {
    if (field.kind == FieldKind::kSequence) spi = get32(field.scope, 0);
    if (const auto key = keys.find(spi); key != keys.end() && field.path.ends_with(".sequence_high"))
      key->second.last_sequence = std::get<uint64_t>(field.value) << 32;
  }
}

bool begins_flow(const Rehearsed& said) {
  return std::find(said.lines.begin(), said.lines.end(), "conntrack: a new flow") != said.lines.end();
}

std::string describe(const std::optional<Deviation>& deviation) {
  return deviation ? fmt::format("deviates by rule {}", deviation->reason) : "does as Linux";
}

}  // namespace

// What a rehearsal leaves unsealed shows the low half of a sequence number only: the high one is the
// recording's.
KeyRing RehearsalCheck::keys_for(const Step& step) const {
  KeyRing keys = scenario_.keys;
  for (const auto& [interface, frames] : step.expected.output) {
    for (const Bytes& frame : frames) note_sequences(decode_frame(frame, scenario_.keys), keys);
    for (const Bytes& packet : reassemble(frames).packets)
      note_sequences(decode_ip(packet, scenario_.keys), keys);
  }
  for (auto& [spi, key] : keys) key.may_be_unsealed = true;
  return keys;
}

void RehearsalCheck::rehearse(std::string_view interface, const std::vector<Bytes>& packets) {
  std::vector<Bytes>& held = held_[std::string(interface)];
  const size_t untold = held.size();
  held.insert(held.end(), packets.begin(), packets.end());
  const Bytes now = bed_.sa_state();
  if (untold == 0) state_ = now;
  // What is held may have been inside of ESP, whose numbers are used by now.
  if (untold != 0) bed_.restore_sa_state(state_);
  auto more = bed_.rehearse(interface, held, untold);
  if (untold != 0) bed_.restore_sa_state(now);
  if (!more) return;
  if (!said_) said_ = Rehearsed{};
  for (auto& [port, frames] : more->output)
    for (Bytes& frame : frames) said_->output[port].push_back(std::move(frame));
  for (size_t reason = 0; reason < kDropReasons; ++reason) said_->ended[reason] += more->ended[reason];
  for (std::string& line : more->lines) said_->lines.push_back(std::move(line));
  for (Bytes& packet : more->to_host) said_->to_host.push_back(std::move(packet));
}

std::vector<Difference> RehearsalCheck::judge(const Step& step, const Happened& happened, FrameOrder order,
                                              Labels labels) {
  const auto said = std::exchange(said_, std::nullopt);
  if (const auto packets = bed_.packets(); packets && packets->waiting == 0) held_.clear();
  if (!said || !happened.judgement.differences.empty()) return {};
  const KeyRing keys = keys_for(step);
  labels.forget_ids();  // a rehearsal has its own
  Observation observed{.output = said->output, .drops = named_drops({}, said->ended), .keys = &keys};
  for (const Bytes& packet : said->to_host)
    if (auto datagram = datagram_of(packet); datagram && scenario_.host_ports.contains(datagram->port))
      observed.to_host.push_back(*std::move(datagram));
  Labels others = labels;
  Judgement judgement = test::judge(scenario_, step, observed, order, labels);
  // NAT picks ports at random: a rehearsal another one than the packet, which another flow may share.
  if (!judgement.differences.empty() && begins_flow(*said)) {
    others.forget_ports();
    judgement = test::judge(scenario_, step, observed, order, others);
  }
  std::vector<Difference> differences = judgement.differences;
  for (Difference& each : differences) each.ours_by = kSaid;
  if (differences.empty() && judgement.deviation != happened.judgement.deviation)
    differences.push_back({step.id, "deviation", describe(happened.judgement.deviation),
                           describe(judgement.deviation), kDone, kSaid});
  const NamedCounts did = named(happened.before, happened.after), would = named({}, said->ended);
  if (did != would)
    differences.push_back(
        {step.id, "ended by reason", test::describe(did), test::describe(would), kDone, kSaid});
  return differences;
}

}  // namespace espalier::test

#include "tests/golden/comparator.hpp"

#include <algorithm>

#include "tests/golden/reassembly.hpp"

namespace espalier::test {
namespace {

constexpr std::string_view kMissing = "(not there)";

bool values_agree(const Field& recorded, const Field& ours, Labels& labels) {
  if (recorded.kind == FieldKind::kPlain) return recorded.value == ours.value;
  if (recorded.kind == FieldKind::kNonce)
    return std::get<Bytes>(recorded.value).size() == std::get<Bytes>(ours.value).size() &&
           labels.take_nonce(ours.scope, std::get<Bytes>(ours.value));
  if (recorded.kind == FieldKind::kSequence)
    return labels.bind_sequence(recorded.scope, std::get<uint64_t>(recorded.value),
                                std::get<uint64_t>(ours.value));
  const auto theirs = static_cast<uint32_t>(std::get<uint64_t>(recorded.value));
  const auto mine = static_cast<uint32_t>(std::get<uint64_t>(ours.value));
  if (!labels.is_random(recorded.kind, theirs)) return theirs == mine;
  return labels.bind(recorded.kind, recorded.scope, theirs, mine);
}

// Where the packets have different headers, the first different path is the difference.
std::vector<Difference> compare_fields(const std::string& where, const Fields& recorded, const Fields& ours,
                                       Labels& labels) {
  std::vector<Difference> differences;
  const auto missing = std::string(kMissing);
  const size_t both = std::min(recorded.size(), ours.size());
  for (size_t i = 0; i < both; ++i) {
    const Field& theirs = recorded[i];
    if (theirs.path != ours[i].path || theirs.value.index() != ours[i].value.index()) {
      differences.push_back({"", where + "." + theirs.path, describe(theirs), missing});
      return differences;
    }
    if (!values_agree(theirs, ours[i], labels))
      differences.push_back({"", where + "." + theirs.path, describe(theirs), describe(ours[i])});
  }
  if (recorded.size() > both)
    differences.push_back({"", where + "." + recorded[both].path, describe(recorded[both]), missing});
  if (ours.size() > both)
    differences.push_back({"", where + "." + ours[both].path, missing, describe(ours[both])});
  return differences;
}

// Frames whose packet is compared whole do not show what they carry.
std::vector<Fields> decode_all(const std::vector<Bytes>& frames, const std::set<size_t>& parts,
                               const KeyRing& keys) {
  std::vector<Fields> decoded;
  for (size_t i = 0; i < frames.size(); ++i)
    decoded.push_back(decode_frame(frames[i], keys,
                                   parts.contains(i) ? FragmentContent::kHidden : FragmentContent::kShown));
  return decoded;
}

// Puts our packets into the order of the recorded ones they agree with; those that agree with none keep their
// order in the places left.
std::vector<Fields> in_recorded_order(const std::vector<Fields>& recorded, std::vector<Fields> ours,
                                      const Labels& labels) {
  std::vector<std::optional<Fields>> places(recorded.size());
  for (size_t i = 0; i < recorded.size(); ++i) {
    const auto match = std::find_if(ours.begin(), ours.end(), [&](const Fields& candidate) {
      Labels attempt = labels;
      return compare_fields("", recorded[i], candidate, attempt).empty();
    });
    if (match == ours.end()) continue;
    places[i] = std::move(*match);
    ours.erase(match);
  }
  std::vector<Fields> ordered;
  auto rest = ours.begin();
  for (auto& place : places) ordered.push_back(place ? std::move(*place) : std::move(*rest++));
  return ordered;
}

void append_all(std::vector<Difference>& to, std::vector<Difference> more) {
  for (Difference& each : more) to.push_back(std::move(each));
}

Difference count_difference(const std::string& field, size_t recorded, size_t ours) {
  return {"", field, fmt::format("{}", recorded), fmt::format("{}", ours)};
}

std::vector<Difference> compare_lists(const std::string& name, const std::vector<Fields>& recorded,
                                      std::vector<Fields> ours, FrameOrder order, Labels& labels) {
  if (order == FrameOrder::kAny) ours = in_recorded_order(recorded, std::move(ours), labels);
  std::vector<Difference> differences;
  for (size_t i = 0; i < recorded.size(); ++i)
    append_all(differences, compare_fields(fmt::format("{}[{}]", name, i), recorded[i], ours[i], labels));
  return differences;
}

std::vector<Fields> decode_packets(const std::vector<Bytes>& packets, const KeyRing& keys) {
  std::vector<Fields> decoded;
  for (const Bytes& packet : packets) decoded.push_back(decode_ip(packet, keys));
  return decoded;
}

// What both sides' ESP is opened with.
struct Keys {
  const KeyRing& recorded;
  const KeyRing& ours;
};

std::vector<Difference> compare_frames(const std::string& interface, const std::vector<Bytes>& recorded,
                                       const std::vector<Bytes>& ours, const Keys& keys, FrameOrder order,
                                       Labels& labels) {
  if (recorded.size() != ours.size())
    return {count_difference(interface + ".count", recorded.size(), ours.size())};
  const Reassembled theirs = reassemble(recorded), mine = reassemble(ours);
  std::vector<Difference> differences =
      compare_lists(interface, decode_all(recorded, theirs.parts, keys.recorded),
                    decode_all(ours, mine.parts, keys.ours), order, labels);
  if (theirs.packets.size() != mine.packets.size()) {
    differences.push_back(
        count_difference(interface + ".whole.count", theirs.packets.size(), mine.packets.size()));
    return differences;
  }
  append_all(differences, compare_lists(interface + ".whole", decode_packets(theirs.packets, keys.recorded),
                                        decode_packets(mine.packets, keys.ours), order, labels));
  return differences;
}

size_t frames_in(const FramesByInterface& output) {
  size_t sum = 0;
  for (const auto& [interface, frames] : output) sum += frames.size();
  return sum;
}

const std::vector<Bytes>& frames_of(const FramesByInterface& output, const std::string& interface) {
  static const std::vector<Bytes> kNothing;
  const auto found = output.find(interface);
  return found == output.end() ? kNothing : found->second;
}

void collect_sequences(const Fields& fields, Labels::Sequences& sequences) {
  for (const Field& field : fields)
    if (field.kind == FieldKind::kSequence) sequences[field.scope].insert(std::get<uint64_t>(field.value));
}

// Of all that left in a step, also in fragments.
Labels::Sequences sequences_in(const FramesByInterface& output, const KeyRing& keys) {
  Labels::Sequences sequences;
  for (const auto& [interface, frames] : output) {
    for (const Bytes& frame : frames) collect_sequences(decode_frame(frame, keys), sequences);
    for (const Bytes& packet : reassemble(frames).packets)
      collect_sequences(decode_ip(packet, keys), sequences);
  }
  return sequences;
}

std::string describe(const std::vector<ExpectedDrop>& drops) {
  std::string text = "{";
  for (const ExpectedDrop& drop : drops)
    text += fmt::format(" {}: {}", fmt::join(drop.any_of, "|"),
                        drop.count ? fmt::format("{}", *drop.count) : "any");
  return text + " }";
}

std::string describe(const std::vector<Datagram>& datagrams) {
  std::string text = "{";
  for (const Datagram& each : datagrams)
    text += fmt::format(" port {} from {}:{} 0x{};", each.port, each.peer, each.peer_port, to_hex(each.data));
  return text + " }";
}

struct Room {
  const ExpectedDrop* drop;
  uint64_t taken = 0;
  bool has_room() const { return !drop->count || taken < *drop->count; }
  bool filled() const { return drop->may_be_none || (drop->count ? taken == *drop->count : taken != 0); }
};

// Finds an expectation for the drop at `next` and for all behind it.
bool assign(const std::vector<std::string_view>& drops, size_t next, std::vector<Room>& rooms) {
  if (next == drops.size())
    return std::all_of(rooms.begin(), rooms.end(), [](const Room& room) { return room.filled(); });
  for (Room& room : rooms) {
    const auto& any_of = room.drop->any_of;
    if (!room.has_room() || std::find(any_of.begin(), any_of.end(), drops[next]) == any_of.end()) continue;
    ++room.taken;
    if (assign(drops, next + 1, rooms)) return true;
    --room.taken;
  }
  return false;
}

}  // namespace

std::string describe(const NamedCounts& drops) {
  std::string text = "{";
  for (const auto& [name, count] : drops) text += fmt::format(" {}: {}", name, count);
  return text + " }";
}

std::string describe(const Difference& difference) {
  const Difference& d = difference;
  return fmt::format("step {}, {}: {} {}, {} {}", d.step, d.field, d.recorded_by, d.recorded, d.ours_by,
                     d.ours);
}

bool drops_agree(const std::vector<ExpectedDrop>& expected, const NamedCounts& ours) {
  std::vector<std::string_view> drops;
  for (const auto& [name, count] : ours) drops.insert(drops.end(), count, name);
  std::vector<Room> rooms;
  for (const ExpectedDrop& each : expected) rooms.push_back({&each});
  return assign(drops, 0, rooms);
}

std::vector<Difference> compare_step(const Scenario& scenario, const Step& step, const Expected& expected,
                                     const Observation& observed, FrameOrder order, Labels& labels) {
  std::vector<Difference> differences;
  const Keys keys{scenario.keys, observed.keys ? *observed.keys : scenario.keys};
  labels.let_overtake(order == FrameOrder::kAny ? sequences_in(expected.output, scenario.keys)
                                                : Labels::Sequences{});
  if (frames_in(observed.output) == 0 && frames_in(expected.output) != 0) {
    differences.push_back({"", "output", fmt::format("{} frames", frames_in(expected.output)),
                           "nothing, drops " + describe(observed.drops)});
  } else {
    for (const auto& [interface, mac] : scenario.macs)
      append_all(differences, compare_frames(interface, frames_of(expected.output, interface),
                                             frames_of(observed.output, interface), keys, order, labels));
    if (!drops_agree(expected.drops, observed.drops))
      differences.push_back({"", "drops", describe(expected.drops), describe(observed.drops)});
  }
  if (expected.to_host != observed.to_host)
    differences.push_back({"", "to_host", describe(expected.to_host), describe(observed.to_host)});
  for (Difference& each : differences) each.step = step.id;
  return differences;
}

}  // namespace espalier::test

#include "tests/golden/comparator.hpp"

#include <algorithm>

namespace espalier::test {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr uint64_t kMissing = ~0ull;  // as a value: the field is not there

DifferenceValue to_difference(const FieldValue& value) {
  if (const auto* number = std::get_if<uint64_t>(&value)) return *number;
  return std::get<Bytes>(value);
}

bool values_agree(const Field& recorded, const Field& ours, Labels& labels) {
  if (recorded.kind == FieldKind::kPlain) return recorded.value == ours.value;
  const uint64_t theirs = std::get<uint64_t>(recorded.value);
  const uint64_t mine = std::get<uint64_t>(ours.value);
  if (recorded.kind == FieldKind::kNonce) return labels.take_nonce(ours.scope, mine);
  const auto recorded_value = static_cast<uint16_t>(theirs);
  if (!labels.is_random(recorded.kind, recorded_value)) return theirs == mine;
  return labels.bind(recorded.kind, recorded.scope, recorded_value, static_cast<uint16_t>(mine));
}

// Where the packets have different headers, the first different path is the difference.
std::vector<Difference> compare_fields(const std::string& where, const Fields& recorded, const Fields& ours,
                                       Labels& labels) {
  std::vector<Difference> differences;
  const size_t both = std::min(recorded.size(), ours.size());
  for (size_t i = 0; i < both; ++i) {
    const Field& theirs = recorded[i];
    if (theirs.path != ours[i].path || theirs.value.index() != ours[i].value.index()) {
      differences.push_back({"", where + "." + theirs.path, to_difference(theirs.value), kMissing});
      return differences;
    }
    if (!values_agree(theirs, ours[i], labels))
      differences.push_back(
          {"", where + "." + theirs.path, to_difference(theirs.value), to_difference(ours[i].value)});
  }
  if (recorded.size() > both)
    differences.push_back(
        {"", where + "." + recorded[both].path, to_difference(recorded[both].value), kMissing});
  if (ours.size() > both)
    differences.push_back({"", where + "." + ours[both].path, kMissing, to_difference(ours[both].value)});
  return differences;
}

std::vector<Fields> decode_all(const std::vector<Bytes>& frames, const KeyRing& keys) {
  std::vector<Fields> decoded;
  for (const Bytes& frame : frames) decoded.push_back(decode_frame(frame, keys));
  return decoded;
}

// Puts our frames into the order of the recorded ones they agree with; those that agree with none keep their
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

// The ESP packets of which all fragments are among `frames`, in the order of their first fragments.
class EspReassembly {
 public:
  void add(const Bytes& frame) {
    const Fields fields = decode_frame(frame, {});
    const Field* protocol = find_field(fields, "ip.protocol");
    if (protocol == nullptr || number_at(fields, "ip.protocol") != kProtoEsp) return;
    const bool more = number_at(fields, "ip.mf") == 1;
    const size_t offset = number_at(fields, "ip.fragment_offset");
    if (!more && offset == 0) return;
    const size_t header_bytes = number_at(fields, "ip.header_bytes");
    const size_t total_bytes = number_at(fields, "ip.total_length");
    if (header_bytes > total_bytes || kEthernetBytes + total_bytes > frame.size())
      return;  // seen as it stands
    Entry& entry = entry_for(
        {number_at(fields, "ip.source"), number_at(fields, "ip.destination"), number_at(fields, "ip.id")});
    const ByteView packet = ByteView(frame).subspan(kEthernetBytes, total_bytes);
    if (offset == 0) entry.header = copy(packet.first(header_bytes));
    entry.parts[offset] = copy(packet.subspan(header_bytes));
    if (!more) entry.complete = true;
  }

  std::vector<Bytes> packets() const {
    std::vector<Bytes> whole;
    for (const auto& [key, entry] : entries_)
      if (auto packet = join(entry)) whole.push_back(std::move(*packet));
    return whole;
  }

 private:
  using Key = std::array<uint64_t, 3>;
  struct Entry {
    Bytes header;
    std::map<size_t, Bytes> parts;  // by offset
    bool complete = false;          // the last one came
  };

  Entry& entry_for(const Key& key) {
    for (auto& [known, entry] : entries_)
      if (known == key) return entry;
    return entries_.emplace_back(key, Entry{}).second;
  }

  static std::optional<Bytes> join(const Entry& entry) {
    Bytes body;
    for (const auto& [offset, part] : entry.parts) {
      if (offset != body.size()) return std::nullopt;
      append(body, part);
    }
    if (entry.header.empty() || !entry.complete) return std::nullopt;
    Bytes packet = entry.header;
    append(packet, body);
    put16(packet, 2, static_cast<uint16_t>(packet.size()));
    put16(packet, 6, get16(packet, 6) & 0x4000);  // DF stays
    put16(packet, 10, 0);
    put16(packet, 10, internet_checksum(entry_header(packet, entry)));
    return packet;
  }

  static ByteView entry_header(const Bytes& packet, const Entry& entry) {
    return ByteView(packet).first(entry.header.size());
  }

  std::vector<std::pair<Key, Entry>> entries_;
};

std::vector<Bytes> reassemble_esp(const std::vector<Bytes>& frames) {
  EspReassembly reassembly;
  for (const Bytes& frame : frames) reassembly.add(frame);
  return reassembly.packets();
}

void append_all(std::vector<Difference>& to, std::vector<Difference> more) {
  for (Difference& each : more) to.push_back(std::move(each));
}

std::vector<Difference> compare_reassembled(const std::string& interface, const std::vector<Bytes>& recorded,
                                            const std::vector<Bytes>& ours, const KeyRing& keys,
                                            Labels& labels) {
  const std::vector<Bytes> theirs = reassemble_esp(recorded);
  const std::vector<Bytes> mine = reassemble_esp(ours);
  if (theirs.size() != mine.size()) return {{"", interface + ".esp.count", theirs.size(), mine.size()}};
  std::vector<Difference> differences;
  for (size_t i = 0; i < theirs.size(); ++i)
    append_all(differences, compare_fields(fmt::format("{}.esp[{}]", interface, i),
                                           decode_ip(theirs[i], keys), decode_ip(mine[i], keys), labels));
  return differences;
}

std::vector<Difference> compare_frames(const std::string& interface, const std::vector<Bytes>& recorded,
                                       const std::vector<Bytes>& ours, const KeyRing& keys, FrameOrder order,
                                       Labels& labels) {
  if (recorded.size() != ours.size()) return {{"", interface + ".count", recorded.size(), ours.size()}};
  const std::vector<Fields> theirs = decode_all(recorded, keys);
  std::vector<Fields> mine = decode_all(ours, keys);
  if (order == FrameOrder::kAny) mine = in_recorded_order(theirs, std::move(mine), labels);
  std::vector<Difference> differences;
  for (size_t i = 0; i < theirs.size(); ++i)
    append_all(differences, compare_fields(fmt::format("{}[{}]", interface, i), theirs[i], mine[i], labels));
  append_all(differences, compare_reassembled(interface, recorded, ours, keys, labels));
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

}  // namespace

std::string describe(const DifferenceValue& value) {
  if (const auto* number = std::get_if<uint64_t>(&value))
    return *number == kMissing ? "(not there)" : fmt::format("{}", *number);
  if (const auto* bytes = std::get_if<Bytes>(&value)) return "0x" + to_hex(*bytes);
  std::string text = "{";
  for (const auto& [name, count] : std::get<NamedCounts>(value)) text += fmt::format(" {}: {}", name, count);
  return text + " }";
}

std::string describe(const Difference& difference) {
  return fmt::format("step {}, {}: Linux {}, ours {}", difference.step, difference.field,
                     describe(difference.recorded), describe(difference.ours));
}

std::vector<Difference> compare_step(const Scenario& scenario, const Step& step, const Observation& observed,
                                     FrameOrder order, Labels& labels) {
  std::vector<Difference> differences;
  if (frames_in(observed.output) == 0 && frames_in(step.output) != 0) {
    differences.push_back({"", "output", step.drops, observed.drops});
  } else {
    for (const auto& [interface, mac] : scenario.macs)
      append_all(differences,
                 compare_frames(interface, frames_of(step.output, interface),
                                frames_of(observed.output, interface), scenario.keys, order, labels));
    if (observed.drops != step.drops) differences.push_back({"", "drops", step.drops, observed.drops});
  }
  for (Difference& each : differences) each.step = step.id;
  return differences;
}

}  // namespace espalier::test

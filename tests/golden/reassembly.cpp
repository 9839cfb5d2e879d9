#include "tests/golden/reassembly.hpp"

#include <map>

#include "tests/support/ip_view.hpp"

namespace espalier::test {
namespace {

struct Pending {
  Bytes header;                   // what comes before the payload, of the first fragment
  std::map<size_t, Bytes> parts;  // by offset
  std::vector<size_t> places;
  bool complete = false;  // the last one came
};

// The header of the whole packet: lengths come later, DF stays.
Bytes unfragmented_header(ByteView packet, const IpView& view) {
  if (!view.v6) {
    Bytes header = copy(packet.first(view.header_bytes));
    put16(header, 6, get16(packet, 6) & 0x4000);
    return header;
  }
  const size_t at = *view.fragment_header, behind = at + kFragmentHeaderBytes;
  Bytes header = copy(packet.first(at));
  header[view.next_header_at] = packet[at];
  append(header, packet.subspan(behind, view.header_bytes - behind));
  return header;
}

void set_length(Bytes& packet, size_t header_bytes) {
  if (packet[0] >> 4 == 6) return put16(packet, 4, static_cast<uint16_t>(packet.size() - kIpv6HeaderBytes));
  put16(packet, 2, static_cast<uint16_t>(packet.size()));
  put16(packet, 10, 0);
  put16(packet, 10, internet_checksum(ByteView(packet).first(header_bytes)));
}

std::optional<Bytes> join(const Pending& pending) {
  Bytes packet = pending.header;
  for (const auto& [offset, part] : pending.parts) {
    if (pending.header.empty() || offset != packet.size() - pending.header.size()) return std::nullopt;
    append(packet, part);
  }
  if (!pending.complete) return std::nullopt;
  set_length(packet, pending.header.size());
  return packet;
}

using Key = std::pair<Bytes, uint32_t>;  // addresses and protocol, id

Pending& entry_for(std::vector<std::pair<Key, Pending>>& entries, const Key& key) {
  for (auto& [known, entry] : entries)
    if (known == key) return entry;
  return entries.emplace_back(key, Pending{}).second;
}

void add(std::vector<std::pair<Key, Pending>>& entries, const Bytes& frame, size_t place) {
  const ByteView packet = ip_packet_of(frame);
  const auto view = view_ip(packet);
  if (!view || !view->is_fragment() || view->declared_bytes != packet.size()) return;
  Bytes flow = copy(view->addresses(packet));
  append8(flow, view->protocol);
  Pending& entry = entry_for(entries, {flow, view->id});
  if (view->fragment_offset == 0) entry.header = unfragmented_header(packet, *view);
  entry.parts[view->fragment_offset] = copy(packet.subspan(view->header_bytes));
  entry.places.push_back(place);
  entry.complete = entry.complete || !view->more;
}

}  // namespace

Reassembled reassemble(const std::vector<Bytes>& frames) {
  std::vector<std::pair<Key, Pending>> entries;
  for (size_t place = 0; place < frames.size(); ++place) add(entries, frames[place], place);
  Reassembled result;
  for (const auto& [key, entry] : entries) {
    auto packet = join(entry);
    if (!packet) continue;
    result.packets.push_back(std::move(*packet));
    result.parts.insert(entry.places.begin(), entry.places.end());
  }
  return result;
}

}  // namespace espalier::test

// "capture start", "trace start", "capture read", "capture stop": a tap of the dataplane. What is read is
// told packet by packet, the bytes as base64; of a trace line by line.
#include <algorithm>
#include <charconv>

#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/sa_list.hpp"
#include "control/daemon/text.hpp"
#include "control/shared/base64.hpp"

namespace espalier::daemon::commands {
namespace {

using message::TapInstruction;
using message::TapLink;
using message::TapPoint;
using Program = std::vector<TapInstruction>;

constexpr std::array<std::string_view, message::kTapPoints> kPoints{"rx", "plain", "tx", "drop"};

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t end; (end = text.find(at)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

// "rx,tx"; all of them where nothing is said.
Result<uint8_t> points_of(Request& request) {
  const auto text = TRY(request.text("points"));
  if (!text) return static_cast<uint8_t>((1u << kPoints.size()) - 1);
  uint8_t points = 0;
  for (const std::string_view name : split(*text, ',')) {
    const auto found = std::ranges::find(kPoints, name);
    if (found == kPoints.end()) return fail("no point {}: rx, plain, tx or drop", config::quoted(name));
    points |= message::bit_of(static_cast<TapPoint>(found - kPoints.begin()));
  }
  return points;
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && at == text.data() + text.size();
}

// "CODE JT JF K", as in `tcpdump -ddd`.
std::optional<TapInstruction> instruction_of(std::string_view text) {
  TapInstruction step;
  const auto numbers = split(text, ' ');
  if (numbers.size() != 4 || !read_number(numbers[0], step.code) ||
      !read_number(numbers[1], step.jump_true) || !read_number(numbers[2], step.jump_false) ||
      !read_number(numbers[3], step.k))
    return std::nullopt;
  return step;
}

// Instructions with commas between them; none where the request has none.
Result<Program> program_of(Request& request, const char* key) {
  Program program;
  const auto text = TRY(request.text(key));
  if (!text) return program;
  for (const std::string_view part : split(*text, ',')) {
    const auto step = instruction_of(part);
    if (!step) return fail("\"{}\" holds {}, which is no \"CODE JT JF K\"", key, config::quoted(part));
    if (program.size() == message::kMaxTapInstructions)
      return fail("\"{}\" has more than {} instructions", key, message::kMaxTapInstructions);
    program.push_back(*step);
  }
  return program;
}

// SAs that are installed or configured.
bool is_known(Context& context, std::optional<Spi> spi, std::string_view name) {
  const auto fits = [&](const SaRecord& sa) { return spi ? sa.spi == *spi : sa.name.view() == name; };
  if (std::ranges::any_of(context.applier.running().states, fits)) return true;
  const SharedMemory* memory = context.supervisor.memory();
  return memory != nullptr && std::ranges::any_of(installed_sas(*memory).sas, fits, &InstalledSa::record);
}

Result<void> read_tunnel(Context& context, Request& request, message::TapStart& start) {
  const auto tunnel = TRY(request.text("tunnel"));
  if (!tunnel) return {};
  const auto spi = spi_of(*tunnel);
  if (!is_known(context, spi, *tunnel))
    return fail("no SA {}; show ipsec sa lists them", config::quoted(*tunnel));
  start.has_tunnel = 1;
  if (spi)
    start.spi = *spi;
  else
    start.tunnel.assign(*tunnel);  // that of an SA fits
  return {};
}

message::TapFilter piece_of(const Program& program, TapLink link, size_t first) {
  message::TapFilter piece;
  piece.link = link;
  piece.first = static_cast<uint16_t>(first);
  piece.count = static_cast<uint16_t>(std::min<size_t>(program.size() - first, message::TapFilter::kMost));
  std::copy_n(program.begin() + static_cast<ptrdiff_t>(first), piece.count, piece.instructions);
  return piece;
}

// Pieces of both filters, then TapStart.
DataplaneLink::Source messages_of(const message::TapStart& start, const Program& ethernet,
                                  const Program& ip) {
  std::vector<message::TapFilter> pieces;
  for (size_t at = 0; at < ethernet.size(); at += message::TapFilter::kMost)
    pieces.push_back(piece_of(ethernet, TapLink::kEthernet, at));
  for (size_t at = 0; at < ip.size(); at += message::TapFilter::kMost)
    pieces.push_back(piece_of(ip, TapLink::kIp, at));
  return [start, pieces](size_t position, uint64_t id) -> std::optional<message::Slot> {
    if (position < pieces.size()) return message::make(pieces[position], id, 0);
    if (position == pieces.size()) return message::make(start, id, 0);
    return std::nullopt;
  };
}

Result<void> begin(Context& context, Request& request, message::TapStart start, const Reply& reply) {
  const Program ethernet = TRY(program_of(request, "ethernet_filter"));
  const Program ip = TRY(program_of(request, "ip_filter"));
  start.ethernet_instructions = static_cast<uint16_t>(ethernet.size());
  start.ip_instructions = static_cast<uint16_t>(ip.size());
  TRY(request.no_others());
  ask_all(context, messages_of(start, ethernet, ip), reply, [](const DataplaneLink::Answer& answer) {
    return Json{{"id", answer.ack.cursor}};
  });
  return {};
}

Result<uint64_t> id_of(Request& request) {
  const auto id = TRY(request.number("id", 1, UINT64_MAX));
  if (!id) return fail("\"id\" is missing");
  TRY(request.no_others());
  return *id;
}

// --- What was read ---

std::string_view link_word(TapLink link) {
  switch (link) {
    case TapLink::kEthernet:
      return "ethernet";
    case TapLink::kIp:
      return "ip";
    case TapLink::kText:
      break;
  }
  return "text";
}

// What every packet and story has.
Json row_of(const config::Tables& tables, const message::TapPacket& p) {
  constexpr uint64_t kNs = 1'000'000'000;
  Json row{{"time_s", p.time_ns / kNs}, {"time_ns", p.time_ns % kNs}, {"worker", p.worker.value}};
  row["interface"] = p.interface == kNoInterface ? "local" : interface_name(tables, p.interface);
  if (p.spi.value != 0) row["spi"] = p.spi.value, row["tunnel"] = p.tunnel.view();
  if (p.reason != DropReason::kNone) row["reason"] = info(p.reason).name, row["help"] = info(p.reason).help;
  return row;
}

Json packet_json(const config::Tables& tables, const message::TapPacket& p,
                 const std::vector<uint8_t>& bytes) {
  Json row = row_of(tables, p);
  row["point"] = kPoints[static_cast<size_t>(p.point)];
  row["link"] = link_word(p.link);
  row["packet_bytes"] = p.packet_bytes;
  if (p.point == TapPoint::kPlain) row["direction"] = word(p.direction);
  row["data"] = base64_of(bytes);
  return row;
}

// Lines of "STAGE\tTEXT".
Json story_json(const config::Tables& tables, const message::TapPacket& p,
                const std::vector<uint8_t>& bytes) {
  Json lines = Json::array();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const std::string_view line : split(text, '\n')) {
    const size_t tab = line.find('\t');
    if (tab != line.npos) lines.push_back({{"stage", line.substr(0, tab)}, {"text", line.substr(tab + 1)}});
  }
  Json row = row_of(tables, p);
  row["lines"] = std::move(lines);
  return row;
}

// The pieces that follow a packet; nothing if they are not the bytes that it has.
std::optional<std::vector<uint8_t>> bytes_of(const message::TapPacket& packet,
                                             std::span<const message::FromDataplane> rows) {
  std::vector<uint8_t> bytes;
  for (const auto& row : rows) {
    const auto* piece = std::get_if<message::TapData>(&row);
    if (!piece) break;
    bytes.insert(bytes.end(), piece->data, piece->data + piece->bytes);
  }
  if (bytes.size() != packet.captured_bytes) return std::nullopt;
  return bytes;
}

Json read_json(const config::Tables& tables, const DataplaneLink::Answer& answer) {
  Json packets = Json::array(), stories = Json::array();
  const std::span<const message::FromDataplane> rows = answer.rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto* packet = std::get_if<message::TapPacket>(&rows[i]);
    if (!packet) continue;
    const auto bytes = bytes_of(*packet, rows.subspan(i + 1));
    if (!bytes) return error_reply({"the dataplane sent a packet in part"});
    if (packet->point == TapPoint::kStory)
      stories.push_back(story_json(tables, *packet, *bytes));
    else
      packets.push_back(packet_json(tables, *packet, *bytes));
  }
  return {{"packets", std::move(packets)},
          {"stories", std::move(stories)},
          {"lost", answer.ack.count},
          {"more", answer.ack.cursor != 0}};
}

}  // namespace

Result<void> capture_start(Context& context, Request& request, const Reply& reply) {
  message::TapStart start;
  start.points = TRY(points_of(request));
  start.snap_bytes = static_cast<uint32_t>(
      TRY(request.number("snap_bytes", 1, message::kMaxTapBytes)).value_or(start.snap_bytes));
  TRY(read_tunnel(context, request, start));
  return begin(context, request, start, reply);
}

Result<void> trace_start(Context& context, Request& request, const Reply& reply) {
  message::TapStart start;
  start.trace = 1;
  return begin(context, request, start, reply);
}

Result<void> capture_read(Context& context, Request& request, const Reply& reply) {
  const uint64_t id = TRY(id_of(request));
  ask(
      context, [id](uint64_t request_id) { return message::make(message::TapRead{.id = id}, request_id, 0); },
      reply,
      [&context](const DataplaneLink::Answer& answer) {
        return read_json(context.applier.running(), answer);
      });
  return {};
}

Result<void> capture_stop(Context& context, Request& request, const Reply& reply) {
  const uint64_t id = TRY(id_of(request));
  ask(
      context, [id](uint64_t request_id) { return message::make(message::TapStop{.id = id}, request_id, 0); },
      reply, [](const DataplaneLink::Answer&) { return Json::object(); });
  return {};
}

}  // namespace espalier::daemon::commands

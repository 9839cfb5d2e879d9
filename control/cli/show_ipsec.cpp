// show policy, ipsec sa.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <optional>

#include "control/cli/command.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

std::string selector_end(const Json& row, const char* address, const char* port) {
  const std::string ports = text_of(row, port);
  return ports == "any" || ports == "-" ? text_of(row, address)
                                        : fmt::format("{} port {}", text_of(row, address), ports);
}

std::string template_text(const Json& tmpl) {
  std::string text = fmt::format("{} > {} reqid {}", text_of(tmpl, "source"), text_of(tmpl, "destination"),
                                 text_of(tmpl, "reqid"));
  if (tmpl.contains("spi")) text += fmt::format(" spi 0x{:08x}", number_of(tmpl, "spi"));
  if (text_of(tmpl, "mode") == "transport") text += " transport";
  if (text_of(tmpl, "level") == "use") text += " use";
  return text;
}

// In the order in which they are applied.
std::string templates_text(const Json& row) {
  std::string text;
  for (const Json& tmpl : rows_of(row, "templates")) text += (text.empty() ? "" : ", ") + template_text(tmpl);
  return text.empty() ? "-" : text;
}

// The interface that packets leave by, or the VTI that they are of.
std::string place_of(const Json& row) {
  return text_of(row, row.contains("vti") ? "vti" : "interface");
}

// The SAs of one connection side by side, as VyOS shows them.
struct Pair {
  const Json* out = nullptr;
  const Json* in = nullptr;
  const Json& any() const { return out != nullptr ? *out : *in; }
};

// SAs of one key belong together.
std::string pair_key(const Json& sa) {
  return fmt::format("{} {} {}", text_of(sa, "reqid"), text_of(sa, "remote_address"), text_of(sa, "state"));
}

std::vector<Pair> pairs_of(const Json& sas) {
  std::vector<Pair> pairs;
  std::map<std::string, std::deque<size_t>> without[2];  // pairs that wait for an inbound, an outbound SA
  for (const Json& sa : sas) {
    const bool out = text_of(sa, "direction") == "out";
    const std::string key = pair_key(sa);
    auto& waiting = without[out][key];
    if (waiting.empty()) {
      without[!out][key].push_back(pairs.size());
      (out ? pairs.emplace_back().out : pairs.emplace_back().in) = &sa;
    } else {
      (out ? pairs[waiting.front()].out : pairs[waiting.front()].in) = &sa;
      waiting.pop_front();
    }
  }
  return pairs;
}

std::string spi_of(const Json* sa) {
  return sa == nullptr ? "-" : fmt::format("0x{:08x}", number_of(*sa, "spi"));
}
uint64_t count_of(const Json* sa, const char* key) {
  return sa == nullptr ? 0 : number_of(*sa, key);
}
// A connection is as old as the younger of its SAs.
std::string uptime_of(const Pair& pair) {
  std::optional<uint64_t> youngest;
  for (const Json* sa : {pair.in, pair.out})
    if (sa != nullptr && sa->contains("uptime_s"))
      youngest = std::min(youngest.value_or(UINT64_MAX), number_of(*sa, "uptime_s"));
  return youngest ? human_seconds(*youngest) : "-";
}
std::string word_of(const Json* sa, const char* key) {
  return sa == nullptr ? "-" : text_of(*sa, key);
}
// "tunnel", "transport/udp"
std::string mode_of(const Json& sa) {
  return text_of(sa, "mode") + (sa.contains("encap") ? "/udp" : "");
}
std::string window_of(const Json* sa) {
  return word_of(sa, "replay_window") + (sa != nullptr && flag_of(*sa, "esn") ? " esn" : "");
}

void print_notes(const Json& sas) {
  for (const Json& sa : sas) {
    const std::string direction = text_of(sa, "direction");
    const std::string who =
        text_of(sa, "connection") + (direction == "-" ? "" : fmt::format(" ({})", direction));
    if (sa.contains("reason"))
      std::puts(fmt::format("{} is down: {}", who, printable(text_of(sa, "reason"))).c_str());
    else if (text_of(sa, "expired") == "soft" && !sa.contains("peer"))  // IKE is at it
      std::puts(fmt::format("{} has reached a soft limit: it is time for another key", who).c_str());
    if (sa.contains("learned_peer"))
      std::puts(fmt::format("{} has its peer at {} port {}", who,
                            text_of(part_of(sa, "learned_peer"), "address"),
                            text_of(part_of(sa, "learned_peer"), "port"))
                    .c_str());
  }
}

}  // namespace

void print_policies(const Json& document) {
  Table table({{"Direction"},
               {"Priority", Align::kRight},
               {"Source"},
               {"Destination"},
               {"Protocol"},
               {"Interface"},
               {"Action"},
               {"Template"},
               {"Packets", Align::kRight},
               {"Bytes", Align::kRight},
               {"Name"}});
  for (const Json& row : rows_of(document, "policies"))
    table.add({text_of(row, "direction"), text_of(row, "priority"),
               selector_end(row, "source", "source_port"),
               selector_end(row, "destination", "destination_port"), text_of(row, "protocol"), place_of(row),
               text_of(row, "action"), templates_text(row), text_of(row, "packets"),
               human_bytes(number_of(row, "bytes")), text_of(row, "name")});
  std::fputs(table.render().c_str(), stdout);
}

void print_ipsec_sas(const Json& document) {
  Table table({{"Connection"},
               {"State"},
               {"Uptime"},
               {"Bytes In/Out"},
               {"Packets In/Out"},
               {"Remote address"},
               {"Remote ID"},
               {"Mode"},
               {"Proposal"},
               {"SPI In"},
               {"SPI Out"},
               {"Reqid", Align::kRight},
               {"Seq In/Out"},
               {"Window", Align::kRight}});
  for (const Pair& p : pairs_of(rows_of(document, "sas")))
    table.add(
        {text_of(p.any(), "connection"), text_of(p.any(), "state"), uptime_of(p),
         fmt::format("{}/{}", human_bytes(count_of(p.in, "bytes")), human_bytes(count_of(p.out, "bytes"))),
         fmt::format("{}/{}", count_of(p.in, "packets"), count_of(p.out, "packets")),
         text_of(p.any(), "remote_address"), text_of(p.any(), "remote_id"), mode_of(p.any()),
         text_of(p.any(), "proposal"), spi_of(p.in), spi_of(p.out), text_of(p.any(), "reqid"),
         fmt::format("{}/{}", word_of(p.in, "highest_sequence"), word_of(p.out, "next_sequence")),
         window_of(p.in)});
  std::fputs(table.render().c_str(), stdout);
  print_notes(rows_of(document, "sas"));
  if (const uint64_t damaged = number_of(document, "damaged_records"); damaged != 0)
    std::puts(fmt::format("{} damaged SA records in the vault were refused", damaged).c_str());
}

}  // namespace espalier::cli

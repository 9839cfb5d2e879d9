// A recorded scenario: what a real Linux gateway did, step by step, with the same packets and the same
// configuration. Read from a folder that translate/ wrote (README.md tells its files); only facts about
// Linux, loaded whole.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <set>

#include "tests/support/packet_decoder.hpp"
#include "tests/support/testbed.hpp"

namespace espalier::test {

// A value that Linux picked at random. Ours may be another one of the same class, but then everywhere.
struct RandomValue {
  FieldKind kind = FieldKind::kIpId;
  uint32_t recorded = 0;
  uint32_t low = 0;  // the class: low..high without `excluded`
  uint32_t high = 0xffff;
  std::optional<uint32_t> excluded;
};

using FramesByInterface = std::map<std::string, std::vector<Bytes>, std::less<>>;
using NamedCounts = std::map<std::string, uint64_t, std::less<>>;

// Packets that Linux dropped, in words of ours: Linux counts less finely in places.
struct ExpectedDrop {
  std::vector<std::string> any_of;  // drop reasons' names
  std::optional<uint64_t> count;    // nothing: one or more
  bool may_be_none = false;         // a fragment may be held instead
};

// What a UDP socket of the gateway's host got.
struct Datagram {
  uint16_t port = 0;
  std::string peer;
  uint16_t peer_port = 0;
  Bytes data;
  friend bool operator==(const Datagram&, const Datagram&) = default;
};

// What a step has to do.
struct Expected {
  FramesByInterface output;  // only interfaces with output
  std::vector<ExpectedDrop> drops;
  std::vector<Datagram> to_host;
};

struct Step {
  std::string id;
  std::string note;
  std::string interface;              // where the frames go in; "local": sent by the host
  std::vector<Bytes> input;           // frames, or the host's IP packets
  Expected expected;                  // as Linux did
  NamedCounts linux_counters;         // how xfrm_stat, conntrack and SNMP counters changed
  std::optional<std::string> skip;    // not played, for this reason
  std::optional<std::string> config;  // text to apply before the step
  std::chrono::milliseconds wait{0};  // time that passes after the packets
  bool clear_from_tunnel = false;     // came in clear, and its source is behind a tunnel interface
  bool is_local() const { return interface == "local"; }
};

struct Scenario {
  std::string name;  // "03-snat-ports"
  std::string title;
  std::string config;
  std::map<std::string, MacAddress, std::less<>> macs;
  KeyRing keys;
  std::map<uint32_t, Bytes> peers;  // by inbound SPI: the outer source, 4 or 16 bytes
  std::vector<RandomValue> random;
  std::set<uint16_t> host_ports;  // UDP sockets of the host
  uint32_t largest_mtu = 1500;
  bool limited = false;  // an SA has a limit, or a step waits for another: packets must not be run in vain
  std::vector<Step> steps;
};

// Errors name the file.
Result<Scenario> load_scenario(const std::filesystem::path& folder);

// The names of the drop reasons that count lost packets (DropReasonInfo::drop), with counts; zeros left out.
NamedCounts named_drops(const DropCounts& before, const DropCounts& after);

}  // namespace espalier::test

// Stands in for espalier-dataplane in tests of espalierd: no packets, but the same handover and messages.
//
// FAKE_DATAPLANE in the environment makes it misbehave, a comma-separated list of: refuse (every
// configuration), die_at_route (when a configuration has one), die_at_start, hang (no heartbeat), old_layout,
// deaf_to_sigterm, silent (never answers), break_ring. With install it installs an SA of a configuration;
// with events it tells one of each kind with every configuration.
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string_view>

#include "control/daemon/shared_memory.hpp"
#include "control/shared/message_decode.hpp"

namespace espalier {
namespace {

using daemon::SharedMemory;

bool told_to(std::string_view what) {
  const char* text = std::getenv("FAKE_DATAPLANE");
  return text != nullptr && std::string_view(text).find(what) != std::string_view::npos;
}

template <class T>
T must(Result<T> result) {
  if (!result) ::_exit(4);
  return std::move(result).value();
}

class FakeDataplane {
 public:
  explicit FakeDataplane(const std::string& runtime_dir)
      : endpoint_(must(handover::DataplaneEndpoint::listen(runtime_dir))) {}

  void run() {
    for (;;) {
      welcome();
      beat();
      message::Slot slot;
      while (channel_ && channel_->receive(slot)) handle(slot);
      ::usleep(1000);
    }
  }

 private:
  void beat() {
    if (!memory_ || told_to("hang")) return;
    auto* statistics = const_cast<statistics::Segment*>(&memory_->statistics());
    statistics->workers = 1;
    statistics->blocks[0].heartbeat.add(1);
    statistics->blocks[statistics::kBlocks - 1].heartbeat.add(1);
  }

  void welcome() {
    auto layouts = SharedMemory::layouts();
    if (told_to("old_layout")) layouts.vault += 1;
    auto adoption = endpoint_.poll({.layouts = layouts,
                                    .incarnation = 1,
                                    .generation = generation_,
                                    .segments = segments_ ? &*segments_ : nullptr});
    if (!adoption || !*adoption) return;
    if ((*adoption)->segments) {
      memory_.emplace(must(SharedMemory::attach(std::move(*(*adoption)->segments))));
      segments_ = memory_->descriptors();
    }
    channel_.emplace(std::move((*adoption)->channel));
  }

  void handle(const message::Slot& slot) {
    if (told_to("silent")) return;
    const auto decoded = message::decode_from_daemon(slot);
    if (!decoded) return;
    const uint64_t id = slot.header.request_id;
    if (std::holds_alternative<message::ConfigBegin>(*decoded)) {
      records_ = 0;
    } else if (const auto* commit = std::get_if<message::ConfigCommit>(&*decoded)) {
      finish_configuration(*commit, slot.header);
    } else if (const auto* query = std::get_if<message::Query>(&*decoded)) {
      tell_rows(*query, id);
    } else if (std::holds_alternative<message::Explain>(*decoded)) {
      message::TextRow row;
      row.stage.assign("parse");
      row.text.assign("a packet");
      say(row, id);
      acknowledge(id, true, "", 0);
    } else {
      if (const auto* sa = std::get_if<message::Sa>(&*decoded); sa != nullptr && told_to("install"))
        install(sa->record);
      if (told_to("die_at_route") && std::holds_alternative<message::Route>(*decoded))
        ::kill(::getpid(), SIGKILL);
      ++records_;
    }
  }

  // As if 1000 seconds ago.
  void install(const SaRecord& record) {
    const SaIndex index(0);
    must(const_cast<Vault&>(memory_->vault()).commit(index, record));
    memory_->cells().cell(index).owner.installed_s = boot_time_s() - 1000;
  }

  void finish_configuration(const message::ConfigCommit& commit, const message::Header& header) {
    if (told_to("refuse")) return acknowledge(header.request_id, false, "told to refuse", 0);
    const bool complete = commit.records == records_;
    if (complete) generation_ = header.generation;
    if (told_to("events")) tell_events();
    acknowledge(header.request_id, complete, complete ? "" : "records are missing", 0);
  }

  void tell_events() {
    message::Acquire acquire;
    acquire.policy = PolicyIndex(0);
    acquire.tuple.source = Ipv4Address::from_host(0xc0000209);
    acquire.tuple.destination = Ipv4Address::from_host(0x0a1e0001);
    acquire.tuple.protocol = kProtoGre;
    say(acquire, 0);
    message::Expire expire;
    expire.spi = Spi(0x1001);
    expire.direction = Direction::kOut;
    expire.name.assign("state 0x1001");
    for (const uint8_t hard : {0, 1}) {
      expire.hard = hard;
      say(expire, 0);
    }
    message::Mapping mapping;
    mapping.spi = Spi(0x2001);
    mapping.old_port = mapping.new_port = 4500;
    mapping.old_address = mapping.new_address = Ipv4Address::from_host(0xcb007107);
    say(mapping, 0);
  }

  void tell_rows(const message::Query& query, uint64_t id) {
    switch (query.kind) {
      case message::QueryKind::kRoutes:
        return tell_routes(id);
      case message::QueryKind::kInterfaces:
        return tell_interfaces(id);
      case message::QueryKind::kNeighbors:
        return acknowledge(id, true, "", 0);
      case message::QueryKind::kSessions:
        return tell_sessions(query, id);
    }
  }

  void tell_routes(uint64_t id) {
    message::RouteRow row;
    row.record.prefix = IpPrefix::any(Family::kIpv6);
    row.record.metric = 20;
    row.record.imported = row.usable = 1;
    row.record.next_hop_count = 2;
    row.record.next_hops[0] = {IpAddress::from_host(uint128{0xfe80} << 112 | 9), InterfaceIndex(0)};
    row.record.next_hops[1] = {IpAddress{}, InterfaceIndex(1)};
    say(row, id);
    row = {};
    row.record.kind = RouteKind::kProhibit;
    row.record.prefix = IpPrefix::any(Family::kIpv4);
    say(row, id);
    row.record.kind = RouteKind::kNextHop;
    row.record.next_hop_count = row.connected = 1;
    row.record.next_hops[0] = {IpAddress{}, InterfaceIndex(0)};
    say(row, id);
    acknowledge(id, true, "", 0);
  }

  void tell_interfaces(uint64_t id) {
    for (uint16_t i = 0; i < 5; ++i) {
      message::InterfaceRow row;
      row.index = InterfaceIndex(i);
      row.name.assign("eth");
      row.admin_up = 1;
      say(row, id);
    }
    acknowledge(id, true, "", 0);
  }

  // Ten sessions, in pages; the ports are those of the filter. A count tells of one part in two calls.
  void tell_sessions(const message::Query& query, uint64_t id) {
    if (query.count_only) return acknowledge(id, true, "", query.cursor == 0 ? 1 : 0, 500'000);
    uint64_t next = query.cursor;
    for (uint32_t n = 0; n < query.limit && next < 10; ++n, ++next) {
      message::SessionRow row;
      row.original.protocol = query.filter.protocol == kProtoAny ? uint8_t{kProtoUdp} : query.filter.protocol;
      row.original.source = query.filter.prefix.address;
      row.original.source_port = be16::from_host(query.filter.port);
      row.source_rule = query.filter.rule;
      row.expires_s = static_cast<uint32_t>(next);
      say(row, id);
    }
    acknowledge(id, true, "", next < 10 ? next : 0);
  }

  template <class Payload>
  void say(const Payload& payload, uint64_t id) {
    while (!channel_->send(message::make(payload, id, generation_)))
      if (channel_->broken()) return;
  }

  void acknowledge(uint64_t id, bool ok, std::string_view text, uint64_t cursor, uint64_t count = 0) {
    message::Ack ack;
    ack.ok = ok;
    ack.cursor = cursor;
    ack.count = count;
    ack.text.assign(text);
    say(ack, id);
    if (told_to("break_ring") && !std::exchange(broke_ring_, true)) break_ring();
  }

  // Writes nonsense where espalierd reads our position, and leaves it there.
  void break_ring() {
    const Segment raw =
        must(Segment::attach(Fd(::dup(channel_->descriptors()[0])), sizeof(RingPositions) * 2));
    reinterpret_cast<RingPositions*>(raw.data())[1].head.store(uint64_t{1} << 40);
    const uint64_t one = 1;
    if (::write(channel_->descriptors()[1], &one, sizeof one) < 0) ::_exit(3);
    channel_.reset();
  }

  handover::DataplaneEndpoint endpoint_;
  std::optional<SharedMemory> memory_;
  std::optional<handover::SegmentFds> segments_;
  std::optional<Channel> channel_;
  uint64_t generation_ = 0;
  uint32_t records_ = 0;
  bool broke_ring_ = false;
};

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  if (espalier::told_to("die_at_start")) return 3;
  if (espalier::told_to("deaf_to_sigterm")) ::signal(SIGTERM, SIG_IGN);
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--runtime-dir") espalier::FakeDataplane(argv[i + 1]).run();
  return 2;
}

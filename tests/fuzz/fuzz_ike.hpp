// A core with one peer, for the fuzz targets that drive it as a whole, and what must hold of it whatever it
// is given: its texts are printable, what it installs the dataplane takes, what it saves it takes back, and
// nothing grows with what a peer asks for.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>

#include "control/shared/record_check.hpp"
#include "tests/exchange/raw_peer.hpp"

namespace espalier::ike::test {

// Not assert(): release builds have to notice, too.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

inline Endpoint at(uint32_t address) {
  return {Ipv4Address::from_host(address), 500};
}
inline const Endpoint kCore = at(0xc6336403), kPeer = at(0xcb007102);
inline constexpr std::string_view kKey = "SomePreSharedKey", kPeerName = "gw.example.org";

inline Configuration site() {
  ConnectionConfig connection;
  connection.name = "site";
  connection.local = kCore.address;
  connection.remotes = {"any"};
  connection.local_id = parse_identity("hub.example.org").value();
  connection.suites = {kRawSuite};
  connection.dpd_interval = seconds{30};
  ChildConfig child;
  child.name = "tunnel-0";
  child.suites = {kRawEsp};
  child.local.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a000000), 24)};
  child.remote.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a010000), 24)};
  child.reqid = Reqid{7};
  connection.children = {child};
  Configuration configuration;
  configuration.connections.push_back(std::move(connection));
  configuration.keys.push_back(
      {"site", {}, crypto::Secret(ByteView(reinterpret_cast<const uint8_t*>(kKey.data()), kKey.size()))});
  return configuration;
}

class Gateway {
 public:
  explicit Gateway(Time at) : now(at), core_(options()) { core_.configure(site(), now); }

  // What an earlier process saved; says whether all was taken.
  bool adopt(const std::map<uint64_t, Bytes>& states) {
    std::vector<SavedState> saved;
    for (const auto& [id, state] : states) saved.push_back({id, crypto::Secret(state)});
    saved_ = states;
    core_.adopt(std::move(saved), now);
    (void)core_.take_log();  // which may name what a damaged state says; the log makes that printable
    look();
    return saved_.size() == states.size();
  }
  void receive(ByteView datagram) {
    core_.receive(kCore, kPeer, datagram, now);
    look();
  }
  void command(const Command& command) {
    (void)core_.command(command, now);  // what does not fit the state is refused
    look();
  }
  void event(const Event& event) {
    core_.event(event, now);
    look();
  }
  // To the next deadline. False: there is none within `limit`.
  bool advance(seconds limit) {
    const Time next = core_.next_deadline();
    if (next == Time::max() || next > now + limit) return false;
    now = std::max(now, next);
    core_.tick(now);
    look();
    return true;
  }

  // What the operator sees. It costs more than the messages do, so it is not looked at after each.
  void check_reports() const {
    const auto sas = core_.ike_sas(now);
    require(sas.size() <= 32, "IKE SAs without end");
    for (const IkeSaReport& sa : sas) {
      check_text(sa.remote_id + sa.local_id + sa.suite);
      require(sa.children.size() <= 64, "children without end");
      for (const ChildReport& child : sa.children)
        check_text(child.local_selectors + child.remote_selectors + child.suite);
    }
    for (const ConnectionReport& line : core_.connections(now)) check_text(line.why_down + line.last_failure);
  }
  const std::map<uint64_t, Bytes>& saved() const { return saved_; }
  const std::vector<Bytes>& sent() const { return sent_; }
  std::vector<IkeSaReport> ike_sas() const { return core_.ike_sas(now); }
  Time now;

 private:
  CoreOptions options() {
    CoreOptions options;
    options.random = [this] { return random_(); };
    options.wall_clock = [] { return std::chrono::system_clock::time_point(std::chrono::hours(500000)); };
    return options;
  }
  static void check_text(const std::string& text) {
    for (const char c : text) require(c >= ' ' && c < 0x7f, "a text that is not printable");
  }
  void look() {
    for (const Output& output : core_.take_outputs()) std::visit([this](const auto& o) { take(o); }, output);
    for (const LogLine& line : core_.take_log()) check_text(line.text);
  }
  void take(const SendDatagram& output) {
    require(output.bytes.size() <= kMaxMessageBytes, "a datagram that UDP does not carry");
    sent_.push_back(output.bytes);
  }
  static void take(const InstallSa& output) {
    require(!record_check::check(output.record.algorithm), "an SA that the dataplane does not take");
  }
  void take(const SaveStates& output) {
    for (const SavedState& each : output.states) {
      const ByteView state = each.state.view();
      saved_[each.id] = {state.begin(), state.end()};
    }
    for (const uint64_t id : output.forgotten) saved_.erase(id);
  }
  template <class Other>
  static void take(const Other&) {}

  std::mt19937_64 random_{4711};
  Core core_;
  std::map<uint64_t, Bytes> saved_;
  std::vector<Bytes> sent_;
};

inline constexpr Time kStart = Time{} + std::chrono::hours(10);

// An IKE SA with a child, between a gateway and a peer that has no manners.
struct Established {
  RawPeer peer{0x1122334455667788, kPeerName, kKey};
  Gateway gateway{kStart};

  Established() {
    gateway.receive(peer.init_bytes());
    peer.take_init_response(gateway.sent().at(0));
    gateway.receive(peer.auth_request());
    require(gateway.saved().size() == 1 && gateway.ike_sas().at(0).children.size() == 1, "not established");
  }
};

}  // namespace espalier::ike::test

// Two IKE cores and the network between them, in simulated time: datagrams are delayed, lost, doubled,
// reordered and damaged as a test wants, and each side has a dataplane that only keeps books. Everything is
// decided by a seed, OpenSSL's random bytes too: so there is one Net at a time.
//
//   Side (Core + SAs installed + saved states)  ──Net──  Side
//
// What holds at any moment is checked while it runs (books()); what holds after settling is asked by the
// tests.
#pragma once

#include <deque>
#include <map>
#include <random>
#include <set>

#include "ike/core.hpp"

namespace espalier::ike::exchange {

// An SA as a dataplane has it.
struct Installed {
  SaRecord record;
  uint64_t order = 0;  // of its installing: the newest outbound one is used
};
using SaKey = std::tuple<Direction, uint32_t, IpAddress>;  // destination

struct Datagram {
  Endpoint from, to;
  Bytes bytes;
};

struct Conditions {
  double loss = 0, duplicate = 0, corrupt = 0;
  milliseconds delay{10}, jitter{0};  // jitter reorders
};

class Net;

// One gateway: a core, what it installed, what it saved.
class Side {
 public:
  Side(Net& net, std::string name, uint64_t seed);

  void configure(Configuration configuration);
  Result<void> command(const Command& command);
  void event(const Event& event);
  void receive(const Endpoint& local, const Endpoint& remote, ByteView bytes);
  void tick();
  void shut_down();
  // kill -9: a new core gets the states saved, and the configuration again.
  void restart();
  // After `outputs` more outputs the process dies: those behind are never done.
  void die_after(uint64_t outputs) { die_after_ = outputs; }
  bool died() const { return died_; }

  Core& core() { return *core_; }
  const Core& core() const { return *core_; }
  const std::map<SaKey, Installed>& sas() const { return sas_; }
  const std::map<uint64_t, Bytes>& states() const { return states_; }
  const std::vector<LogLine>& log() const { return log_; }
  std::string log_text() const;
  bool logged(std::string_view part) const;
  std::vector<const Installed*> outbound(Reqid reqid) const;  // the newest first
  std::vector<IkeSaReport> established() const;               // neither rekeyed nor deleting
  std::vector<ChildReport> live_children() const;
  // Replaces the answers of AskSaUse and Resolve.
  std::function<SaUse(Spi)> use;
  std::function<Resolved(const Resolve&)> resolve;
  std::function<Configuration()> make_configuration;
  int64_t milliseconds_now() const;
  uint64_t outputs_done = 0;
  const std::string name;
  CoreOptions options;

 private:
  void work();
  void perform(Output& output);
  void perform_one(SendDatagram& output);
  void perform_one(InstallSa& output);
  void perform_one(RemoveSa& output);
  void perform_one(MoveSa& output);
  void perform_one(AskSaUse& output);
  void perform_one(Resolve& output);
  void perform_one(SaveStates& output);
  void take_log();

  Net& net_;
  std::mt19937_64 random_;
  std::unique_ptr<Core> core_;
  std::map<SaKey, Installed> sas_;
  std::map<uint64_t, Bytes> states_;

  void note(std::string text);  // into the log, with the time
  std::vector<LogLine> log_;
  uint64_t order_ = 0;
  std::optional<uint64_t> die_after_;
  bool died_ = false;
  std::deque<Event> answers_;
};

class Net {
 public:
  explicit Net(uint64_t seed);
  ~Net();
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  Side& add(const std::string& name);
  void send(Side& from, const Datagram& datagram);
  // Runs until `duration` is over.
  void run(milliseconds duration);
  // Until `done`, for at most `limit`. False: it never was.
  bool run_until(const std::function<bool()>& done, milliseconds limit);
  void drop_all() { in_flight_.clear(); }

  Time now{std::chrono::hours{1000}};
  Conditions conditions;
  // Sees every datagram before it is sent; false swallows it. May change it.
  std::function<bool(Side& from, Datagram&)> filter;
  // A NAT: what `from` and `to` look like on the other side.
  std::function<void(Datagram&)> translate;
  std::vector<Datagram> sent;  // all of them, in order
  std::function<void()> after_each;
  std::mt19937_64& random() { return random_; }
  const std::vector<std::unique_ptr<Side>>& sides() const { return sides_; }

 private:
  bool step(Time limit);
  Side* owner(const Endpoint& endpoint);
  double chance() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Side>> sides_;
  std::multimap<Time, Datagram> in_flight_;
  std::map<IpAddress, Side*> owners_;
  uint64_t still_ = 0;
  friend class Side;

 public:
  void owns(const IpAddress& address, Side& side) { owners_[address] = &side; }
};

}  // namespace espalier::ike::exchange

// What is wanted of one configured connection, and what is done for it: tries to bring it up, reactions to
// its going down, duplicates. IKE SAs report to it; it gives them their work.
//
//   goal of a child:  kNone ──initiate, acquire, close-action start, DPD restart──► kOnce / kAlways ──is
//   up──► kNone
//
// An acquire brings a child up except where connection-type is none and no action asked for a trap. kAlways
// is tried again for ever with growing waits, kOnce once per remote address. Owner: the engine.
#pragma once

#include <map>

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class Connection {
 public:
  Connection(Engine& engine, uint64_t number, std::shared_ptr<const ConnectionConfig> config);

  const std::shared_ptr<const ConnectionConfig>& config() const { return config_; }
  uint64_t number() const { return number_; }

  // --- From the operator and the dataplane ---
  void start();  // as connection-type says
  Result<void> initiate(const std::string& child);
  Result<void> terminate(const std::string& child);
  Result<void> rekey(const std::string& child);
  void acquire(const std::string& child);
  void resolved(const Resolved& answer);
  // The same connection with other values: SAs stay where nothing of theirs changed.
  void reconfigure(std::shared_ptr<const ConnectionConfig> config);
  void stop();                   // nothing is tried any more, every IKE SA is deleted
  void adopt_config(IkeSa& sa);  // its children go on with the configured values, or are deleted

  // --- From its IKE SAs ---
  void ike_established(IkeSa& sa);
  void ike_closed(IkeSa& sa, Down why);
  void failed(const IkeSa& sa, const std::string& why);  // a try, with its reason
  void note_failure(const std::string& why);             // for the operator only
  // Of who is not authenticated: only kept where its address is one of the connection's.
  void note_stranger(const IpAddress& remote, const std::string& why);
  void child_up(const std::string& child);
  void child_down(IkeSa& sa, const std::string& child, Down why);
  void child_refused(const std::string& child, const std::string& why);
  void child_busy(const std::string& child);  // refused for now (section 2.25)
  bool is_up(const std::string& child) const;
  bool is_alone(const IkeSa& sa) const;  // no other IKE SA with the peer
  std::string first_wanted() const;
  void initial_contact(IkeSa& newer);  // RFC 7296 section 2.4: the peer has no other

  // --- Time ---
  void advance();
  Time deadline() const;

  void report(std::vector<ConnectionReport>& reports) const;

 private:
  enum class Goal : uint8_t { kNone, kOnce, kAlways };
  struct Wanted {
    Goal goal = Goal::kNone;
    bool trapped = false;
    Time retry_at{};
    unsigned tries = 0;
  };

  void want(const std::string& child, Goal goal, milliseconds wait = milliseconds{0});
  bool has_remote() const;  // else it can only be met
  bool wants_any() const;
  IkeSa* usable() const;  // established, and to stay
  bool is_connecting() const;
  void create_children(IkeSa& sa);
  void attempt();
  void begin(const Resolved::Way& way);
  void count_failed_try();
  milliseconds back_off(unsigned tries) const;
  void settle_duplicates();
  std::vector<std::vector<IkeSa*>> duplicates() const;
  void update_children(const ConnectionConfig& before);

  std::string why_down(const std::string& child) const;

  Engine& engine_;
  uint64_t number_;
  std::shared_ptr<const ConnectionConfig> config_;
  std::map<std::string, Wanted> wanted_;
  bool stopped_ = false;

  size_t remote_ = 0;  // of config_->remotes: the next to try
  std::vector<Resolved::Way> ways_;
  std::string resolving_;
  Time resolving_until_ = kNever;  // kNever: not asked
  Time retry_at_{};
  unsigned tries_ = 0;
  Time settle_at_ = kNever;

  std::string last_failure_;
  Time last_failure_at_{};
};

// Whether a remote of the configuration is an address.
std::optional<IpAddress> literal_address(const std::string& text);
// All but children, the secrets' holders by value; see Connection::reconfigure.
bool is_same_peer(const ConnectionConfig& a, const ConnectionConfig& b);
bool is_same_child(const ChildConfig& a, const ChildConfig& b);

}  // namespace espalier::ike

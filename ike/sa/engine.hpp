// All IKE SAs and connections of the core: who gets a datagram, an event, a tick; and what all of them share.
// Nothing in it grows with the number of peers per message: SPIs and reqids are hashed, deadlines are sorted.
//
// After every input finish() lets the connections that were touched look what they want, starts what IKE SAs
// have in their queues, and saves the states that changed before what they caused (core.hpp, SaveStates).
#pragma once

#include <set>
#include <unordered_map>
#include <unordered_set>

#include "ike/sa/connection.hpp"
#include "ike/sa/cookie.hpp"
#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class Engine {
 public:
  explicit Engine(CoreOptions options);
  ~Engine();

  Context context;

  // --- The core's inputs; each is followed by finish() ---
  void configure(Configuration configuration);
  void adopt(std::vector<SavedState> states);
  void receive(const Endpoint& local, const Endpoint& remote, ByteView datagram);
  Result<void> command(const Command& command);
  void event(const Event& event);
  void tick();
  void shut_down();
  void finish();
  Time next_deadline() const;

  // --- IKE SAs ---
  uint64_t new_ike_spi();
  // Gets an id and is found by its SPI from now on.
  IkeSa& add(std::unique_ptr<IkeSa> sa);
  IkeSa* find(uint64_t local_spi);
  void touch(IkeSa& sa);
  void touch(Connection& connection);

  // --- Child SAs ---
  Spi new_child_spi();
  void place(const ChildSa& child, IkeSa& sa);  // events about it go there
  void forget(const ChildSa& child);
  IkeSa* find_child(Spi spi_in);
  // By the SPI that the peer chose: two peers may choose the same.
  IkeSa* find_child_out(Spi spi_out, const IpAddress& destination);

  // --- Configuration ---
  const Configuration& configuration() const { return configuration_; }
  Connection* connection(const std::string& name);
  // That fit two addresses and may fit the peer's identity, the best first: an address that is named before
  // any, then the configuration's order.
  std::vector<Connection*> candidates(const IpAddress& local, const IpAddress& remote, const Identity& peer);
  // The same for IKE_SA_INIT, which anybody can send: of those with any remote only one for each list of
  // suites, or two where only a later one wants certificates.
  std::vector<Connection*> suite_candidates(const IpAddress& local, const IpAddress& remote);
  const std::unordered_map<uint64_t, std::unique_ptr<IkeSa>>& sas() const { return sas_; }
  const std::map<std::string, std::unique_ptr<Connection>>& connections() const { return connections_; }
  // Established or on the way, of one connection.
  std::vector<IkeSa*> sas_of(const std::string& connection);
  // An IKE SA found its connection.
  void assign(IkeSa& sa, Connection& connection);

  HalfOpenTable& half_open() { return half_open_; }
  CookieJar* cookies() { return cookies_ ? &*cookies_ : nullptr; }

 private:
  using Key = uint64_t;  // IKE SA: its id * 2; connection: its number * 2 + 1
  void receive_init(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                    ByteView datagram);
  void receive_init_request(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                            ByteView datagram);
  void refuse_version(const Endpoint& local, const Endpoint& remote, ByteView datagram);
  void apply_event(const Acquire& event);
  void apply_event(const Expire& event);
  void apply_event(const MappingChanged& event);
  void apply_event(const SaUse& event);
  void apply_event(const Resolved& event);
  void apply_event(const DataplaneLost& event);
  void apply_event(const DataplaneReady& event);
  void index_connections();
  std::vector<Connection*> choose_candidates(const IpAddress& local, const IpAddress& remote,
                                             const std::vector<Connection*>& of_any_remote);
  void remove_connections(const std::set<std::string>& kept);
  bool adopt_one(const SavedState& saved);
  void settle_touched();
  void save_touched();
  void reap(IkeSa& sa);
  void forget_state(uint64_t id);
  void destroy(uint64_t local_spi);
  void schedule(Key key, Time at);
  void receive_encrypted(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                         ByteView datagram);
  void note_malformed(const Endpoint& remote, const ParseError& error);
  uint64_t new_id();

  Configuration configuration_;
  std::map<std::string, std::unique_ptr<Connection>> connections_;
  std::unordered_map<uint64_t, Connection*> by_number_;
  std::unordered_map<uint32_t, std::pair<Connection*, std::string>> by_reqid_;
  struct AddressHash {
    size_t operator()(const IpAddress& address) const {
      return std::hash<uint64_t>()(address.low.raw() * 0x9e3779b97f4a7c15 ^ address.high.raw());
    }
  };
  std::unordered_map<IpAddress, std::vector<Connection*>, AddressHash> by_remote_;
  // With any remote address: by the exact_key() of the peer's identity, and those whose identity has none.
  // With their places in the configuration.
  using Placed = std::vector<std::pair<size_t, Connection*>>;
  std::unordered_map<std::string, Placed> by_remote_id_;
  Placed of_any_id_;
  std::vector<Connection*> suites_of_any_remote_;

  std::unordered_map<uint64_t, std::unique_ptr<IkeSa>> sas_;  // by our SPI
  std::unordered_map<uint64_t, uint64_t> spi_by_id_;
  std::unordered_map<std::string, std::vector<uint64_t>> by_connection_;  // our SPIs
  struct OpeningKey {
    uint64_t initiator_spi;
    Endpoint remote;
    friend bool operator==(const OpeningKey&, const OpeningKey&) = default;
  };
  struct OpeningHash {
    size_t operator()(const OpeningKey& key) const {
      return std::hash<uint64_t>()(key.initiator_spi ^ key.remote.address.low.raw() * 0x9e3779b97f4a7c15 ^
                                   key.remote.port);
    }
  };
  std::unordered_map<OpeningKey, uint64_t, OpeningHash> openings_;  // responders of IKE_SA_INIT: to our SPI
  std::unordered_map<uint32_t, uint64_t> child_places_;             // spi_in to our SPI
  std::unordered_multimap<uint32_t, uint32_t> by_spi_out_;          // to spi_in
  std::set<uint64_t> free_ids_;
  std::vector<uint64_t> freed_ids_;  // to be used again from the next input on
  uint64_t ids_ = 0;
  uint64_t connection_numbers_ = 0;
  bool has_dataplane_ = false;

  std::set<std::pair<Time, Key>> agenda_;
  std::unordered_map<Key, Time> scheduled_;
  std::set<uint64_t> touched_sas_;          // our SPIs
  std::set<uint64_t> touched_connections_;  // numbers
  std::unordered_set<uint64_t> saved_;      // ids
  std::vector<uint64_t> forgotten_;         // ids, for the next SaveStates

  HalfOpenTable half_open_;
  std::optional<CookieJar> cookies_;
};

}  // namespace espalier::ike

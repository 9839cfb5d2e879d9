// The whole dataplane in one object, without processes: pools, workers, tables, and the main lcore's work on
// them. The process (main_lcore.hpp) drives it from rings and sockets, tests and benchmarks drive it
// directly.
//
// Owner: main lcore. Workers run on lcores of their own, or are polled in turn by the same thread.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/shared/message_decode.hpp"
#include "dataplane/configuration.hpp"
#include "dataplane/host/host_path.hpp"
#include "dataplane/ike_link.hpp"
#include "dataplane/neighbor_resolver.hpp"
#include "dataplane/rehearsal.hpp"
#include "dataplane/sa_store.hpp"
#include "dataplane/sa_watch.hpp"
#include "dataplane/sequence_service.hpp"
#include "dataplane/tap/taps.hpp"
#include "dataplane/worker.hpp"

namespace espalier::dataplane {

struct GatewayOptions {
  uint16_t workers = 1;
  uint32_t session_capacity = 262144;
  uint32_t flow_entries = 65536;  // of each worker's cache, a power of two
  uint16_t ports = 4;             // expected: as many as can be full at once without want of packet buffers
  uint32_t mbufs = 0;             // packet buffers; 0: as many as workers and ports ask for
  uint32_t largest_mtu_bytes = 1500;  // that any interface will have; decides the size of packet buffers
  uint16_t rx_queues = 0;             // wanted per port; 0: as many as workers
};

// The packet buffers of a gateway: as many as can be anywhere at once. Those that no queue holds are reused
// in LIFO order, so a large pool costs memory but no cache misses.
struct PoolSizes {
  uint32_t mbufs = 0;
  uint16_t room_bytes = 0;  // of each, headroom included
  uint32_t jumbos = 0;      // of Reassembler::kJumboRoom bytes

  static PoolSizes of(const GatewayOptions& options);
  uint64_t bytes() const;
};

class Gateway {
 public:
  // The memory that outlives the gateway; all of it must do so.
  struct SharedMemory {
    statistics::Segment& statistics;
    Vault& vault;
    SaCells& cells;
  };
  using OpenPort = std::function<Result<Port>(std::string_view device, const PortOptions& options)>;
  // Takes an IP packet for the host that came in by the interface; kUsedHost, or why it was not taken.
  using GiveToHost = std::function<DropReason(InterfaceIndex in, std::span<const uint8_t> packet)>;

  // The EAL must be up. `open_port` is Port::open but in tests, and `give_to_host` the host path, which makes
  // TAPs when a configuration asks for it.
  static Result<std::unique_ptr<Gateway>> create(const GatewayOptions& options, const SharedMemory& memory,
                                                 OpenPort open_port = Port::open,
                                                 GiveToHost give_to_host = nullptr);
  ~Gateway();

  // Installs a configuration: all of it, or nothing and an error. What did not change is not touched: SAs go
  // on with their numbers, sessions and flows live, ports stay open. Returns when workers use the new tables.
  Result<void> apply(Configuration configuration, uint64_t generation);
  uint64_t generation() const { return tables_->generation; }
  const Snapshot& tables() const { return *tables_; }

  Worker& worker(WorkerId id) { return *workers_[id.value]; }
  uint16_t worker_count() const { return static_cast<uint16_t>(workers_.size()); }

  // A round of the main lcore's work: punted packets, ARP, links, the IKE process. Returns how many packets
  // and messages it handled.
  uint32_t poll_main();
  // Readable when poll_main() has packets to handle; prepare_to_wait() on all before sleeping on them. ARP
  // has one of its own, which is emptied first: packets that wait for a next hop can come in floods, and must
  // not take the answers that they and everybody else wait for down with them. So has IKE, whose floods are
  // anybody's on the Internet.
  std::array<Mailbox*, 3> main_mailboxes() {
    return {arp_mailbox_.get(), ike_mailbox_.get(), main_mailbox_.get()};
  }

  // Further descriptors that poll_main() has work from when they are readable; -1: none.
  std::array<int, 2> wait_fds() const {
    return host_path_ ? host_path_->wait_fds() : std::array<int, 2>{-1, -1};
  }
  // Packets that are held: fragments that wait for others, and packets for a next hop's MAC address. While no
  // worker runs.
  uint64_t waiting() const;

  // The channel to the IKE process (messages_ike.hpp), which poll_main() serves; a new one replaces the old.
  void attach_ike(Channel channel);
  // For sleeping: prepare_to_wait() and wait_fd().
  IkeLink& ike_link() { return ike_link_; }

  // What happened since the last call that espalierd wants to know: Acquire, Expire, Mapping. At most
  // kMostEvents are kept.
  std::vector<message::Slot> take_events() { return std::exchange(events_, {}); }

  // Rows for `show`; as message::Query says.
  std::vector<message::InterfaceRow> interface_rows(uint64_t& cursor, uint32_t limit) const;
  std::vector<message::RouteRow> route_rows(uint64_t& cursor, uint32_t limit) const;
  size_t neighbor_rows(uint64_t& cursor, std::span<message::NeighborRow> rows) const;
  size_t session_rows(uint64_t& cursor, std::span<message::SessionRow> rows,
                      const message::SessionFilter& filter = {}) const;
  uint64_t count_sessions(uint64_t& cursor, const message::SessionFilter& filter) const;

  // What would become of frames that came in by a port or VLAN one after the other (fragments of a datagram,
  // or just one), or of IP packets of the host (kNoInterface); nothing is changed. Of the first `untold`
  // nothing is told: fragments that came before. Errors: an interface without a wire, or what no packet
  // buffer holds.
  using Frames = std::span<const std::span<const uint8_t>>;
  Result<Rehearsal> rehearse(InterfaceIndex in, Frames frames, size_t untold = 0);
  // The same for a synthetic packet: the story of its way, one line or more for each stage.
  Result<std::vector<message::TextRow>> explain(const message::Explain& question);

  // Taps (tap/taps.hpp): packets for `capture` and `trace`. Errors are Taps::start()'s. find_tap() is null
  // and end_tap() false for one that ended; finding one counts as reading it.
  Result<uint64_t> start_tap(TapOptions options);
  PacketTap* find_tap(uint64_t id);
  bool end_tap(uint64_t id);

  // A packet of the host's. `out`: the interface that it leaves by as it is; kNoInterface: routes decide.
  void from_host(std::span<const uint8_t> sent, InterfaceIndex out);

  Clock& clock() { return clock_; }
  const Sad& sad() const { return sas_->sad(); }
  statistics::Block& main_statistics() { return memory_.statistics.blocks[statistics::kBlocks - 1]; }

 private:
  struct FreePacket {
    void operator()(rte_mbuf* mbuf) const { rte_pktmbuf_free(mbuf); }
  };
  using Mbufs = std::vector<std::unique_ptr<rte_mbuf, FreePacket>>;

  Gateway(const GatewayOptions& options, const SharedMemory& memory, OpenPort open_port,
          GiveToHost give_to_host);
  Result<void> make_pools();
  Result<void> make_sessions();
  Result<void> make_workers();
  Context context_for(WorkerId id);
  Result<std::unique_ptr<Worker>> make_worker(WorkerId id);
  void name_stages();
  Result<void> publish_empty();

  // gateway_apply.cpp
  struct Plan;  // all that can fail, made before anything that workers see is changed
  Result<Plan> plan(const Configuration& wanted, uint64_t generation);
  Result<std::shared_ptr<const PortSet>> plan_ports(const Configuration& wanted, MtuChanges& mtus);
  Result<std::shared_ptr<SharedPort>> plan_port(const InterfaceRecord& record, MtuChanges& mtus);
  Result<std::shared_ptr<const InterfaceTable>> plan_interfaces(const Configuration& wanted,
                                                                const PortSet& ports);
  Result<HostPath::Plan> plan_host(const Configuration& wanted, const InterfaceTable& interfaces);
  static std::vector<RouteRecord> all_routes(const Configuration& configuration,
                                             const std::vector<RouteRecord>& imported);
  const LinkState& tunnel_link(const InterfaceRecord& record);
  void carry_out(Plan plan);
  void publish(std::unique_ptr<const Snapshot> next);
  void route_sas(Snapshot& tables) const;
  static void route_sa(const Sa& sa, Snapshot& tables);
  void retire_ports(const PortSet& before, const PortSet& after);

  // explain.cpp
  Result<Mbufs> load(Frames packets);
  Result<Rehearsal> rehearse(Mbufs packets, Entry entry, size_t untold = 0);
  Result<Rehearsal> rehearse(const message::Explain& question);
  Result<void> take_path(const message::Explain& question, Packet& p);

  // gateway_main.cpp
  void begin_round();
  void handle_punted(rte_mbuf* mbuf, NeighborOutput& output);
  void carry_out(NeighborOutput& output);
  void answer_unreachable(rte_mbuf* mbuf);
  void drop_waiting(uint32_t epoch_before, bool interfaces_changed);
  void report(const std::vector<AddressConflict>& conflicts);
  void send_frame(const NeighborFrame& frame);
  void follow_links();
  void decide_anew();  // all flows, and the ways of ESP packets
  void drop_by_main(rte_mbuf* mbuf, DropReason reason);
  void hand_to_worker(rte_mbuf* made);

  // gateway_tunnels.cpp
  void follow_sas();
  bool follow_vtis();
  void choose_sas_anew();
  void send_keepalive(const Sa& sa);
  void acquire(rte_mbuf* mbuf);
  template <class Event>
  void tell(const Event& event);
  void report(const SaWatch::Expiry& event);
  void report(const SaWatch::Move& event);

  // gateway_ike.cpp
  struct IkeChange {  // of a round: what is carried out together, and its answers
    explicit IkeChange(size_t most);
    struct Datagram {
      message::IkeDatagram head;
      std::vector<uint8_t> bytes;
    };
    struct Answer {
      uint64_t request_id;
      std::string error;  // empty: done
    };
    SaStore::Change sas;
    std::vector<Datagram> datagrams;
    std::vector<Answer> answers;
  };
  uint32_t serve_ike();
  void take_from_ike(const message::Slot& slot, IkeChange& change);
  void take_part(const message::IkeDatagram& part, IkeChange& change);
  void send_ike(const message::IkeDatagram& head, std::span<const uint8_t> message);
  InterfaceIndex interface_of_link_local(IpAddress own) const;
  void to_ike(rte_mbuf* mbuf);
  IpAddress own_address_towards(IpAddress remote) const;
  message::IkeSaUse use_of(Spi spi) const;
  void tell_ike(const SaWatch::Expiry& event);
  void tell_ike(const SaWatch::Move& event);
  void tell_ike_of_want(const Packet& p, const PolicyRecord* policy, InterfaceIndex vti);

  // gateway_ike_sas.cpp
  void finish(IkeChange& change);
  void change_ike_sas(const message::FromIke& request, uint64_t id, IkeChange& change);
  Result<SaStore::Planned> plan_ike_sas(const message::FromIke& request, SaStore::Change& change);
  Result<SaStore::Planned> commit_ike_sas(const message::IkeCommit& commit, SaStore::Change& change);
  std::vector<ChangedRegion> regions_of(const SaStore::Change& change) const;
  std::unique_ptr<Snapshot> tables_with(const SaStore::Change& change) const;
  void carry_out(SaStore::Change change);
  Result<void> keep_ike_sas(const Configuration& wanted, SaStore::Change& change) const;
  void tell_ike_of_removal(const SaStore::Change& change);

  // gateway_host.cpp
  void to_host(rte_mbuf* mbuf);
  uint32_t poll_host();
  void follow_kernel_routes();

  // gateway_taps.cpp
  void publish_taps();
  void end_unread_taps();

  // gateway_rows.cpp
  message::InterfaceRow interface_row(const Interface& interface) const;
  message::RouteRow route_row(const RouteEntry& entry) const;

  GatewayOptions options_;
  SharedMemory memory_;
  OpenPort open_port_;
  GiveToHost give_to_host_;
  Clock clock_;
  Rcu rcu_;
  struct FreePool {
    void operator()(rte_mempool* pool) const;
  };
  std::unique_ptr<rte_mempool, FreePool> pool_;
  std::unique_ptr<rte_mempool, FreePool> jumbo_pool_;
  std::unique_ptr<nat::SessionTable> sessions_;
  std::unique_ptr<SaStore> sas_;
  std::unique_ptr<Taps> taps_;
  NeighborTable neighbors_;
  NeighborResolver resolver_;
  std::unique_ptr<Mailbox> arp_mailbox_;
  std::unique_ptr<Mailbox> ike_mailbox_;
  std::unique_ptr<Mailbox> main_mailbox_;
  std::vector<std::unique_ptr<Mailbox>> mailboxes_;
  std::vector<Mailbox*> mailbox_pointers_;
  std::unique_ptr<const Snapshot> tables_;
  std::atomic<const Snapshot*> published_{nullptr};
  std::vector<std::shared_ptr<SharedPort>> retired_ports_;  // closed when no sleeping worker holds them
  Configuration running_;                                   // without keys
  Transmitter transmitter_;
  Context context_;  // the main lcore's, for ICMP errors
  std::vector<std::unique_ptr<Worker>> workers_;
  SaWatch sa_watch_;
  IkeLink ike_link_;
  IkeAssembly ike_assembly_;
  std::optional<std::set<SaName>> ike_named_;  // since IkeBegin
  std::map<std::string, LinkState, std::less<>>
      tunnel_links_;                     // of vti and gre interfaces, by name; only grows
  std::unique_ptr<HostPath> host_path_;  // made when it is first wanted
  std::vector<RouteRecord> imported_routes_;
  static constexpr size_t kMostEvents = 1024;
  std::vector<message::Slot> events_;
  std::map<uint32_t, uint64_t> acquire_due_ms_;    // by PolicyIndex or, behind them, vti
  std::unique_ptr<RehearsalRoom> rehearsal_room_;  // made when it is first wanted
  uint64_t tick_due_ms_ = 0;
  uint64_t next_conflict_report_ms_ = 0;
  std::unique_ptr<SequenceService> sequence_service_;
};

}  // namespace espalier::dataplane

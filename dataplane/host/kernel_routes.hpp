// The routes that programs such as FRR put into the host's kernel, as Espalier's RouteRecords.
//
// Reads rtnetlink: everything once, then changes. The table is kept here as the kernel has it, next hop
// objects (`ip nexthop`, FRR's default) by their numbers, because the kernel tells of a changed object once
// and not of each route that uses it. Where a message does not say enough (several routes of one prefix and
// metric), or routes go without one (a link goes down, an address is removed, messages were lost), everything
// is read again; until that is complete nothing is published, so a half-read table never reaches the FIB.
//
// Never taken: routes that the kernel made itself (connected networks), our own (kRouteProtocol), routes by
// TOS or by source, encapsulating ones, IPv4 routes by an IPv6 next hop.
//
// Owner: main lcore. Nothing blocks.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "control/shared/records.hpp"
#include "dataplane/host/kernel_route.hpp"
#include "dataplane/host/netlink.hpp"

namespace espalier::dataplane {

// Which routes of the kernel are taken over; SettingsRecord's import_*.
struct RouteImport {
  uint32_t table = 254;
  std::array<uint64_t, 4> protocols{};  // a bit for each rtm_protocol
  bool has(uint8_t protocol) const { return protocols[protocol / 64] >> (protocol % 64) & 1; }
  friend bool operator==(const RouteImport&, const RouteImport&) = default;
};

class KernelRoutes {
 public:
  // In the namespace of the calling thread. Errors: no rtnetlink.
  static Result<KernelRoutes> open(const RouteImport& import);

  const RouteImport& import() const { return import_; }
  // Our devices: the kernel's index of the link -> interface. Next hops by other links are left out, and
  // routes that have no others.
  void set_interfaces(std::map<int, InterfaceIndex> interfaces);

  // Reads what the kernel has to tell, at most some hundred messages. If routes changed since the last list
  // and that is kIntervalMs ago: all of them, in the order of prefixes, RouteRecord::index from 0.
  std::optional<std::vector<RouteRecord>> poll(uint64_t now_ms);
  static constexpr uint64_t kIntervalMs = 50;

  // Readable when the kernel has something to tell.
  int wait_fd() const { return mnl_socket_get_fd(socket_.get()); }

 private:
  // What is being read: one after the other, as a socket can have one dump at a time.
  enum class Dump : uint8_t { kNone, kObjects, kIpv4Routes, kIpv6Routes };
  struct Entry {
    KernelRoute route;
    // Of its object, when the route came. An object that is removed takes its routes with it silently, and
    // its number may be used anew.
    uint64_t object_made = 0;
    bool several = false;  // the kernel has more routes of this key behind this one
  };
  struct Object {
    NextHopObject object;
    uint64_t made = 0;
  };
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  KernelRoutes(const RouteImport& import, mnl_socket* socket) : import_(import), socket_(socket) {}

  void start(Dump dump);
  void start_over();
  void end_of_dump(int error);
  void receive();
  void take(const nlmsghdr& message);
  void take_route(const nlmsghdr& message);
  void take_removed_route(const nlmsghdr& message);
  void take_object(const nlmsghdr& message);
  void take_link(const nlmsghdr& message);
  bool is_of_dump(const nlmsghdr& message) const {
    return dump_ != Dump::kNone && message.nlmsg_seq == sequence_ &&
           message.nlmsg_pid == mnl_socket_get_portid(socket_.get());
  }

  uint64_t made(uint32_t object) const;
  bool is_stale(const Entry& entry) const;
  std::vector<RouteRecord> make_list();
  bool fill_in(const RouteKey& key, const KernelRoute& route, RouteRecord& record) const;
  void add(const KernelNextHop& hop, RouteRecord& record) const;

  RouteImport import_;
  std::unique_ptr<mnl_socket, Close> socket_;
  std::map<int, InterfaceIndex> interfaces_;
  std::map<RouteKey, Entry> routes_;
  std::map<uint32_t, Object> objects_;
  std::map<int, unsigned> link_flags_;  // whether up and running, as last told
  uint64_t objects_made_ = 0;
  Dump dump_ = Dump::kNone;
  uint32_t sequence_ = 0;    // of the dump
  bool incomplete_ = true;   // what is here is not all: not to be published
  bool read_again_ = false;  // what is here is not exact: everything is to be read, but not forever
  bool changed_ = false;     // since the last list
  bool read_just_now_ = false;
  uint64_t next_ms_ = 0;  // that something may be done
};

// The imported routes when interfaces change, until KernelRoutes gives a new list: next hops by interfaces
// that stay, by their names, at the positions that these have now. Without them packets of a tunnel's routes
// would take the default route for that time.
std::vector<RouteRecord> moved_routes(std::span<const RouteRecord> imported,
                                      std::span<const InterfaceRecord> before,
                                      std::span<const InterfaceRecord> now);

}  // namespace espalier::dataplane

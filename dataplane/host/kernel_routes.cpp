#include "dataplane/host/kernel_routes.hpp"

#include <linux/if.h>
#include <linux/nexthop.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>

#include "dataplane/host/host_links.hpp"

namespace espalier::dataplane {
namespace {

// Of changes that wait to be read: BGP's whole table may come at once. What it cannot hold is read again.
constexpr int kReceiveBytes = 8 << 20;
constexpr int kReadsPerPoll = 64;  // of up to 32 KiB
constexpr uint32_t kLargestMetric = INT32_MAX;
constexpr unsigned kLinkFlags = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;

constexpr int kGroups[] = {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP, RTNLGRP_LINK,
                           RTNLGRP_IPV4_IFADDR};

}  // namespace

Result<KernelRoutes> KernelRoutes::open(const RouteImport& import) {
  KernelRoutes routes(import, mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK));
  mnl_socket* socket = routes.socket_.get();
  if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0)
    return fail("kernel routes: rtnetlink: {}", errno_text());
  int bytes = kReceiveBytes, on = 1;
  ::setsockopt(routes.wait_fd(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);  // a wish
  if (mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof on) != 0)
    return fail("kernel routes: the kernel is too old (NETLINK_GET_STRICT_CHK): {}", errno_text());
  for (int group : kGroups)
    if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return fail("kernel routes: rtnetlink group {}: {}", group, errno_text());
  return routes;
}

void KernelRoutes::set_interfaces(std::map<int, InterfaceIndex> interfaces) {
  if (interfaces == interfaces_) return;
  interfaces_ = std::move(interfaces);
  changed_ = true;
}

// --- Reading everything ---

void KernelRoutes::start(Dump dump) {
  dump_ = dump;
  NetlinkRequest request(dump == Dump::kObjects ? RTM_GETNEXTHOP : RTM_GETROUTE, NLM_F_DUMP);
  request.header()->nlmsg_seq = ++sequence_;
  if (dump == Dump::kObjects) {
    request.body<nhmsg>();
  } else {
    request.body<rtmsg>().rtm_family = dump == Dump::kIpv4Routes ? AF_INET : AF_INET6;
    request.put(RTA_TABLE, import_.table);
  }
  if (mnl_socket_sendto(socket_.get(), request.header(), request.header()->nlmsg_len) >= 0) return;
  dump_ = Dump::kNone;
  incomplete_ = true;
}

void KernelRoutes::start_over() {
  incomplete_ = read_again_ = false;
  routes_.clear();
  objects_.clear();
  start(Dump::kObjects);
}

// What is asked for may not exist: the table, or next hop objects in kernels before 5.3.
void KernelRoutes::end_of_dump(int error) {
  if (error != 0 && error != ENOENT && error != EOPNOTSUPP) {
    spdlog::warn("subsystem=net kernel routes cannot be read: {}", ::strerrordesc_np(error));
    incomplete_ = true;
  }
  switch (dump_) {
    case Dump::kObjects:
      return start(Dump::kIpv4Routes);
    case Dump::kIpv4Routes:
      return start(Dump::kIpv6Routes);
    case Dump::kIpv6Routes:
    case Dump::kNone:
      dump_ = Dump::kNone;
      changed_ = true;
      return;
  }
}

// --- Messages ---

void KernelRoutes::take(const nlmsghdr& message) {
  if (message.nlmsg_flags & NLM_F_DUMP_INTR) incomplete_ = true;
  switch (message.nlmsg_type) {
    case NLMSG_DONE:
      if (is_of_dump(message)) end_of_dump(-*static_cast<const int*>(mnl_nlmsg_get_payload(&message)));
      break;
    case NLMSG_ERROR:
      if (is_of_dump(message))
        end_of_dump(-static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&message))->error);
      break;
    case RTM_NEWROUTE:
      take_route(message);
      break;
    case RTM_DELROUTE:
      take_removed_route(message);
      break;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
      take_object(message);
      break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
      take_link(message);
      break;
    case RTM_DELADDR:
      read_again_ = true;  // routes from this source go too; before Linux 6.7 without a word
      break;
  }
}

void KernelRoutes::take_route(const nlmsghdr& message) {
  auto parsed = parse_route(message);
  if (!parsed || parsed->table != import_.table) return;
  Entry entry{.route = std::move(parsed->route), .object_made = 0, .several = false};
  entry.object_made = made(entry.route.object);
  const auto [place, is_new] = routes_.try_emplace(parsed->key, entry);
  changed_ = true;
  if (is_new) return;
  // Of several the first is the one that the kernel uses; a dump has it first.
  const bool same = place->second.route == entry.route && place->second.object_made == entry.object_made;
  if (is_of_dump(message))
    place->second.several |= !same;
  else if ((message.nlmsg_flags & NLM_F_REPLACE) && !place->second.several)
    place->second = std::move(entry);
  else if (!same)
    read_again_ = true;
}

void KernelRoutes::take_removed_route(const nlmsghdr& message) {
  const auto parsed = parse_route(message);
  if (!parsed || parsed->table != import_.table) return;
  const auto place = routes_.find(parsed->key);
  if (place == routes_.end()) return;
  changed_ = true;
  if (place->second.several || place->second.route != parsed->route)
    read_again_ = true;
  else
    routes_.erase(place);
}

void KernelRoutes::take_object(const nlmsghdr& message) {
  const auto parsed = parse_next_hop(message);
  if (!parsed) return;
  changed_ = true;
  if (message.nlmsg_type == RTM_DELNEXTHOP) {
    objects_.erase(parsed->id);
    return;
  }
  const auto [place, is_new] = objects_.try_emplace(parsed->id);
  place->second.object = parsed->object;
  if (is_new) place->second.made = ++objects_made_;
}

// A link that goes down or loses its carrier takes routes and objects with it, silently.
void KernelRoutes::take_link(const nlmsghdr& message) {
  const auto& link = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
  if (link.ifi_family != AF_UNSPEC) return;  // IPv6's or a bridge's view of it
  const unsigned flags = message.nlmsg_type == RTM_DELLINK ? 0 : link.ifi_flags & kLinkFlags;
  const auto [place, is_new] = link_flags_.try_emplace(link.ifi_index, flags);
  if (is_new || place->second != flags) read_again_ = true;
  place->second = flags;
  if (message.nlmsg_type == RTM_DELLINK) link_flags_.erase(place);
}

void KernelRoutes::receive() {
  alignas(nlmsghdr) std::array<char, 32768> room;  // the kernel's largest datagram
  for (int i = 0; i < kReadsPerPoll; ++i) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), room.data(), room.size());
    if (length < 0 && errno == EAGAIN) return;
    if (length < 0) incomplete_ = true;  // ENOBUFS: messages were lost
    int left = static_cast<int>(length);
    for (auto* m = reinterpret_cast<nlmsghdr*>(room.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left))
      take(*m);
  }
}

std::optional<std::vector<RouteRecord>> KernelRoutes::poll(uint64_t now_ms) {
  receive();
  if (now_ms < next_ms_ || dump_ != Dump::kNone) return {};
  // After a reading there is a list before the next one: programs that never rest shall not prevent it.
  const bool read = incomplete_ || (read_again_ && !read_just_now_);
  if (!read && !changed_) return {};
  next_ms_ = now_ms + kIntervalMs;
  read_just_now_ = read;
  if (!read) return make_list();
  start_over();
  return {};
}

// --- The list ---

// When the object was made that now has this number; 0: there is none.
uint64_t KernelRoutes::made(uint32_t object) const {
  const auto found = objects_.find(object);
  return found == objects_.end() ? 0 : found->second.made;
}

void KernelRoutes::add(const KernelNextHop& hop, RouteRecord& record) const {
  const auto interface = interfaces_.find(hop.link);
  if (interface == interfaces_.end() || record.next_hop_count == RouteRecord::kMaxNextHops) return;
  if (!hop.via.is_unspecified() && hop.via.is_v4() != record.prefix.is_v4()) return;
  record.next_hops[record.next_hop_count++] = {.via = hop.via, .interface = interface->second};
}

// False: there is nothing of it that Espalier could use.
bool KernelRoutes::fill_in(const RouteKey& key, const KernelRoute& route, RouteRecord& record) const {
  record.kind = route.kind;
  record.imported = 1;
  record.prefix = key.prefix;
  record.metric = std::min(key.metric, kLargestMetric);
  if (route.kind != RouteKind::kNextHop) return true;
  for (const KernelNextHop& hop : route.next_hops) add(hop, record);
  if (route.object == 0) return record.next_hop_count != 0;
  const NextHopObject& object = objects_.at(route.object).object;
  if (object.blackhole) {
    record.kind = RouteKind::kBlackhole;
    return true;
  }
  add(object.next_hop, record);
  for (const uint32_t member : object.members)
    if (const auto found = objects_.find(member); found != objects_.end())
      add(found->second.object.next_hop, record);
  return record.next_hop_count != 0;
}

// The object that the route came with is there no more.
bool KernelRoutes::is_stale(const Entry& entry) const {
  const uint32_t object = entry.route.object;
  return object != 0 && (entry.object_made == 0 || entry.object_made != made(object));
}

std::vector<RouteRecord> KernelRoutes::make_list() {
  changed_ = false;
  std::vector<RouteRecord> list;
  list.reserve(routes_.size());
  for (auto place = routes_.begin(); place != routes_.end();) {
    const auto& [key, entry] = *place;
    if (is_stale(entry)) {
      place = routes_.erase(place);
      continue;
    }
    RouteRecord record;
    if (import_.has(entry.route.protocol) && fill_in(key, entry.route, record)) {
      record.index = RouteIndex{static_cast<uint32_t>(list.size())};
      list.push_back(record);
    }
    ++place;
  }
  return list;
}

std::vector<RouteRecord> moved_routes(std::span<const RouteRecord> imported,
                                      std::span<const InterfaceRecord> before,
                                      std::span<const InterfaceRecord> now) {
  std::map<InterfaceIndex, InterfaceIndex> moved;
  for (const InterfaceRecord& old : before)
    for (const InterfaceRecord& same : now)
      if (old.name.view() == same.name.view()) moved.emplace(old.index, same.index);
  std::vector<RouteRecord> kept;
  for (const RouteRecord& route : imported) {
    RouteRecord next = route;
    next.next_hop_count = 0;
    for (const NextHop& hop : std::span(route.next_hops, route.next_hop_count))
      if (const auto place = moved.find(hop.interface); place != moved.end())
        next.next_hops[next.next_hop_count++] = {.via = hop.via, .interface = place->second};
    if (route.kind == RouteKind::kNextHop && next.next_hop_count == 0) continue;
    next.index = RouteIndex{static_cast<uint32_t>(kept.size())};
    kept.push_back(next);
  }
  return kept;
}

}  // namespace espalier::dataplane

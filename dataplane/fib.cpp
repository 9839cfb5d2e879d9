#include "dataplane/fib.hpp"

#include <nmmintrin.h>

namespace espalier::dataplane {
namespace {

uint64_t hash_words(const void* bytes, size_t count) {
  uint64_t hash = 0;
  for (size_t i = 0; i < count; ++i) {
    uint64_t word;
    std::memcpy(&word, static_cast<const uint8_t*>(bytes) + i * sizeof word, sizeof word);
    hash = _mm_crc32_u64(hash, word);
  }
  return hash;
}

// How much a flow wants a next hop. It takes the one that it wants most: when another one comes or goes, only
// the flows that it gains or leaves move (rendezvous hashing).
uint64_t weight(const NextHop& hop, uint32_t flow_hash) {
  const uint64_t id = hash_words(&hop.via, 2) ^ hop.interface.value;
  uint64_t x = (id << 32 | flow_hash) * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  return x ^ x >> 32;
}

RouteResult result_of(const RouteEntry& entry, InterfaceIndex interface, IpAddress next_hop) {
  return {entry.verdict, interface, entry.route, entry.metric, next_hop};
}

}  // namespace

uint32_t flow_hash(const Tuple& tuple) {
  static_assert(sizeof tuple % sizeof(uint64_t) == 0);
  return static_cast<uint32_t>(hash_words(&tuple, sizeof tuple / sizeof(uint64_t)));
}

bool Fib::is_up(InterfaceIndex interface) const {
  const Gate& gate = gates_[interface.value];
  return gate.enabled && gate.link->up.load(std::memory_order_relaxed);
}

bool Fib::fails_closed(const RouteEntry& entry) const {
  return std::ranges::any_of(next_hops(entry),
                             [&](const NextHop& hop) { return gates_[hop.interface.value].fails_closed; });
}

bool Fib::is_usable(const RouteEntry& entry) const {
  return entry.verdict != RouteVerdict::kForward ||
         std::ranges::any_of(next_hops(entry), [&](const NextHop& hop) { return is_up(hop.interface); });
}

// The next hop that the flow wants most among those that `may_use` is true of; null: there is none.
template <class MayUse>
const NextHop* Fib::pick_of(const RouteEntry& entry, uint32_t flow_hash, MayUse may_use) const {
  const NextHop* best = nullptr;
  uint64_t best_weight = 0;
  for (const NextHop& hop : next_hops(entry)) {
    if (!may_use(hop.interface)) continue;
    if (entry.next_hops == 1) return &hop;
    const uint64_t its = weight(hop, flow_hash);
    if (best != nullptr && its <= best_weight) continue;
    best = &hop;
    best_weight = its;
  }
  return best;
}

// Null: all links are down that the flow may take. What wants a tunnel that is down takes another tunnel, and
// never a next hop beside them in clear.
const NextHop* Fib::pick(const RouteEntry& entry, uint32_t flow_hash) const {
  const auto closed = [&](InterfaceIndex i) { return gates_[i.value].fails_closed; };
  const NextHop* wanted = pick_of(entry, flow_hash, [&](InterfaceIndex i) { return is_up(i) || closed(i); });
  if (wanted == nullptr || is_up(wanted->interface)) return wanted;
  return pick_of(entry, flow_hash, [&](InterfaceIndex i) { return is_up(i) && closed(i); });
}

template <class Visit>
void Fib::walk(IpAddress address, Visit visit) const {
  const auto walk_tree = [&](const auto& tree, auto value) {
    for (uint32_t i = tree.ranges.find(value); i != kNone32 && !visit(tree.nodes[i]);)
      i = tree.ranges.parent(i);
  };
  address.is_v4() ? walk_tree(ipv4_, address.v4().host()) : walk_tree(ipv6_, address.host());
}

// What to do when none of the entries of the holder's prefix is usable.
RouteResult Fib::hold(const RouteEntry& holder, IpAddress destination) const {
  RouteResult result = result_of(holder, next_hops(holder).front().interface, destination);
  if (fails_closed(holder)) result.verdict = RouteVerdict::kUnreachable;
  return result;
}

// False: this prefix has nothing to say about the destination at present.
bool Fib::ask(const Node& node, IpAddress destination, uint32_t flow_hash, RouteResult& result) const {
  bool lost_tunnel = false;
  for (const RouteEntry& entry : entries_of(node)) {
    if (entry.verdict != RouteVerdict::kForward) {
      result = result_of(entry, entry.owner, {});
      return true;
    }
    const bool closed = fails_closed(entry);
    if (lost_tunnel && !closed && entry.imported) continue;
    lost_tunnel |= closed;
    if (const NextHop* hop = pick(entry, flow_hash)) {
      result = result_of(entry, hop->interface, hop->via.is_unspecified() ? destination : hop->via);
      return true;
    }
  }
  if (node.holder == kNone32) return false;
  result = hold(entries_[node.holder], destination);
  return true;
}

RouteResult Fib::lookup(IpAddress destination, uint32_t flow_hash) const {
  RouteResult result;
  if (!destination.is_link_local())
    walk(destination, [&](const Node& node) { return ask(node, destination, flow_hash, result); });
  return result;
}

RouteResult Fib::lookup_on_link(IpAddress destination, InterfaceIndex on) const {
  if (on.value >= gates_.size() || !gates_[on.value].has_ipv6) return {};
  const auto& own = gates_[on.value].link_local;
  const bool is_own = std::ranges::find(own, destination) != own.end();
  return {.verdict = is_own ? RouteVerdict::kLocal : RouteVerdict::kForward,
          .interface = on,
          .next_hop = destination};
}

// A prefix counts by its best route, up or down; only one that says nothing at present leads on to wider
// ones.
bool Fib::leads_into_tunnel(IpAddress source) const {
  bool leads = false;
  walk(source, [&](const Node& node) {
    const auto entries = entries_of(node);
    const auto used = std::ranges::find_if(entries, [&](const RouteEntry& e) { return is_usable(e); });
    leads = fails_closed(entries.front()) || (used != entries.end() && fails_closed(*used));
    return leads || used != entries.end() || node.holder != kNone32;
  });
  return leads;
}

}  // namespace espalier::dataplane

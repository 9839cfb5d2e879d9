// From a name to the ways that lead to it: addresses by espalierd, which has a resolver, and for each the
// gateway's address that packets to it would leave with, by the dataplane, which has the routes. Owner:
// espalier-ike's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "ike/core.hpp"

namespace espalier::ike {

class NameResolution {
 public:
  struct Services {
    // Asks espalierd for the addresses of a name; answered by on_addresses() or on_failure() with the id.
    std::function<Result<void>(uint64_t id, const std::string& name)> ask_name;
    std::function<void(IpAddress remote, std::function<void(IpAddress local)>)> ask_way;
    std::function<void(const Resolved&)> on_resolved;
  };
  explicit NameResolution(Services services) : services_(std::move(services)) {}

  // Addresses that IKE may use; empty: all.
  void allow(std::vector<IpAddress> local) { allowed_ = {local.begin(), local.end()}; }
  void resolve(const Resolve& wanted);
  void on_addresses(uint64_t id, const std::vector<IpAddress>& addresses);
  void on_failure(uint64_t id, const std::string& why);
  // espalierd went away: nobody answers any more.
  void fail_all(const std::string& why);

 private:
  static constexpr size_t kMostAddresses = 16;  // of one name
  struct Search {
    Resolved result;
    size_t unanswered = 0;
  };
  void look_for_ways(const Resolve& wanted, std::vector<IpAddress> addresses);
  void take_way(Search& search, IpAddress remote, IpAddress local);

  Services services_;
  std::set<IpAddress> allowed_;
  std::map<uint64_t, Resolve> asked_;  // of espalierd
  uint64_t last_id_ = 0;
};

// "192.0.2.1", "2001:db8::1"; nothing: a name.
std::optional<IpAddress> address_in_text(const std::string& text);

}  // namespace espalier::ike

#include "ike/daemon/name_resolution.hpp"

#include <arpa/inet.h>

#include "control/shared/text.hpp"

namespace espalier::ike {

std::optional<IpAddress> address_in_text(const std::string& text) {
  in_addr v4{};
  IpAddress address;
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return Ipv4Address{be32::from_raw(v4.s_addr)};
  if (::inet_pton(AF_INET6, text.c_str(), &address) == 1) return address;
  return std::nullopt;
}

void NameResolution::resolve(const Resolve& wanted) {
  if (const auto address = address_in_text(wanted.name)) return look_for_ways(wanted, {*address});
  const uint64_t id = ++last_id_;
  asked_.emplace(id, wanted);
  if (const auto sent = services_.ask_name(id, wanted.name); !sent) on_failure(id, sent.error().text);
}

void NameResolution::on_addresses(uint64_t id, const std::vector<IpAddress>& addresses) {
  if (addresses.empty()) return on_failure(id, "the name has no address");
  const auto found = asked_.extract(id);
  if (!found.empty()) look_for_ways(found.mapped(), addresses);
}

void NameResolution::on_failure(uint64_t id, const std::string& why) {
  const auto found = asked_.extract(id);
  if (found.empty()) return;
  services_.on_resolved({found.mapped().connection, found.mapped().name, {}, why});
}

void NameResolution::fail_all(const std::string& why) {
  while (!asked_.empty()) on_failure(asked_.begin()->first, why);
}

void NameResolution::look_for_ways(const Resolve& wanted, std::vector<IpAddress> addresses) {
  if (addresses.size() > kMostAddresses) addresses.resize(kMostAddresses);
  const auto search = std::make_shared<Search>();
  search->result.connection = wanted.connection;
  search->result.name = wanted.name;
  search->unanswered = addresses.size();
  for (const IpAddress& remote : addresses)
    services_.ask_way(remote, [this, search, remote](IpAddress local) { take_way(*search, remote, local); });
}

void NameResolution::take_way(Search& search, IpAddress remote, IpAddress local) {
  const bool reachable = !local.is_unspecified();
  if (reachable && (allowed_.empty() || allowed_.contains(local)))
    search.result.ways.push_back({local, remote});
  else if (reachable)
    search.result.failure =
        fmt::format("packets to {} leave with {}, which is of no interface of vpn.ipsec.interface",
                    to_text(remote), to_text(local));
  else
    search.result.failure = fmt::format("there is no route to {}", to_text(remote));
  if (--search.unanswered != 0) return;
  if (!search.result.ways.empty()) search.result.failure.clear();
  services_.on_resolved(search.result);
}

}  // namespace espalier::ike

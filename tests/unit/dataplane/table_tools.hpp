// Addresses, prefixes and interfaces for tests of the tables, as people write them.
#pragma once

#include <arpa/inet.h>

#include <stdexcept>
#include <string>

#include "dataplane/interfaces.hpp"

namespace espalier::dataplane {

inline IpAddress ip(const std::string& text) {
  Ipv4Address v4;
  IpAddress v6;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return v4;
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) return v6;
  throw std::invalid_argument(text);
}

inline IpPrefix prefix(const std::string& text) {
  const size_t slash = text.find('/');
  return IpPrefix::of(ip(text.substr(0, slash)), static_cast<uint8_t>(std::stoi(text.substr(slash + 1))));
}

// The links of interface(): up unless a test says otherwise; it puts them up again.
inline LinkState& link_of(uint16_t index) {
  static LinkState links[256];
  [[maybe_unused]] static const bool up = [] {
    for (LinkState& link : links) link.up = true;
    return true;
  }();
  return links[index];
}

inline Interface interface(uint16_t index, const std::vector<IpPrefix>& addresses, uint16_t port = kNoPort,
                           uint16_t vlan = 0) {
  Interface i;
  i.index = InterfaceIndex{index};
  i.port = port;
  i.vlan_id = vlan;
  i.addresses.assign(addresses.begin(), addresses.end());
  i.link = &link_of(index);
  return i;
}

}  // namespace espalier::dataplane

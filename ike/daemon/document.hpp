// The configuration as espalierd sends it (control/daemon/ike_material.hpp): a JSON text, and beside it one
// block of bytes that holds everything secret and every file, which the text names by {"at": offset, "bytes":
// length}.
//
// Whatever the bytes are, the outcome is a Configuration or an error with its path,
// "connections[2].suites[0].group". Keys that are not known are errors too: the two programs are of one
// version. What people wrote is another matter: a peer whose identity, key or certificate cannot be read is
// left out, and the others are not. docs/ike-socket.md lists the keys.
#pragma once

#include "control/shared/error.hpp"
#include "ike/configuration.hpp"
#include "ike/daemon/log.hpp"

namespace espalier::ike {

struct Document {
  Configuration configuration;
  std::vector<IpAddress> local_addresses;  // IKE uses no others; empty: all
  uint32_t log_level = 0;
  std::vector<Subsystem> log_subsystems;
  // Connections and pre-shared keys that are not in `configuration`, by name, with the reason.
  std::map<std::string, std::string> left_out, keys_left_out;
};

Result<Document> parse_document(std::string_view text, std::span<const uint8_t> secrets);

}  // namespace espalier::ike

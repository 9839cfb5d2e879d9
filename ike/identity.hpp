// Identities (RFC 7296 section 3.5) in the text of the configuration: "192.0.2.1", "2001:db8::1",
// "gw.example.org" or
// "@gw.example.org" (FQDN), "admin@example.org" (e-mail), "C=CH, O=Example, CN=gw" (DN), "keyid:0x..." or
// "keyid:TEXT" or "@#6b6579" (key id), "%any"; with strongSwan's prefixes "fqdn:", "email:", "ipv4:",
// "asn1dn:" too.
#pragma once

#include "control/shared/error.hpp"
#include "ike/wire/payload.hpp"

namespace espalier::ike {

// std::nullopt: "%any" or empty. Errors say what the text could have been.
Result<std::optional<Identity>> parse_identity(std::string_view text);
// For people, also of what a peer made up: nothing but printable ASCII. Of identities that a configuration
// can name, parse_identity() reads it back.
std::string to_text(const Identity& identity);
Identity identity_of(IpAddress address);
// Whether `configured` (nothing: any) accepts `seen`. FQDN and e-mail without case, with "*.example.org" and
// "*@example.org" in `configured`; DN attribute by attribute, "*" matching any value.
bool accepts(const std::optional<Identity>& configured, const Identity& seen);
// How well it does, for choosing among several: 0 not at all, 1 by %any, 2 with wildcards, 3 exactly.
int quality(const std::optional<Identity>& configured, const Identity& seen);
// Equal for a configured identity and those that it accepts exactly, for tables of many. Nothing: only
// quality() can tell, because it is any, a DN, or has wildcards.
std::optional<std::string> exact_key(const std::optional<Identity>& identity);

}  // namespace espalier::ike

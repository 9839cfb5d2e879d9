// Proposals: what we offer and accept for IKE and for ESP, choosing among the peer's (RFC 7296 sections 2.7
// and 3.3), and how to say it to people.
//
// A proposal of the configuration names one cipher, one hash where the cipher wants one, one PRF, one group;
// a list of them in order of preference. On the wire each becomes a proposal of its own. With an AEAD no
// INTEG transform is offered, and the peer's NONE is accepted (RFC 5282 section 8).
#pragma once

#include "control/shared/records.hpp"
#include "crypto/esp_suite.hpp"
#include "crypto/prf.hpp"
#include "ike/wire/payload.hpp"

namespace espalier::ike {

struct IkeSuite {
  crypto::EspSuite protection;
  crypto::Prf prf = crypto::Prf::kHmacSha256;
  uint16_t group = 19;
  friend bool operator==(const IkeSuite&, const IkeSuite&) = default;
};

enum class EsnChoice : uint8_t { kNo, kYes, kBoth };
struct EspSuite {
  EspAlgorithm algorithm;  // of records.hpp, as the dataplane has it
  uint16_t group = 0;      // PFS; 0: none
  EsnChoice esn = EsnChoice::kBoth;
  friend bool operator==(const EspSuite&, const EspSuite&) = default;
};

// What was agreed on.
struct ChosenIke {
  IkeSuite suite;
  uint64_t peer_spi = 0;  // of a rekey, else 0
  Proposal reply;         // for the SA payload of the response, without SPI
};
struct ChosenEsp {
  EspSuite suite;  // esn is kNo or kYes
  Spi peer_spi;
  Proposal reply;  // without our SPI
};

// `spi`: of a rekey, else empty.
SecurityAssociation offer(std::span<const IkeSuite> suites, ByteView spi = {});
// `with_group`: false in IKE_AUTH, where the first child takes no KE (section 1.2).
SecurityAssociation offer(std::span<const EspSuite> suites, Spi our_spi, bool with_group);

// Our first suite that one of the peer's proposals allows; nothing: none. A proposal with a transform type
// that we do not know is not for us (section 3.3.6), one without ESN transforms means none. Without
// `with_group` the peer's KE transforms are not looked at: they are no business of IKE_AUTH, and some peers
// send them there. A proposal whose SPI cannot be one (RFC 4303 section 2.1: 1..255 are reserved) is passed
// over.
std::optional<ChosenIke> choose(std::span<const IkeSuite> ours, const SecurityAssociation& theirs);
std::optional<ChosenEsp> choose(std::span<const EspSuite> ours, const SecurityAssociation& theirs,
                                bool with_group);
// A response must be exactly one of the proposals that were sent, with its number, one transform of each
// type.
std::optional<ChosenIke> accept(std::span<const IkeSuite> offered, const SecurityAssociation& reply);
std::optional<ChosenEsp> accept(std::span<const EspSuite> offered, const SecurityAssociation& reply,
                                bool with_group);

// VyOS's names: "aes256gcm128/prfsha256/dh19", "aes256/sha256/dh14/esn|noesn"; of lists with commas. A peer's
// proposal may name several of a type ("aes256|aes128/sha256/dh14"), and what we do not know by its number
// ("encryption 3"). Long ones are cut, with "...".
std::string to_text(const IkeSuite& suite);
std::string to_text(const EspSuite& suite);
std::string to_text(const Proposal& proposal);
std::string to_text(std::span<const IkeSuite> suites);
std::string to_text(std::span<const EspSuite> suites);
std::string to_text(const SecurityAssociation& sa);
// "encryption: we aes256gcm128, they aes128": of the pair of proposals that agrees in most, what is first
// different. Empty: nothing is.
std::string first_difference(std::span<const IkeSuite> ours, const SecurityAssociation& theirs);
std::string first_difference(std::span<const EspSuite> ours, const SecurityAssociation& theirs,
                             bool with_group);

}  // namespace espalier::ike

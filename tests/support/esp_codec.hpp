// ESP with AES-GCM (RFC 4303, RFC 4106) by OpenSSL EVP: what the tests seal and open packets with.
//
// Independent of crypto/ (IPsec-MB) and of the dataplane's header handling, so that a packet that both sides
// agree on was read twice. Sizes: SPI and sequence number 8 bytes, IV 8, ICV 16.
#pragma once

#include <map>
#include <optional>

#include "tests/support/bytes.hpp"

namespace espalier::test {

struct EspKey {
  uint32_t spi = 0;
  Bytes key;  // 16, 24 or 32 bytes and the 4-byte salt behind them, as `ip xfrm` writes it
  bool esn =
      false;  // the high half of the sequence number is authenticated, not sent (RFC 4303 section 2.2.1)
};
using KeyRing = std::map<uint32_t, EspKey>;  // by SPI

struct OpenedEsp {
  uint32_t sequence = 0;
  uint64_t iv = 0;
  Bytes inner;    // without padding
  Bytes padding;  // must be 1, 2, 3 ... (RFC 4303 section 2.4)
  uint8_t next_header = 0;
};

struct SealOptions {
  std::optional<uint64_t> iv;    // default: the sequence number
  std::optional<Bytes> padding;  // default: the least that aligns to 4 bytes, 1, 2, 3 ...
  uint8_t next_header = kProtoIpip;
};

// The ESP packet from the SPI to the ICV. With ESN the high half of `sequence` is authenticated.
Bytes seal_esp(const EspKey& key, uint64_t sequence, ByteView inner, const SealOptions& options = {});

// Opens `packet` (SPI to ICV); nothing if it is too short or the ICV or the padding's length is wrong.
// `sequence_high` counts with ESN only.
std::optional<OpenedEsp> open_esp(const EspKey& key, ByteView packet, uint32_t sequence_high = 0);

}  // namespace espalier::test

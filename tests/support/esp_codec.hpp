// ESP by OpenSSL EVP (RFC 4303): what the tests seal and open packets with.
//
// Independent of crypto/ (IPsec-MB) and of the dataplane's header handling, so that a packet that both sides
// agree on was read twice. All suites of Espalier: AES-GCM (RFC 4106), ChaCha20-Poly1305 (RFC 7634), AES-CBC
// (RFC 3602) and NULL (RFC 2410), these two with HMAC (RFC 2404, RFC 4868).
#pragma once

#include <map>
#include <optional>

#include "tests/support/bytes.hpp"

namespace espalier::test {

enum class EspCodec : uint8_t { kAesGcm, kChaCha20Poly1305, kAesCbc, kNull };
enum class EspHash : uint8_t { kNone, kSha1, kSha256, kSha384, kSha512 };

struct EspKey {
  uint32_t spi = 0;
  Bytes key;  // AEAD: with the 4-byte salt behind it, as `ip xfrm` writes it
  bool esn =
      false;  // the high half of the sequence number is authenticated, not sent (RFC 4303 section 2.2.1)
  EspCodec codec = EspCodec::kAesGcm;
  size_t icv_bytes = 16;
  EspHash hash = EspHash::kNone;  // of kAesCbc and kNull
  Bytes hash_key = {};
  uint64_t last_sequence = 0;  // used before the test: where to look for the high half
  // What no ICV proves right is taken as it was before sealing: of a rehearsal, which encrypts nothing. Its
  // IV stands for one that nobody else has.
  bool may_be_unsealed = false;
};
using KeyRing = std::map<uint32_t, EspKey>;  // by SPI

struct OpenedEsp {
  uint64_t sequence = 0;  // with the high half that it was opened with
  Bytes iv;
  Bytes inner;    // without padding
  Bytes padding;  // must be 1, 2, 3 ... (RFC 4303 section 2.4)
  uint8_t next_header = 0;
};

struct SealOptions {
  std::optional<Bytes> iv;       // default: the sequence number; 8 bytes with AEAD, 16 with CBC
  std::optional<Bytes> padding;  // default: the least that aligns to 4 bytes (CBC: 16), 1, 2, 3 ...
  uint8_t next_header = kProtoIpip;
};

// Explicit IV on the wire: 8 bytes with AEAD, 16 with AES-CBC, none with NULL.
size_t iv_bytes(const EspKey& key);

// The ESP packet from the SPI to the ICV. With ESN the high half of `sequence` is authenticated. Throws
// std::invalid_argument for keys of a length that the suite does not have.
Bytes seal_esp(const EspKey& key, uint64_t sequence, ByteView inner, const SealOptions& options = {});

// Opens `packet` (SPI to ICV); nothing if it is too short or the ICV or the padding's length is wrong.
// `sequence_high` counts with ESN only.
std::optional<OpenedEsp> open_esp(const EspKey& key, ByteView packet, uint32_t sequence_high = 0);
// The same without knowing the high half: with ESN the first few from the key's last_sequence on are tried.
std::optional<OpenedEsp> open_esp_of_any_epoch(const EspKey& key, ByteView packet);

}  // namespace espalier::test

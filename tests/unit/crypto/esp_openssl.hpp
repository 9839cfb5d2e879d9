// ESP packets sealed by OpenSSL EVP, which shares nothing with IPsec-MB, and a place for packets where a byte
// read or written too far is a fault even when assembler does it.
#pragma once

#include <cstdint>
#include <vector>

#include "crypto/esp_transform.hpp"

namespace espalier::crypto::test {

using Bytes = std::vector<uint8_t>;

struct Sa {
  EspSuite suite;
  bool esn = false;
  Bytes key, salt, auth_key;
};

// The whole packet from the ESP header on. `iv`: the explicit one, as on the wire; `sequence`: 64 bits, of
// which the header shows the lower half. Throws when OpenSSL fails.
Bytes seal_by_openssl(const Sa& sa, uint32_t spi, uint64_t sequence, const Bytes& iv, const Bytes& plaintext);

// A page with a fault behind it. Packets lie at its end. Mappings are kept for the next one.
class GuardedPage {
 public:
  GuardedPage();
  GuardedPage(GuardedPage&& other) noexcept : page_(other.page_) { other.page_ = nullptr; }
  GuardedPage& operator=(GuardedPage&&) = delete;
  ~GuardedPage();
  // Copies `packet` (no more than a page) and returns where it begins.
  uint8_t* place(const Bytes& packet);

 private:
  uint8_t* page_;
};

}  // namespace espalier::crypto::test

// A peer whose every message the test makes: it knows the keys like a true one, and may lie, repeat itself
// and break the rules. Only the codec and the keys are the product's; it has no states, timers or checks.
#pragma once

#include "crypto/key_exchange.hpp"
#include "ike/core.hpp"
#include "ike/sa/authentication.hpp"
#include "ike/sa/keys.hpp"
#include "ike/wire/protection.hpp"

namespace espalier::ike::test {

inline const IkeSuite kRawSuite{.protection = {crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16},
                                .prf = crypto::Prf::kHmacSha256,
                                .group = 31};
inline const EspSuite kRawEsp{.algorithm = {EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}};

class RawPeer {
 public:
  // The initiator of an IKE SA with SPI `spi`, as `identity`, by pre-shared key.
  RawPeer(uint64_t spi, std::string_view identity, std::string_view key);

  // --- IKE_SA_INIT ---
  Message init_request() const;
  Bytes init_bytes(const Bytes& cookie = {});  // and remembers them for AUTH
  void take_init_response(ByteView datagram);  // throws what is no such response

  // --- Encrypted ---
  Bytes auth_request();  // message 1, with a child 10.1.0.0/24 === 10.0.0.0/24
  std::vector<Payload> auth_payloads();
  Bytes request(ExchangeType exchange, std::vector<Payload> payloads, uint32_t message_id);
  Bytes response(ExchangeType exchange, std::vector<Payload> payloads, uint32_t message_id);
  // Any bytes as the chain of payloads within SK, `first` the type of the first.
  Bytes request_of(ExchangeType exchange, uint8_t first, ByteView chain, uint32_t message_id,
                   bool is_response = false);
  Message open(ByteView datagram) const;  // throws

  Header header(ExchangeType exchange, uint32_t message_id, bool is_response = false) const;
  uint64_t initiator_spi = 0, responder_spi = 0;
  Identity identity;
  Bytes nonce = Bytes(32, 0x11), peer_nonce;
  std::optional<crypto::KeyExchange> key_exchange;

 private:
  crypto::Secret key_;
  Bytes first_message_;
  IkeKeys keys_;
  std::optional<Sealer> sealer_;
  std::optional<crypto::IkeCipher> opener_;
};

std::vector<TrafficSelector> selectors_of(std::string_view prefix);

}  // namespace espalier::ike::test

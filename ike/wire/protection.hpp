// Encrypted messages: the SK payload (RFC 7296 section 3.14), and SKF, its fragments (RFC 7383).
#pragma once

#include <map>

#include "crypto/ike_cipher.hpp"
#include "ike/wire/codec.hpp"

namespace espalier::ike {

// One direction's cipher with the counter of its AEAD's IV. The counter is part of the IKE SA's saved state: after a
// restart it goes on behind every number that may have been used.
struct Sealer {
  crypto::IkeCipher cipher;
  uint64_t next_counter = 1;
};

// The datagrams of a message: one, or as many fragments as let none be longer than `fragment_bytes` (of the UDP
// payload; 0: never fragment). Errors: OpenSSL's, or more than 65535 fragments.
std::expected<std::vector<Bytes>, std::string> seal(const Message& message, size_t fragment_bytes, Sealer& sealer);

// Why an encrypted message cannot be read. What is not authentic is dropped without an answer (section 2.4 and 2.21).
struct OpenError {
  bool authentic = false;
  ParseError parse;  // of authentic ones
};
// Opens a datagram whose first payload is SK. Payloads before it are not allowed.
std::expected<Message, OpenError> open(const Envelope& envelope, ByteView datagram, crypto::IkeCipher& cipher);

// Puts SKF fragments of one message together (RFC 7383 section 2.6). Holds at most one message's, bounded by
// kMaxMessageBytes; a higher total starts anew, as section 2.6 says for path MTU discovery.
class FragmentBuffer {
 public:
  // The message when it is complete, nothing while fragments are missing. Each fragment is authenticated before it is
  // kept.
  std::expected<std::optional<Message>, OpenError> add(const Envelope& envelope, ByteView datagram,
                                                       crypto::IkeCipher& cipher);
  void clear();

 private:
  Header header_{};
  uint16_t total_ = 0;
  uint8_t first_payload_ = 0;
  size_t bytes_ = 0;
  std::map<uint16_t, Bytes> parts_;
};

}  // namespace espalier::ike

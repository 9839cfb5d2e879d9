// Encrypted messages: the SK payload (RFC 7296 section 3.14), and SKF, its fragments (RFC 7383).
#pragma once

#include <map>

#include "crypto/ike_cipher.hpp"
#include "ike/wire/codec.hpp"

namespace espalier::ike {

// One direction's cipher with the counter of its AEAD's IV. The counter is part of the IKE SA's saved state:
// after a restart it goes on behind every number that may have been used.
struct Sealer {
  crypto::IkeCipher cipher;
  uint64_t next_counter = 1;
};

// The datagrams of a message: one, or as many fragments as let none be longer than `fragment_bytes` (of the
// UDP payload; 0: never fragment). Every datagram takes one number of the sealer's counter. Errors:
// OpenSSL's, a message that UDP cannot carry, or more than kMaxFragments of them.
std::expected<std::vector<Bytes>, std::string> seal(const Message& message, size_t fragment_bytes,
                                                    Sealer& sealer);

// Why an encrypted message cannot be read. What is not authentic is dropped without an answer (section 2.4
// and 2.21).
struct OpenError {
  bool authentic = false;
  ParseError parse;  // of what is not authentic its text only, for people
};
// Opens a datagram whose first payload is SK. Payloads before it are not allowed.
std::expected<Message, OpenError> open(const Envelope& envelope, ByteView datagram,
                                       const crypto::IkeCipher& cipher);

// In a message of ours and of a peer's. Pieces of the largest message are then never smaller than 64 bytes.
inline constexpr uint16_t kMaxFragments = 1024;

// Puts SKF fragments of one message together (RFC 7383 section 2.6). Holds at most one message's, bounded by
// kMaxMessageBytes and kMaxFragments; a fragment of another message starts anew, and so does a higher total,
// as section 2.6 says for path MTU discovery. So there is one for requests and one for responses, which are
// given only what is in the window: an old fragment that an attacker sends again would push out what is held.
class FragmentBuffer {
 public:
  // The message when it is complete, nothing while fragments are missing or when this one is of no use (a
  // duplicate, of a lower total). Each fragment is authenticated before it is kept. An authentic error ends
  // the message.
  std::expected<std::optional<Message>, OpenError> add(const Envelope& envelope, ByteView datagram,
                                                       const crypto::IkeCipher& cipher);
  void clear();

 private:
  struct Fragment;
  static std::expected<Fragment, OpenError> read(const Envelope& envelope);
  bool is_of_use(const Header& header, const Fragment& fragment) const;
  void keep(const Header& header, const Fragment& fragment, Bytes plaintext);
  std::expected<std::optional<Message>, OpenError> finish();

  Header header_{};
  uint16_t total_ = 0;  // 0: holds nothing
  uint8_t first_payload_ = 0;
  size_t bytes_ = 0;
  std::map<uint16_t, Bytes> parts_;
};

}  // namespace espalier::ike

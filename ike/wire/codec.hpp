// Between messages and bytes: RFC 7296 section 3. Pure functions, fuzzed; a peer's bytes can make them fail,
// never anything else. What is allocated is bounded by the datagram: a few times its bytes at most.
#pragma once

#include <expected>

#include "ike/wire/payload.hpp"

namespace espalier::ike {

inline constexpr size_t kHeaderBytes = 28;
inline constexpr size_t kMaxMessageBytes = 65507;
// Of the request that anybody can send, and of which an IKE SA keeps all until it is authenticated. True ones
// are far smaller: they must not need fragments of IP.
inline constexpr size_t kMaxInitRequestBytes = 16384;
// Of a message. Nobody needs half as many; of empty ones a datagram can carry 16000, and as values each takes
// twenty times its bytes.
inline constexpr size_t kMaxPayloads = 256;

// Why a message cannot be read, as it is told to the peer (RFC 7296 section 2.21) and to people.
struct ParseError {
  NotifyType notify = NotifyType::kInvalidSyntax;
  uint8_t payload = 0;  // kUnsupportedCriticalPayload: its type; kInvalidMajorVersion: the version we speak
  std::string text;     // "TS payload: selector 2 is cut off"
};

// What can be known without keys.
struct Envelope {
  Header header;
  uint8_t first_payload = 0;
  ByteView body;  // behind the header
};
// Checks version, length against the datagram's and of a request of IKE_SA_INIT kMaxInitRequestBytes. A
// higher minor version is fine (section 2.5).
std::expected<Envelope, ParseError> parse_envelope(ByteView datagram);

// A chain of payloads, `first` being the type of the first. The chain ends with its last payload; bytes
// behind it are an error, and so are more than kMaxPayloads. Unknown payloads without the critical bit are
// left out, with it they are the error (section 2.5). An encrypted payload may not be in it.
std::expected<std::vector<Payload>, ParseError> parse_payloads(uint8_t first, ByteView bytes);

// Encodes a chain. Precondition: it fits in kMaxMessageBytes and its values in their fields.
struct Encoded {
  uint8_t first = 0;
  Bytes bytes;
};
Encoded encode_payloads(std::span<const Payload> payloads);
// Header and payloads in clear: IKE_SA_INIT, and errors outside of an IKE SA.
Bytes encode_clear(const Message& message);
void write_header(const Header& header, uint8_t first_payload, size_t message_bytes, Bytes& out);

}  // namespace espalier::ike

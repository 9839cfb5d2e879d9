#include "ike/wire/protection.hpp"

#include <fmt/format.h>

#include "control/shared/error.hpp"
#include "ike/wire/numbers.hpp"
#include "ike/wire/reader.hpp"
#include "ike/wire/writer.hpp"

namespace espalier::ike {
namespace {

constexpr size_t kFragmentFieldBytes = 4;  // RFC 7383 section 2.5: number and total

// --- Sealing ---

// Where a datagram stands among those of its message; total 0: the message is not in fragments.
struct Part {
  uint16_t number = 0, total = 0;
  bool is_fragment() const { return total != 0; }
};

// Before the IV.
size_t clear_bytes(bool fragment) {
  return kHeaderBytes + kPayloadHeaderBytes + (fragment ? kFragmentFieldBytes : 0);
}
// With padding and its length.
size_t padded_bytes(size_t plaintext_bytes, size_t block) {
  return (plaintext_bytes + 1 + block - 1) / block * block;
}
size_t datagram_bytes(size_t plaintext_bytes, bool fragment, const crypto::IkeCipher& cipher) {
  return clear_bytes(fragment) + cipher.iv_bytes() + padded_bytes(plaintext_bytes, cipher.block_bytes()) +
         cipher.icv_bytes();
}

// Plaintext of a fragment that fills its datagram; 0: not even a byte fits.
size_t fragment_room(size_t fragment_bytes, const crypto::IkeCipher& cipher) {
  const size_t around = clear_bytes(true) + cipher.iv_bytes() + cipher.icv_bytes();
  if (fragment_bytes < around + cipher.block_bytes()) return 0;
  const size_t padded = (fragment_bytes - around) / cipher.block_bytes() * cipher.block_bytes();
  return padded - 1;
}

// Padding is zeros: section 3.14 lets it be anything.
Bytes with_padding(ByteView plaintext, size_t block) {
  Bytes padded(plaintext.begin(), plaintext.end());
  padded.resize(padded_bytes(plaintext.size(), block));
  padded.back() = static_cast<uint8_t>(padded.size() - plaintext.size() - 1);
  return padded;
}

std::expected<Bytes, std::string> seal_datagram(const Header& header, uint8_t first_inner, Part part,
                                                ByteView plaintext, Sealer& sealer) {
  const PayloadType type = part.is_fragment() ? PayloadType::kEncryptedFragment : PayloadType::kEncrypted;
  const size_t length = datagram_bytes(plaintext.size(), part.is_fragment(), sealer.cipher);
  Bytes bytes;
  bytes.reserve(length);
  write_header(header, static_cast<uint8_t>(type), length, bytes);
  FieldWriter out(bytes);
  out.u8(first_inner);
  out.u8(0);
  out.u16(static_cast<uint16_t>(length - kHeaderBytes));
  if (part.is_fragment()) {
    out.u16(part.number);
    out.u16(part.total);
  }
  const Bytes padded = with_padding(plaintext, sealer.cipher.block_bytes());
  TRY(sealer.cipher.seal(Bytes(bytes), padded, sealer.next_counter++, bytes));
  return bytes;
}

// --- Opening ---

std::unexpected<OpenError> not_authentic(std::string text) {
  return std::unexpected(OpenError{false, {.text = std::move(text)}});
}
std::unexpected<OpenError> authentic_error(ParseError error) {
  return std::unexpected(OpenError{true, std::move(error)});
}

// The body of the encrypted payload that the message begins with. It has to be the last one (section 3.14).
std::expected<FieldReader, OpenError> encrypted_body(const Envelope& envelope, PayloadType type,
                                                     uint8_t& next) {
  if (envelope.first_payload != static_cast<uint8_t>(type))
    return not_authentic(fmt::format("the message does not begin with {}", name_of(type)));
  FieldReader in(envelope.body);
  next = in.u8();
  in.skip(1);
  const uint16_t length = in.u16();
  if (!in.ok() || length != envelope.body.size())
    return not_authentic(fmt::format("{} payload: does not fill the message", name_of(type)));
  return in;
}

// What is in `sealed`, which is the datagram's end, without its padding.
std::expected<Bytes, OpenError> open_bytes(ByteView datagram, ByteView sealed,
                                           const crypto::IkeCipher& cipher) {
  auto plaintext = cipher.open(datagram.first(datagram.size() - sealed.size()), sealed);
  if (!plaintext) return not_authentic(std::move(plaintext).error());
  const size_t padding = plaintext->empty() ? 0 : plaintext->back();
  if (padding + 1 > plaintext->size())
    return authentic_error({.text = "SK payload: more padding than bytes"});
  plaintext->resize(plaintext->size() - padding - 1);
  return *std::move(plaintext);
}

std::expected<Message, OpenError> message_of(const Header& header, uint8_t first, ByteView plaintext) {
  auto payloads = parse_payloads(first, plaintext);
  if (!payloads) return authentic_error(std::move(payloads).error());
  return Message{header, *std::move(payloads)};
}

}  // namespace

std::expected<std::vector<Bytes>, std::string> seal(const Message& message, size_t fragment_bytes,
                                                    Sealer& sealer) {
  const Encoded inner = encode_payloads(message.payloads);
  const size_t whole = datagram_bytes(inner.bytes.size(), false, sealer.cipher);
  if (whole > kMaxMessageBytes) return std::unexpected(fmt::format("a message of {} bytes", whole));
  std::vector<Bytes> datagrams;
  if (fragment_bytes == 0 || whole <= fragment_bytes) {
    datagrams.push_back(TRY(seal_datagram(message.header, inner.first, {}, inner.bytes, sealer)));
    return datagrams;
  }
  const size_t room = fragment_room(fragment_bytes, sealer.cipher);
  const size_t total = room == 0 ? kMaxFragments + 1u : (inner.bytes.size() + room - 1) / room;
  if (total > kMaxFragments)
    return std::unexpected(fmt::format("{} bytes in fragments of {}", whole, fragment_bytes));
  ByteView rest = inner.bytes;
  for (size_t number = 1; number <= total; ++number) {
    const ByteView piece = rest.first(std::min(room, rest.size()));
    rest = rest.subspan(piece.size());
    const Part part{static_cast<uint16_t>(number), static_cast<uint16_t>(total)};
    // Only the first tells the type of what is inside (RFC 7383 section 2.5).
    datagrams.push_back(
        TRY(seal_datagram(message.header, number == 1 ? inner.first : uint8_t{0}, part, piece, sealer)));
  }
  return datagrams;
}

std::expected<Message, OpenError> open(const Envelope& envelope, ByteView datagram,
                                       const crypto::IkeCipher& cipher) {
  uint8_t first = 0;
  FieldReader in = TRY(encrypted_body(envelope, PayloadType::kEncrypted, first));
  const Bytes plaintext = TRY(open_bytes(datagram, in.rest(), cipher));
  return message_of(envelope.header, first, plaintext);
}

// --- Fragments ---

struct FragmentBuffer::Fragment {
  uint8_t first_payload = 0;
  uint16_t number = 0, total = 0;
  ByteView sealed;
};

std::expected<FragmentBuffer::Fragment, OpenError> FragmentBuffer::read(const Envelope& envelope) {
  Fragment fragment;
  FieldReader in = TRY(encrypted_body(envelope, PayloadType::kEncryptedFragment, fragment.first_payload));
  fragment.number = in.u16();
  fragment.total = in.u16();
  fragment.sealed = in.rest();
  if (!in.ok()) return not_authentic("SKF payload: too short");
  if (fragment.number == 0 || fragment.number > fragment.total || fragment.total > kMaxFragments)
    return not_authentic(fmt::format("SKF payload: fragment {} of {}", fragment.number, fragment.total));
  return fragment;
}

bool FragmentBuffer::is_of_use(const Header& header, const Fragment& fragment) const {
  if (total_ == 0 || header != header_ || fragment.total > total_) return true;
  return fragment.total == total_ && !parts_.contains(fragment.number);
}

void FragmentBuffer::keep(const Header& header, const Fragment& fragment, Bytes plaintext) {
  if (header != header_ || fragment.total != total_) clear();
  header_ = header;
  total_ = fragment.total;
  if (fragment.number == 1) first_payload_ = fragment.first_payload;
  bytes_ += plaintext.size();
  parts_.emplace(fragment.number, std::move(plaintext));
}

std::expected<std::optional<Message>, OpenError> FragmentBuffer::add(const Envelope& envelope,
                                                                     ByteView datagram,
                                                                     const crypto::IkeCipher& cipher) {
  const Fragment fragment = TRY(read(envelope));
  if (!is_of_use(envelope.header, fragment)) return std::nullopt;
  auto plaintext = open_bytes(datagram, fragment.sealed, cipher);
  if (!plaintext) {
    if (plaintext.error().authentic) clear();
    return std::unexpected(std::move(plaintext).error());
  }
  keep(envelope.header, fragment, *std::move(plaintext));
  if (bytes_ > kMaxMessageBytes) {
    clear();
    return authentic_error({.text = "SKF payload: fragments of more than a message"});
  }
  return parts_.size() == total_ ? finish() : std::nullopt;
}

std::expected<std::optional<Message>, OpenError> FragmentBuffer::finish() {
  Bytes whole;
  whole.reserve(bytes_);
  for (const auto& [number, part] : parts_) whole.insert(whole.end(), part.begin(), part.end());
  auto message = message_of(header_, first_payload_, whole);
  clear();
  if (!message) return std::unexpected(std::move(message).error());
  return *std::move(message);
}

void FragmentBuffer::clear() {
  *this = FragmentBuffer();
}

}  // namespace espalier::ike

// Any bytes as IKEv2 datagrams: in clear, and, because no mutation gets past an ICV, as the inside of an
// encrypted message and of its fragments, sealed here with a fixed key. Beyond not crashing: an error has a
// text for people; what was read can be written, is read again as the same, and is written the same way a
// second time; and whatever proposals, selectors and identities are in it can be chosen from, narrowed and
// shown.
//
// The first byte says which: 0 a datagram; 1 the inside, behind the type of its first payload; 2 a sequence
// of fragments, each behind number, total and length (a byte each), the first fragment's first payload in
// front of all.
#include <cstdio>
#include <cstdlib>

#include "ike/identity.hpp"
#include "ike/selectors.hpp"
#include "ike/suite.hpp"
#include "ike/wire/protection.hpp"

namespace {

using namespace espalier;
using namespace espalier::ike;

// Not assert(): release builds have to notice, too.
void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "ike_message_fuzz: %s\n", what);
  std::abort();
}

void check_text(const std::string& text, bool may_be_empty = false) {
  require(may_be_empty || !text.empty(), "an empty text");
  for (const char c : text) require(c >= ' ' && c < 0x7f, "a text that is not printable");
}
void check(const ParseError& error) {
  check_text(error.text);
  check_text(name_of(error.notify));
}

// --- What is done with values ---

const std::vector<IkeSuite> kIkeSuites = {
    {{crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16}, crypto::Prf::kHmacSha256, 19},
    {{crypto::Cipher::kAesCbc, crypto::Integrity::kHmacSha256, 32, 16}, crypto::Prf::kHmacSha256, 14}};
const std::vector<ike::EspSuite> kEspSuites = {
    {{EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}, 19, EsnChoice::kBoth},
    {{EspCipher::kAesCbc, EspIntegrity::kHmacSha256, 32, 16}, 0, EsnChoice::kNo}};

void use(const SecurityAssociation& sa) {
  check_text(to_text(sa), true);
  check_text(first_difference(kIkeSuites, sa), true);
  check_text(first_difference(kEspSuites, sa, true), true);
  const auto ike_choice = choose(kIkeSuites, sa);
  if (!ike_choice && !accept(kIkeSuites, sa)) (void)first_difference(kIkeSuites, sa);
  if (ike_choice) require(ike_choice->reply.transforms.size() >= 3, "a reply without its transforms");
  for (const bool with_group : {false, true}) {
    (void)accept(kEspSuites, sa, with_group);
    if (const auto chosen = choose(kEspSuites, sa, with_group))
      require(chosen->peer_spi.value >= 256, "a reserved SPI was chosen");
  }
}

void use(const TrafficSelectors& ts) {
  const SelectorSide side{
      {IpPrefix::any(Family::kIpv6), IpPrefix::of(Ipv4Address::from_host(0x0a000000), 8)}, 0, {}};
  const std::vector<TrafficSelector> ours = to_wire(side);
  const std::vector<TrafficSelector> both = intersect(ours, ts.selectors);
  require(within(both, ours) && within(both, ts.selectors), "narrowing has widened");
  require(both.size() <= kMaxSelectors, "more selectors than a payload carries");
  check_text(to_text(both), true);
  for (const TrafficSelector& each : ts.selectors) {
    require(each.low <= each.high && each.low.family() == each.high.family(), "a selector that is none");
    for (const IpPrefix& prefix : prefixes_of(each))
      require(each.low <= prefix.network() && prefix.last() <= each.high, "a prefix outside of its range");
  }
}

void use(const IdPayload& id) {
  check_text(to_text(id.identity));
  require(quality(std::nullopt, id.identity) == 1, "%any does not accept");
  if (id.identity.type != IdType::kDistinguishedName)  // which need not be DER
    require(accepts(id.identity, id.identity), "an identity does not accept itself");
}

template <class Other>
void use(const Other&) {}

// --- Messages ---

void check(const Message& message) {
  for (const Payload& payload : message.payloads) std::visit([](const auto& each) { use(each); }, payload);
  const Encoded written = encode_payloads(message.payloads);
  const auto read = parse_payloads(written.first, written.bytes);
  require(read.has_value(), "what we write cannot be read");
  require(read->size() == message.payloads.size(), "what we write is something else");
  require(encode_payloads(*read).bytes == written.bytes, "what we write is not written again");
}

Sealer sealer() {
  const Bytes key(36, 0x5a);
  return {crypto::IkeCipher::create({crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16}, key, {})
              .value()};
}

void read_encrypted(const Envelope& envelope, ByteView datagram, FragmentBuffer& fragments) {
  static const Sealer keys = sealer();
  if (envelope.first_payload == static_cast<uint8_t>(PayloadType::kEncryptedFragment)) {
    const auto whole = fragments.add(envelope, datagram, keys.cipher);
    if (!whole) return check(whole.error().parse);
    if (*whole) check(**whole);
    return;
  }
  const auto message = open(envelope, datagram, keys.cipher);
  message ? check(*message) : check(message.error().parse);
}

void read_datagram(ByteView datagram, FragmentBuffer& fragments) {
  const auto envelope = parse_envelope(datagram);
  if (!envelope) return check(envelope.error());
  check_text(name_of(envelope->header.exchange));
  read_encrypted(*envelope, datagram, fragments);
  const auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  payloads ? check(Message{envelope->header, *payloads}) : check(payloads.error());
}

// --- Sealing what the fuzzer made ---

constexpr Header kHeader{.initiator_spi = 1, .responder_spi = 2, .exchange = ExchangeType::kIkeAuth};

// `fields` stand between the generic header and the IV: those of a fragment, or none. The plaintext has its
// padding.
Bytes sealed(PayloadType type, uint8_t first, ByteView fields, ByteView plaintext) {
  static Sealer keys = sealer();
  const size_t body = 4 + fields.size() + 8 + plaintext.size() + 16;
  Bytes bytes;
  write_header(kHeader, static_cast<uint8_t>(type), kHeaderBytes + body, bytes);
  for (const size_t byte : {size_t{first}, size_t{0}, body >> 8, body & 0xff})
    bytes.push_back(static_cast<uint8_t>(byte));
  bytes.insert(bytes.end(), fields.begin(), fields.end());
  require(keys.cipher.seal(Bytes(bytes), plaintext, keys.next_counter++, bytes).has_value(),
          "sealing failed");
  return bytes;
}

void seal_and_read(ByteView input) {
  if (input.empty() || input.size() > 60000) return;
  FragmentBuffer fragments;
  read_datagram(sealed(PayloadType::kEncrypted, input[0], {}, input.subspan(1)), fragments);
}

void seal_fragments_and_read(ByteView input) {
  if (input.empty()) return;
  const uint8_t first = input[0];
  FragmentBuffer fragments;
  for (input = input.subspan(1); input.size() >= 3;) {
    const uint8_t fields[] = {0, input[0], 0, input[1]};
    const size_t length = std::min<size_t>(input[2], input.size() - 3);
    Bytes plaintext(input.begin() + 3, input.begin() + 3 + static_cast<ptrdiff_t>(length));
    plaintext.push_back(0);
    read_datagram(sealed(PayloadType::kEncryptedFragment, first, fields, plaintext), fragments);
    input = input.subspan(3 + length);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteView input(data + 1, size - 1);
  FragmentBuffer fragments;
  switch (data[0]) {
    case 0:
      read_datagram(input, fragments);
      break;
    case 1:
      seal_and_read(input);
      break;
    case 2:
      seal_fragments_and_read(input);
      break;
  }
  return 0;
}

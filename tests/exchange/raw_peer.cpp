#include "tests/exchange/raw_peer.hpp"

#include <stdexcept>

#include "tests/support/bytes.hpp"

namespace espalier::ike::test {

std::vector<TrafficSelector> selectors_of(std::string_view prefix) {
  const size_t slash = prefix.find('/');
  const auto address = espalier::test::parse_address(prefix.substr(0, slash));
  const int length = std::stoi(std::string(prefix.substr(slash + 1)));
  return to_wire({{IpPrefix::of(address, static_cast<uint8_t>(length))}, 0, {}});
}

RawPeer::RawPeer(uint64_t spi, std::string_view identity_text, std::string_view key)
    : initiator_spi(spi),
      identity(parse_identity(identity_text).value().value()),
      key_exchange(crypto::KeyExchange::generate(kRawSuite.group).value()),
      key_(ByteView(reinterpret_cast<const uint8_t*>(key.data()), key.size())) {}

Header RawPeer::header(ExchangeType exchange, uint32_t message_id, bool is_response) const {
  return {.initiator_spi = initiator_spi,
          .responder_spi = responder_spi,
          .exchange = exchange,
          .initiator = true,
          .response = is_response,
          .message_id = message_id};
}

Message RawPeer::init_request() const {
  Message message{header(ExchangeType::kIkeSaInit, 0), {}};
  message.header.responder_spi = 0;
  const ByteView value = key_exchange->public_value();
  message.payloads = {offer(std::span(&kRawSuite, 1)),
                      KeyExchangeData{kRawSuite.group, {value.begin(), value.end()}}, Nonce{nonce},
                      hash_announcement()};
  return message;
}

Bytes RawPeer::init_bytes(const Bytes& cookie) {
  Message message = init_request();
  if (!cookie.empty())
    message.payloads.insert(message.payloads.begin(),
                            Notify{NotifyType::kCookie, ProtocolId::kNone, {}, cookie});
  first_message_ = encode_clear(message);
  return first_message_;
}

void RawPeer::take_init_response(ByteView datagram) {
  const auto envelope = parse_envelope(datagram);
  if (!envelope) throw std::runtime_error(envelope.error().text);
  auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  if (!payloads) throw std::runtime_error(payloads.error().text);
  const Message message{envelope->header, std::move(*payloads)};
  const auto* theirs = message.find<KeyExchangeData>();
  const auto* their_nonce = message.find<Nonce>();
  if (!theirs || !their_nonce) throw std::runtime_error("no IKE_SA_INIT response");
  responder_spi = message.header.responder_spi;
  peer_nonce = their_nonce->data;
  const crypto::Secret shared = key_exchange->derive(theirs->data).value();
  keys_ =
      derive_ike_keys(kRawSuite, shared.view(), {nonce, peer_nonce, initiator_spi, responder_spi}).value();
  sealer_.emplace(Sealer{make_ike_cipher(kRawSuite, keys_, true).value()});
  opener_.emplace(make_ike_cipher(kRawSuite, keys_, false).value());
}

std::vector<Payload> RawPeer::auth_payloads() {
  const AuthSide us{kRawSuite.prf, keys_.pi.view(), first_message_, peer_nonce, identity};
  return {IdPayload{true, identity}, make_shared_key_auth(us, key_.view()).value(),
          offer(std::span(&kRawEsp, 1), Spi{0x1000}, false),
          TrafficSelectors{true, selectors_of("10.1.0.0/24")},
          TrafficSelectors{false, selectors_of("10.0.0.0/24")}};
}

Bytes RawPeer::auth_request() {
  return request(ExchangeType::kIkeAuth, auth_payloads(), 1);
}

Bytes RawPeer::request(ExchangeType exchange, std::vector<Payload> payloads, uint32_t message_id) {
  return seal({header(exchange, message_id), std::move(payloads)}, 0, *sealer_).value().at(0);
}

Bytes RawPeer::response(ExchangeType exchange, std::vector<Payload> payloads, uint32_t message_id) {
  return seal({header(exchange, message_id, true), std::move(payloads)}, 0, *sealer_).value().at(0);
}

Bytes RawPeer::request_of(ExchangeType exchange, uint8_t first, ByteView chain, uint32_t message_id,
                          bool is_response) {
  Bytes plain(chain.begin(), chain.end());
  plain.push_back(0);  // pad length
  const size_t sk_bytes = 4 + sealer_->cipher.iv_bytes() + plain.size() + sealer_->cipher.icv_bytes();
  Bytes message;
  write_header(header(exchange, message_id, is_response), static_cast<uint8_t>(PayloadType::kEncrypted),
               kHeaderBytes + sk_bytes, message);
  message.insert(message.end(),
                 {first, 0, static_cast<uint8_t>(sk_bytes >> 8), static_cast<uint8_t>(sk_bytes)});
  const Bytes associated = message;
  sealer_->cipher.seal(associated, plain, sealer_->next_counter++, message).value();
  return message;
}

Message RawPeer::open(ByteView datagram) const {
  const auto envelope = parse_envelope(datagram);
  if (!envelope) throw std::runtime_error(envelope.error().text);
  auto message = espalier::ike::open(*envelope, datagram, *opener_);
  if (!message) throw std::runtime_error("not readable: " + message.error().parse.text);
  return std::move(*message);
}

}  // namespace espalier::ike::test

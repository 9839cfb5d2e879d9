// ike/wire/protection.hpp against messages of strongSwan 5.9.8, with the keys that it logged, and against the
// rules of RFC 7383 for fragments.
#include "ike/wire/protection.hpp"

#include <gtest/gtest.h>

#include "tests/support/bytes.hpp"
#include "tests/unit/ike/wire_file.hpp"

namespace espalier::ike {
namespace {

using espalier::test::counting_bytes;
using espalier::test::get16;
using espalier::test::to_hex;

constexpr crypto::EspSuite kGcm{crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16};
constexpr crypto::EspSuite kCbc{crypto::Cipher::kAesCbc, crypto::Integrity::kHmacSha256, 32, 16};

// --- strongSwan ---

struct Recording {
  const char* file;
  crypto::EspSuite suite;
};

class StrongSwanSession : public testing::TestWithParam<Recording> {
 protected:
  crypto::IkeCipher cipher(bool of_initiator) {
    const std::string side = of_initiator ? "initiator" : "responder";
    const bool aead = GetParam().suite.is_aead();
    return crypto::IkeCipher::create(GetParam().suite, file_.at("encryption." + side)[0],
                                     aead ? Bytes() : file_.at("integrity." + side)[0])
        .value();
  }
  // The messages after IKE_SA_INIT, opened and put together.
  std::vector<Message> opened() {
    std::vector<Message> messages;
    const crypto::IkeCipher ciphers[] = {cipher(false), cipher(true)};
    FragmentBuffer fragments;
    for (const Bytes& datagram : file_.at("message")) {
      const Envelope envelope = parse_envelope(datagram).value();
      const crypto::IkeCipher& key = ciphers[envelope.header.initiator];
      if (envelope.first_payload == 53) {
        if (auto whole = fragments.add(envelope, datagram, key).value())
          messages.push_back(*std::move(whole));
      } else if (envelope.first_payload == 46) {
        messages.push_back(open(envelope, datagram, key).value());
      }
    }
    return messages;
  }
  test::WireFile file_ = test::read_wire_file(GetParam().file);
};

TEST_P(StrongSwanSession, IsRead) {
  const std::vector<Message> messages = opened();
  ASSERT_EQ(messages.size(), 8u);
  const Message &request = messages[0], &response = messages[1], &rekey = messages[2];
  EXPECT_EQ(request.header.exchange, ExchangeType::kIkeAuth);
  ASSERT_TRUE(request.identity(true) && request.identity(false) && response.identity(false));
  EXPECT_EQ(request.identity(false)->identity, response.identity(false)->identity);
  ASSERT_TRUE(request.find<Authentication>() && response.find<Authentication>());

  const auto& offered =
      request.selectors(false)->selectors;  // 10.0.0.0/21[tcp/443],10.0.0.0/22,2001:db8::/64
  ASSERT_EQ(offered.size(), 3u);
  EXPECT_EQ(offered[0].protocol, kProtoTcp);
  EXPECT_EQ(offered[0].ports, (PortRange{443, 443}));
  EXPECT_EQ(offered[0].high.v4().host(), 0x0a0007ffu);
  EXPECT_TRUE(offered[1].ports.is_any());
  EXPECT_EQ(offered[2].high.host() >> 64, uint128{0x20010db800000000});
  EXPECT_EQ(response.selectors(false)->selectors.size(), 2u);

  EXPECT_EQ(rekey.header.exchange, ExchangeType::kCreateChildSa);
  const Notify* old_sa = rekey.notify(NotifyType::kRekeySa);
  ASSERT_NE(old_sa, nullptr);
  EXPECT_EQ(old_sa->spi, request.find<SecurityAssociation>()->proposals.at(0).spi);
  ASSERT_NE(rekey.find<Nonce>(), nullptr);
  ASSERT_EQ(old_sa->spi.size(), 4u);
  const Spi old_spi{espalier::test::get32(old_sa->spi, 0)};
  EXPECT_EQ(messages[4].find<Delete>()->spis, std::vector<Spi>{old_spi});
  EXPECT_EQ(messages[6].find<Delete>()->protocol, ProtocolId::kIke);
  EXPECT_TRUE(messages[7].payloads.empty());
}

// With the peer's own keys our messages are readable, and what is inside is what it wrote.
TEST_P(StrongSwanSession, IsWrittenAgain) {
  const crypto::IkeCipher ciphers[] = {cipher(false), cipher(true)};
  for (const Bytes& datagram : file_.at("message")) {
    const Envelope envelope = parse_envelope(datagram).value();
    if (envelope.first_payload != 46) continue;
    const crypto::IkeCipher& key = ciphers[envelope.header.initiator];
    const size_t front = kHeaderBytes + 4;
    const Bytes plaintext =
        key.open(ByteView(datagram).first(front), ByteView(datagram).subspan(front)).value();
    const Encoded inner = encode_payloads(open(envelope, datagram, key).value().payloads);
    EXPECT_EQ(inner.first, datagram[kHeaderBytes]);
    EXPECT_EQ(to_hex(inner.bytes),
              to_hex(ByteView(plaintext).first(plaintext.size() - 1 - plaintext.back())));
  }
}

TEST_P(StrongSwanSession, EveryChangedByteIsNoticed) {
  const crypto::IkeCipher key = cipher(true);
  Bytes datagram = file_.at("message").at(file_.at("message").size() - 2);
  ASSERT_TRUE(open(parse_envelope(datagram).value(), datagram, key).has_value());
  for (size_t i = 0; i < datagram.size(); ++i) {
    datagram[i] ^= 0x10;
    const auto envelope = parse_envelope(datagram);
    if (envelope) {
      const auto message = open(*envelope, datagram, key);
      ASSERT_FALSE(message.has_value()) << "byte " << i;
      EXPECT_FALSE(message.error().authentic) << "byte " << i;
    }
    datagram[i] ^= 0x10;
  }
}

INSTANTIATE_TEST_SUITE_P(Recorded, StrongSwanSession,
                         testing::Values(Recording{"wire_strongswan_gcm.txt", kGcm},
                                         Recording{"wire_strongswan_cbc.txt", kCbc}),
                         [](const auto& info) { return info.param.suite.is_aead() ? "Gcm" : "Cbc"; });

// An AEAD has no randomness: with strongSwan's IVs, fragments and all come out byte by byte as it sent them.
TEST(StrongSwanGcm, ComesOutByteByByte) {
  auto file = test::read_wire_file("wire_strongswan_gcm.txt");
  FragmentBuffer fragments;
  std::vector<Bytes> pieces;
  size_t compared = 0;
  for (const Bytes& datagram : file.at("message")) {
    const Envelope envelope = parse_envelope(datagram).value();
    const char* side = envelope.header.initiator ? "encryption.initiator" : "encryption.responder";
    Sealer sealer{crypto::IkeCipher::create(kGcm, file.at(side)[0], {}).value()};
    const bool fragment = envelope.first_payload == 53;
    std::optional<Message> message;
    if (fragment) {
      pieces.push_back(datagram);
      message = fragments.add(envelope, datagram, sealer.cipher).value();
    } else if (envelope.first_payload == 46) {
      pieces = {datagram};
      message = open(envelope, datagram, sealer.cipher).value();
    }
    if (!message) continue;
    const Bytes iv(pieces[0].begin() + (fragment ? 36 : 32), pieces[0].begin() + (fragment ? 44 : 40));
    sealer.next_counter = uint64_t{espalier::test::get32(iv, 0)} << 32 | espalier::test::get32(iv, 4);
    const auto again = seal(*message, 1252 - 4, sealer).value();  // its 1280 less IP, UDP, non-ESP marker
    // A mask lies over its counter, so the IVs of later fragments are not ours to foresee: their headers have
    // to do.
    ASSERT_EQ(again.size(), pieces.size());
    EXPECT_EQ(to_hex(again[0]), to_hex(pieces[0]));
    for (size_t i = 1; i < pieces.size(); ++i)
      EXPECT_EQ(to_hex(ByteView(again[i]).first(36)), to_hex(ByteView(pieces[i]).first(36)));
    pieces.clear();
    ++compared;
  }
  EXPECT_EQ(compared, 8u);
}

// --- Sizes ---

Sealer sealer_of(const crypto::EspSuite& suite) {
  const Bytes key = counting_bytes(size_t{suite.key_bytes} + suite.salt_bytes());
  const Bytes integrity_key = counting_bytes(suite.auth_key_bytes());
  return {crypto::IkeCipher::create(suite, key, integrity_key).value()};
}

Message message_of(size_t bytes) {
  Message message{
      {.initiator_spi = 1, .responder_spi = 2, .exchange = ExchangeType::kIkeAuth, .message_id = 5}, {}};
  message.payloads.push_back(VendorId{counting_bytes(bytes - 4)});
  return message;
}

class Sizes : public testing::TestWithParam<crypto::EspSuite> {};

TEST_P(Sizes, NoDatagramExceedsTheLimitAndNoneIsWasted) {
  Sealer sealer = sealer_of(GetParam());
  for (const size_t limit : {100u, 101u, 115u, 116u, 576u, 1252u, 1253u})
    for (const size_t bytes : {4u, 500u, 1180u, 1200u, 1201u, 1216u, 6000u}) {
      const auto datagrams = seal(message_of(bytes), limit, sealer).value();
      FragmentBuffer buffer;
      std::optional<Message> whole;
      for (size_t i = 0; i < datagrams.size(); ++i) {
        EXPECT_LE(datagrams[i].size(), limit);
        if (i + 1 < datagrams.size()) {
          EXPECT_GT(datagrams[i].size() + 16, limit);
        }
        const Envelope envelope = parse_envelope(datagrams[i]).value();
        EXPECT_EQ(envelope.first_payload, datagrams.size() == 1 ? 46 : 53);
        whole = datagrams.size() == 1 ? open(envelope, datagrams[i], sealer.cipher).value()
                                      : buffer.add(envelope, datagrams[i], sealer.cipher).value();
      }
      ASSERT_TRUE(whole.has_value());
      EXPECT_EQ(whole->find<VendorId>()->data, counting_bytes(bytes - 4));
    }
}
INSTANTIATE_TEST_SUITE_P(Suites, Sizes, testing::Values(kGcm, kCbc));

TEST(Seal, CountsEveryDatagram) {
  Sealer sealer = sealer_of(kGcm);
  sealer.next_counter = 40;
  const size_t datagrams = seal(message_of(3000), 600, sealer).value().size();
  EXPECT_EQ(sealer.next_counter, 40 + datagrams);
}

TEST(Seal, RefusesWhatCannotBeSent) {
  Sealer sealer = sealer_of(kGcm);
  EXPECT_FALSE(seal(message_of(65500), 0, sealer).has_value());
  EXPECT_FALSE(seal(message_of(1000), 60, sealer).has_value());   // not a byte fits
  EXPECT_FALSE(seal(message_of(60000), 80, sealer).has_value());  // more than kMaxFragments
  EXPECT_TRUE(seal(message_of(65000), 0, sealer).has_value());
  EXPECT_EQ(sealer.next_counter, 2u);
}

// --- Opening ---

TEST(Open, WantsSkFirstAndLast) {
  Sealer sealer = sealer_of(kGcm);
  Bytes datagram = seal(message_of(20), 0, sealer).value().at(0);
  const auto opened = [&] { return open(parse_envelope(datagram).value(), datagram, sealer.cipher); };
  EXPECT_TRUE(opened().has_value());
  datagram[16] = 43;  // of the header: a vendor id is first
  EXPECT_EQ(opened().error().parse.text, "the message does not begin with SK");
  datagram[16] = 46;
  datagram[31] -= 1;  // the payload ends before the message
  EXPECT_EQ(opened().error().parse.text, "SK payload: does not fill the message");
  datagram.resize(30);
  datagram[26] = 0, datagram[27] = 30;
  EXPECT_EQ(opened().error().parse.text, "SK payload: does not fill the message");
}

// A datagram that holds `plaintext` with its padding as it is.
Bytes sealed_as_is(Sealer& sealer, ByteView plaintext, uint8_t first_inner) {
  const size_t length = 32 + 8 + plaintext.size() + 16;
  Bytes bytes;
  write_header({.initiator_spi = 1, .responder_spi = 2, .exchange = ExchangeType::kIkeAuth}, 46, length,
               bytes);
  for (const size_t field : {size_t{first_inner}, size_t{0}, (length - 28) >> 8, (length - 28) & 0xff})
    bytes.push_back(static_cast<uint8_t>(field));
  EXPECT_TRUE(sealer.cipher.seal(Bytes(bytes), plaintext, sealer.next_counter++, bytes).has_value());
  return bytes;
}

TEST(Open, TellsAuthenticErrors) {
  Sealer sealer = sealer_of(kGcm);
  const auto error = [&](Bytes plaintext, uint8_t first) {
    const Bytes datagram = sealed_as_is(sealer, plaintext, first);
    return open(parse_envelope(datagram).value(), datagram, sealer.cipher).error();
  };
  const OpenError padding = error({0, 0, 0, 4, 5}, 43);
  EXPECT_TRUE(padding.authentic);
  EXPECT_EQ(padding.parse.text, "SK payload: more padding than bytes");
  EXPECT_TRUE(error({}, 43).authentic);
  const OpenError critical = error({0, 0x80, 0, 4, 0}, 99);
  EXPECT_TRUE(critical.authentic);
  EXPECT_EQ(critical.parse.notify, NotifyType::kUnsupportedCriticalPayload);
  EXPECT_EQ(critical.parse.payload, 99);
  // All of it padding is a message without payloads.
  const Bytes empty = sealed_as_is(sealer, Bytes{1, 2, 3, 3}, 0);
  EXPECT_TRUE(open(parse_envelope(empty).value(), empty, sealer.cipher).value().payloads.empty());
}

// --- Fragments ---

class Fragments : public testing::Test {
 protected:
  std::vector<Bytes> sealed(size_t bytes, size_t limit) {
    return seal(message_of(bytes), limit, sealer_).value();
  }
  std::expected<std::optional<Message>, OpenError> add(const Bytes& datagram) {
    return buffer_.add(parse_envelope(datagram).value(), datagram, sealer_.cipher);
  }
  // The fragment is taken, and the message is not complete by it.
  void expect_waiting(const Bytes& datagram) {
    const auto result = add(datagram);
    ASSERT_TRUE(result.has_value()) << result.error().parse.text;
    EXPECT_FALSE(result->has_value());
  }
  void expect_whole(const Bytes& datagram, size_t bytes) {
    const auto result = add(datagram);
    ASSERT_TRUE(result.has_value() && result->has_value());
    EXPECT_EQ((*result)->find<VendorId>()->data, counting_bytes(bytes - 4));
  }
  Sealer sealer_ = sealer_of(kGcm);
  FragmentBuffer buffer_;
};

// RFC 7383 section 2.5.
TEST_F(Fragments, HeadersAreThoseOfTheMessage) {
  const auto pieces = sealed(1000, 320);
  ASSERT_EQ(pieces.size(), 4u);
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(parse_envelope(pieces[i])->header, message_of(1000).header);
    EXPECT_EQ(pieces[i][28], i == 0 ? 43 : 0);
    EXPECT_EQ(get16(pieces[i], 32), i + 1);
    EXPECT_EQ(get16(pieces[i], 34), 4);
  }
}

TEST_F(Fragments, ComeInAnyOrderAndTwice) {
  const auto pieces = sealed(1000, 320);
  expect_waiting(pieces[3]);
  expect_waiting(pieces[1]);
  expect_waiting(pieces[1]);
  expect_waiting(pieces[0]);
  expect_whole(pieces[2], 1000);
  expect_waiting(pieces[2]);  // nothing of the message is left: it is the first of a new one
}

TEST_F(Fragments, AHigherTotalStartsAnewAndALowerOneIsIgnored) {
  const auto large = sealed(1000, 600), small = sealed(1000, 320);
  ASSERT_LT(large.size(), small.size());
  expect_waiting(large[0]);
  for (size_t i = 0; i + 1 < small.size(); ++i) expect_waiting(small[i]);
  for (const Bytes& piece : large) expect_waiting(piece);
  expect_whole(small.back(), 1000);
}

TEST_F(Fragments, AnotherMessageStartsAnew) {
  const auto first = sealed(1000, 600);
  Message next = message_of(1000);
  next.header.message_id = 6;
  const auto second = seal(next, 600, sealer_).value();
  expect_waiting(first[0]);
  expect_waiting(second[1]);
  expect_whole(second[0], 1000);
  expect_waiting(first[1]);
}

TEST_F(Fragments, ForgedOnesChangeNothing) {
  const auto pieces = sealed(1000, 600);
  expect_waiting(pieces[0]);
  Bytes other_total = pieces[1], other_id = pieces[1], other_data = pieces[1];
  other_total[35] += 1;
  other_id[23] ^= 1;
  other_data.back() ^= 1;
  for (const Bytes& forged : {other_total, other_id, other_data}) {
    const auto result = add(forged);
    ASSERT_FALSE(result.has_value());
    EXPECT_FALSE(result.error().authentic);
  }
  expect_whole(pieces[1], 1000);
}

TEST_F(Fragments, NumbersOutOfRangeAreRefused) {
  const Bytes piece = sealed(1000, 600)[0];
  const auto error = [&](unsigned number, unsigned total) {
    Bytes changed = piece;
    espalier::test::put16(changed, 32, static_cast<uint16_t>(number));
    espalier::test::put16(changed, 34, static_cast<uint16_t>(total));
    const auto result = add(changed);
    return result ? "none" : result.error().parse.text;
  };
  EXPECT_EQ(error(0, 2), "SKF payload: fragment 0 of 2");
  EXPECT_EQ(error(3, 2), "SKF payload: fragment 3 of 2");
  EXPECT_EQ(error(0, 0), "SKF payload: fragment 0 of 0");
  EXPECT_EQ(error(1, 1025), "SKF payload: fragment 1 of 1025");
  EXPECT_EQ(error(1, 2), "none");
}

// An authentic fragment of a peer that never stops.
TEST_F(Fragments, MoreThanAMessageIsRefused) {
  Message large = message_of(60000);
  const auto pieces = seal(large, 30000, sealer_).value();
  ASSERT_EQ(pieces.size(), 3u);
  const auto piece_of = [&](uint16_t number) {
    Bytes plaintext(29000), bytes;
    write_header(large.header, 53, 36 + 8 + plaintext.size() + 1 + 16, bytes);
    const auto length = static_cast<uint16_t>(36 + 8 + plaintext.size() + 1 + 16 - 28);
    for (const unsigned field : {0u, unsigned{length}, unsigned{number}, 5u})
      espalier::test::append16(bytes, static_cast<uint16_t>(field));
    plaintext.push_back(0);
    EXPECT_TRUE(sealer_.cipher.seal(Bytes(bytes), plaintext, sealer_.next_counter++, bytes).has_value());
    return bytes;
  };
  expect_waiting(piece_of(1));
  expect_waiting(piece_of(2));
  const auto result = add(piece_of(3));
  ASSERT_FALSE(result.has_value());
  EXPECT_TRUE(result.error().authentic);
  expect_waiting(pieces[0]);  // and a new message begins
}

TEST_F(Fragments, AMalformedWholeIsAnAuthenticError) {
  Message message = message_of(1000);
  message.payloads = {RawPayload{99, true, counting_bytes(996)}};
  const auto pieces = seal(message, 600, sealer_).value();
  expect_waiting(pieces[0]);
  const auto result = add(pieces[1]);
  ASSERT_FALSE(result.has_value());
  EXPECT_TRUE(result.error().authentic);
  EXPECT_EQ(result.error().parse.payload, 99);
}

TEST_F(Fragments, OneOfOneIsAMessage) {
  Sealer& sealer = sealer_;
  Bytes bytes;
  const Bytes plaintext = {0, 0, 0, 4, 0};
  const size_t length = 36 + 8 + plaintext.size() + 16;
  write_header(message_of(4).header, 53, length, bytes);
  for (const size_t field : {size_t{43} << 8, length - 28, size_t{1}, size_t{1}})
    espalier::test::append16(bytes, static_cast<uint16_t>(field));
  ASSERT_TRUE(sealer.cipher.seal(Bytes(bytes), plaintext, sealer.next_counter++, bytes).has_value());
  expect_whole(bytes, 4);
}

}  // namespace
}  // namespace espalier::ike

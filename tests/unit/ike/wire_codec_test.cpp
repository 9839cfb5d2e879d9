// ike/wire/codec.hpp against scapy's messages (wire_messages.py), strongSwan's, and the rules of RFC 7296 for
// what has to be refused or left out.
#include "ike/wire/codec.hpp"

#include <gtest/gtest.h>

#include "control/shared/text.hpp"
#include "tests/support/bytes.hpp"
#include "tests/unit/ike/wire_file.hpp"

namespace espalier::ike {
namespace {

using espalier::test::counting_bytes;
using espalier::test::from_hex;
using espalier::test::to_hex;

Message decoded(const Bytes& datagram) {
  const auto envelope = parse_envelope(datagram);
  if (!envelope) throw std::runtime_error(envelope.error().text);
  auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  if (!payloads) throw std::runtime_error(payloads.error().text);
  return {envelope->header, *std::move(payloads)};
}

Bytes text_bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

// --- Of scapy ---

class Scapy : public testing::Test {
 protected:
  // The message, which has to be encoded to the same bytes again.
  Message message(const char* name) {
    const Bytes datagram = file_.at(name).at(0);
    const Message message = decoded(datagram);
    EXPECT_EQ(to_hex(encode_clear(message)), to_hex(datagram));
    EXPECT_EQ(message.header.initiator_spi, 0x0123456789abcdefu);
    return message;
  }
  test::WireFile file_ = test::read_wire_file("wire_scapy.txt");
};

TEST_F(Scapy, InitHeader) {
  const Header header = message("init").header;
  EXPECT_EQ(header.responder_spi, 0u);
  EXPECT_EQ(header.major, 2);
  EXPECT_EQ(header.exchange, ExchangeType::kIkeSaInit);
  EXPECT_TRUE(header.initiator);
  EXPECT_FALSE(header.response);
  EXPECT_EQ(header.message_id, 0u);
}

TEST_F(Scapy, SecurityAssociationOfSeveralProposals) {
  const Message init = message("init");
  const auto* sa = init.find<SecurityAssociation>();
  ASSERT_NE(sa, nullptr);
  using enum TransformType;
  const std::vector<Proposal> expected = {
      {1, ProtocolId::kIke, {}, {{kEncryption, 20, 256}, {kPrf, 5, {}}, {kKeyExchange, 19, {}}}},
      {2,
       ProtocolId::kIke,
       {},
       {{kEncryption, 12, 128},
        {kEncryption, 12, 256},
        {kIntegrity, 12, {}},
        {kPrf, 5, {}},
        {kKeyExchange, 14, {}},
        {kKeyExchange, 31, {}}}}};
  EXPECT_EQ(sa->proposals, expected);
}

TEST_F(Scapy, KeyExchangeNonceVendorNotify) {
  const Message init = message("init");
  ASSERT_EQ(init.payloads.size(), 7u);
  EXPECT_EQ(init.find<KeyExchangeData>()->group, 19);
  EXPECT_EQ(init.find<KeyExchangeData>()->data, counting_bytes(64));
  EXPECT_EQ(init.find<Nonce>()->data, counting_bytes(32));
  EXPECT_EQ(init.find<VendorId>()->data, text_bytes("somebody"));
  EXPECT_EQ(init.notify(NotifyType::kNatDetectionSourceIp)->data, counting_bytes(20));
  EXPECT_EQ(init.notify(NotifyType::kNatDetectionDestinationIp)->data, counting_bytes(20));
  EXPECT_TRUE(init.notify(NotifyType::kFragmentationSupported)->data.empty());
  EXPECT_EQ(init.error(), nullptr);
}

TEST_F(Scapy, AuthOfAResponder) {
  const Message auth = message("auth");
  EXPECT_EQ(auth.header.responder_spi, 0xfedcba9876543210u);
  EXPECT_FALSE(auth.header.initiator);
  EXPECT_TRUE(auth.header.response);
  EXPECT_EQ(auth.header.message_id, 0xfffffffeu);
  EXPECT_EQ(auth.identity(false)->identity, (Identity{IdType::kFqdn, text_bytes("gw.example.org")}));
  EXPECT_EQ(auth.identity(true), nullptr);
  EXPECT_EQ(auth.find<CertificateData>()->encoding, CertEncoding::kHashAndUrl);
  EXPECT_EQ(auth.find<CertificateData>()->data, counting_bytes(40));
  EXPECT_EQ(auth.find<Authentication>()->method, AuthMethod::kDigitalSignature);
  EXPECT_EQ(auth.find<Authentication>()->data, counting_bytes(50));
  const Proposal& proposal = auth.find<SecurityAssociation>()->proposals.at(0);
  EXPECT_EQ(proposal.number, 2);
  EXPECT_EQ(proposal.protocol, ProtocolId::kEsp);
  EXPECT_EQ(proposal.spi, from_hex("c0ffee01"));
  const Notify* rekey = auth.notify(NotifyType::kRekeySa);
  EXPECT_EQ(rekey->protocol, ProtocolId::kEsp);
  EXPECT_EQ(rekey->spi, from_hex("c0ffee02"));
}

TEST_F(Scapy, TrafficSelectorsOfBothFamilies) {
  const Message auth = message("auth");
  const auto& initiator = auth.selectors(true)->selectors;
  ASSERT_EQ(initiator.size(), 2u);
  EXPECT_EQ(initiator[0].protocol, kProtoTcp);
  EXPECT_EQ(initiator[0].ports, (PortRange{443, 443}));
  EXPECT_EQ(to_text(initiator[0].low), "10.0.0.0");
  EXPECT_EQ(to_text(initiator[0].high), "10.0.2.255");
  EXPECT_EQ(initiator[1].ports, (PortRange{0x8000, 0x81ff}));
  EXPECT_EQ(to_text(initiator[1].low), "2001:db8::");
  EXPECT_EQ(to_text(initiator[1].high), "2001:db8::ffff");
  const auto& responder = auth.selectors(false)->selectors;
  ASSERT_EQ(responder.size(), 1u);
  EXPECT_EQ(responder[0].ports, (PortRange{65535, 0}));  // OPAQUE
}

TEST_F(Scapy, CertificateRequestAndAddressIdentity) {
  const Message request = message("certreq");
  EXPECT_EQ(request.identity(true)->identity, (Identity{IdType::kIpv4, from_hex("c0000201")}));
  EXPECT_EQ(request.find<CertificateRequest>()->encoding, CertEncoding::kX509Signature);
  EXPECT_EQ(request.find<CertificateRequest>()->authorities, counting_bytes(40));
}

TEST_F(Scapy, DeleteAndNothing) {
  const Message deleting = message("delete");
  EXPECT_EQ(deleting.find<Delete>()->protocol, ProtocolId::kEsp);
  EXPECT_EQ(deleting.find<Delete>()->spis, (std::vector<Spi>{Spi{0xc0ffee01}, Spi{0xc0ffee02}}));
  const Message empty = message("empty");
  EXPECT_TRUE(empty.payloads.empty());
  EXPECT_TRUE(empty.header.initiator && empty.header.response);
}

// --- Of strongSwan, in clear ---

TEST(StrongSwan, InitMessagesComeOutAsTheyWere) {
  for (const char* name : {"wire_strongswan_gcm.txt", "wire_strongswan_cbc.txt"}) {
    const auto messages = test::read_wire_file(name).at("message");
    size_t seen = 0;
    for (const Bytes& datagram : messages) {
      if (parse_envelope(datagram)->header.exchange != ExchangeType::kIkeSaInit) continue;
      EXPECT_EQ(to_hex(encode_clear(decoded(datagram))), to_hex(datagram));
      ++seen;
    }
    EXPECT_GE(seen, 2u);
  }
}

TEST(StrongSwan, RefusesAGroup) {
  const auto messages = test::read_wire_file("wire_strongswan_gcm.txt").at("message");
  const Message refusal = decoded(messages.at(1));
  ASSERT_EQ(refusal.payloads.size(), 1u);
  ASSERT_NE(refusal.error(), nullptr);
  EXPECT_EQ(refusal.error()->type, NotifyType::kInvalidKePayload);
  EXPECT_EQ(refusal.error()->data, from_hex("0013"));
  EXPECT_EQ(decoded(messages.at(0)).find<KeyExchangeData>()->group, 31);
  EXPECT_EQ(decoded(messages.at(2)).find<KeyExchangeData>()->group, 19);
}

// --- Envelopes ---

// RFC 7296 figure 4 by hand: a request of INFORMATIONAL without payloads.
const char* const kHeader =
    "1111111111111111"
    "2222222222222222"
    "00202508"
    "00000005"
    "0000001c";

std::string envelope_error(std::string hex) {
  const auto envelope = parse_envelope(from_hex(hex));
  return envelope ? "none" : name_of(envelope.error().notify) + ": " + envelope.error().text;
}
std::string with(std::string hex, size_t byte, std::string_view replacement) {
  return hex.replace(2 * byte, replacement.size(), replacement);
}

TEST(Envelope, Accepts) {
  EXPECT_EQ(envelope_error(kHeader), "none");
  EXPECT_EQ(envelope_error(with(kHeader, 17, "2f")), "none");  // a later minor version
  EXPECT_EQ(envelope_error(with(kHeader, 19, "df")), "none");  // reserved flags, and V
  EXPECT_EQ(envelope_error(with(kHeader, 18, "f0")), "none");  // an exchange of others
}

TEST(Envelope, Refuses) {
  EXPECT_EQ(envelope_error(""), "INVALID_SYNTAX: 0 bytes are no IKE header");
  EXPECT_EQ(envelope_error(std::string(kHeader, 54)), "INVALID_SYNTAX: 27 bytes are no IKE header");
  EXPECT_EQ(envelope_error(with(kHeader, 17, "10")), "INVALID_MAJOR_VERSION: IKE version 1");
  EXPECT_EQ(envelope_error(with(kHeader, 17, "30")), "INVALID_MAJOR_VERSION: IKE version 3");
  EXPECT_EQ(envelope_error(with(kHeader, 27, "1d")), "INVALID_SYNTAX: 28 bytes of a message of 29");
  EXPECT_EQ(envelope_error(std::string(kHeader) + "00"), "INVALID_SYNTAX: 29 bytes of a message of 28");
  EXPECT_EQ(envelope_error(with(kHeader, 0, "0000000000000000")), "INVALID_SYNTAX: the initiator's SPI is 0");
  EXPECT_EQ(parse_envelope(from_hex(with(kHeader, 17, "30"))).error().payload, 2);
}

// An IKE SA that is not authenticated yet keeps the request.
TEST(Envelope, IkeSaInitRequestsAreShort) {
  const auto read = [](uint8_t exchange, uint8_t flags, uint16_t length) {
    Bytes bytes = from_hex(kHeader);
    bytes[18] = exchange;
    bytes[19] = flags;
    bytes[26] = static_cast<uint8_t>(length >> 8);
    bytes[27] = static_cast<uint8_t>(length);
    bytes.resize(length);
    const auto envelope = parse_envelope(bytes);
    return envelope ? "" : envelope.error().text;
  };
  EXPECT_EQ(read(34, 0x08, 16384), "");
  EXPECT_EQ(read(34, 0x08, 16385), "an IKE_SA_INIT request of 16385 bytes");
  EXPECT_EQ(read(34, 0x20, 65000), "");
  EXPECT_EQ(read(35, 0x08, 65000), "");
}

// --- Chains ---

struct Broken {
  const char* name;
  PayloadType first;
  const char* hex;
  const char* error;  // of INVALID_SYNTAX
};

class BrokenChain : public testing::TestWithParam<Broken> {};

TEST_P(BrokenChain, IsRefused) {
  const auto payloads = parse_payloads(static_cast<uint8_t>(GetParam().first), from_hex(GetParam().hex));
  ASSERT_FALSE(payloads.has_value());
  EXPECT_EQ(payloads.error().notify, NotifyType::kInvalidSyntax);
  EXPECT_EQ(payloads.error().text, GetParam().error);
}

using enum PayloadType;
const Broken kBroken[] = {
    {"NoHeader", kVendorId, "0000", "vendor id payload: cut off"},
    {"Nothing", kVendorId, "", "vendor id payload: cut off"},
    {"LengthBelowHeader", kVendorId, "00000003", "vendor id payload: cut off"},
    {"LengthBeyondEnd", kVendorId,
     "0000000501"
     "00"
     "00000007",
     "5 bytes behind the last payload"},
    {"LengthBeyondMessage", kVendorId, "00000006aa", "vendor id payload: cut off"},
    {"NextIsMissing", kVendorId, "2b000004", "vendor id payload: cut off"},
    {"BytesBehindNone", kNone, "00", "1 bytes behind the last payload"},
    {"EncryptedInside", kEncrypted, "00000004", "SK payload: not allowed here"},
    {"FragmentInside", kEncryptedFragment, "00000004", "SKF payload: not allowed here"},
    {"EmptySa", kSecurityAssociation, "00000004",
     "SA payload: proposal 1 is cut off, or its mark or length is wrong"},
    {"ProposalCutOff", kSecurityAssociation,
     "0000000b"
     "00000008010100",
     "SA payload: proposal 1 is cut off, or its mark or length is wrong"},
    {"ProposalSaysMore", kSecurityAssociation,
     "0000000c"
     "0200000801010000",
     "SA payload: proposal 1 is cut off, or its mark or length is wrong"},
    {"ProposalSaysLast", kSecurityAssociation,
     "00000014"
     "0000000801010000"
     "0000000802010000",
     "SA payload: proposal 1 is cut off, or its mark or length is wrong"},
    {"ProposalShort", kSecurityAssociation,
     "0000000a"
     "000000060101",
     "SA payload: proposal 1 is too short"},
    {"SpiBeyondProposal", kSecurityAssociation,
     "0000000c"
     "0000000801030400",
     "SA payload: proposal 1 is too short"},
    {"SpiOfEsp", kSecurityAssociation,
     "0000000f"
     "0000000b01030300aabbcc",
     "SA payload: proposal 1: an SPI of 3 bytes"},
    {"SpiOfIke", kSecurityAssociation,
     "00000010"
     "0000000c01010400aabbccdd",
     "SA payload: proposal 1: an SPI of 4 bytes"},
    {"TransformMissing", kSecurityAssociation,
     "0000000c"
     "0000000801010001",
     "SA payload: proposal 1: transform 1 is cut off, or its mark or length is wrong"},
    {"TransformTooMany", kSecurityAssociation,
     "00000014"
     "0000001001010000"
     "0000000801000014",
     "SA payload: proposal 1: bytes behind the last transform"},
    {"TransformSaysMore", kSecurityAssociation,
     "00000014"
     "0000001001010001"
     "0300000801000014",
     "SA payload: proposal 1: transform 1 is cut off, or its mark or length is wrong"},
    {"TransformShort", kSecurityAssociation,
     "00000012"
     "0000000e01010001"
     "000000060100",
     "SA payload: proposal 1: transform 1 is too short"},
    {"AttributeCutOff", kSecurityAssociation,
     "00000017"
     "0000001301010001"
     "0000000b01000014"
     "800e01",
     "SA payload: proposal 1: transform 1: an attribute is cut off"},
    {"LongAttributeCutOff", kSecurityAssociation,
     "00000018"
     "0000001401010001"
     "0000000c01000014"
     "000f0001",
     "SA payload: proposal 1: transform 1: an attribute is cut off"},
    {"KeShort", kKeyExchange, "00000007001300", "KE payload: too short"},
    {"IdShort", kIdInitiator,
     "0000000702"
     "0000",
     "IDi payload: too short"},
    {"CertShort", kCertificate, "00000004", "CERT payload: too short"},
    {"CertreqShort", kCertificateRequest, "00000004", "CERTREQ payload: too short"},
    {"AuthShort", kAuthentication,
     "0000000702"
     "0000",
     "AUTH payload: too short"},
    {"NonceShort", kNonce,
     "00000013"
     "000000000000000000000000000000",
     "nonce payload: 15 bytes"},
    {"NotifyShort", kNotify,
     "00000007"
     "000000",
     "notify payload: too short"},
    {"NotifySpi", kNotify,
     "0000000b"
     "03044009"
     "aabbcc",
     "notify payload: too short"},
    {"DeleteFewer", kDelete,
     "0000000c"
     "03040002"
     "aabbccdd",
     "delete payload: 2 SPIs of 4 bytes do not fill it"},
    {"DeleteMore", kDelete,
     "0000000c"
     "03040000"
     "aabbccdd",
     "delete payload: 0 SPIs of 4 bytes do not fill it"},
    {"DeleteFree", kDelete,
     "00000008"
     "0300ffff",
     "delete payload: 65535 SPIs of 0 bytes"},
    {"DeleteIke", kDelete,
     "00000010"
     "01080001"
     "1111111111111111",
     "delete payload: 1 SPIs of 8 bytes"},
    {"DeleteOddSpi", kDelete,
     "0000000a"
     "03020001"
     "aabb",
     "delete payload: 1 SPIs of 2 bytes"},
    {"TsShort", kTsInitiator,
     "00000007"
     "000000",
     "TSi payload: too short"},
    {"TsMissing", kTsResponder,
     "00000008"
     "01000000",
     "TSr payload: selector 1 has no length"},
    {"TsCutOff", kTsInitiator,
     "00000014"
     "01000000"
     "07000010"
     "0000ffff"
     "0a000000",
     "TSi payload: selector 1 is cut off"},
    {"TsWrongLength", kTsInitiator,
     "00000014"
     "01000000"
     "0700000c"
     "0000ffff"
     "0a000000",
     "TSi payload: selector 1 has a length of 12"},
    {"TsTooMany", kTsInitiator,
     "00000018"
     "00000000"
     "07000010"
     "0000ffff"
     "0a000000"
     "0a0000ff",
     "TSi payload: bytes behind the last selector"},
    {"TsBackwards", kTsInitiator,
     "00000018"
     "01000000"
     "07000010"
     "0000ffff"
     "0a000001"
     "0a000000",
     "TSi payload: selector 1 ends before it begins"},
    {"TsPortsBackwards", kTsInitiator,
     "00000018"
     "01000000"
     "07060010"
     "00500001"
     "0a000001"
     "0a000001",
     "TSi payload: selector 1 has ports that end before they begin"},
};
INSTANTIATE_TEST_SUITE_P(Rfc7296, BrokenChain, testing::ValuesIn(kBroken),
                         [](const auto& info) { return std::string(info.param.name); });

// What costs a peer four or eight bytes each is not to cost us as many values as a datagram has room for.
TEST(Chain, CountsAreLimited) {
  const auto chain = [](std::string_view one, std::string_view last, size_t count) {
    std::string hex;
    for (size_t i = 1; i < count; ++i) hex += one;
    return from_hex(hex.append(last));
  };
  const auto payloads = [&](size_t count) {
    return parse_payloads(43, chain("2b000004", "00000004", count));
  };
  EXPECT_EQ(payloads(256).value().size(), 256u);
  EXPECT_EQ(payloads(257).error().text, "more than 256 payloads");
  const auto proposals = [&](size_t count) {
    Bytes bytes = chain("0200000801010000", "0000000801010000", count);
    const size_t length = bytes.size() + 4;
    bytes.insert(bytes.begin(), {0, 0, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)});
    return parse_payloads(33, bytes);
  };
  EXPECT_TRUE(proposals(255).has_value());
  EXPECT_EQ(proposals(256).error().text, "SA payload: more than 255 proposals");
}

TEST(Chain, NonceOfMoreThan256Bytes) {
  Bytes chain = from_hex("00000105");
  chain.resize(0x105);
  EXPECT_FALSE(parse_payloads(40, chain).has_value());
  chain[3] = 0x04;
  chain.pop_back();
  EXPECT_TRUE(parse_payloads(40, chain).has_value());
}

std::vector<Payload> parsed(PayloadType first, std::string_view hex) {
  auto payloads = parse_payloads(static_cast<uint8_t>(first), from_hex(hex));
  if (!payloads) throw std::runtime_error(payloads.error().text);
  return *std::move(payloads);
}

// --- What is no error ---

TEST(Chain, DeletesOfUnknownProtocolsNameNothing) {
  const auto payloads = parsed(PayloadType::kDelete, "0000000b63010003aabbcc");
  EXPECT_TRUE(std::get<Delete>(payloads.at(0)).spis.empty());
}

TEST(Chain, UnknownPayloadsAreLeftOutUnlessCritical) {
  // 54 unknown, then 200 unknown, then a vendor id.
  EXPECT_EQ(parsed(PayloadType{54},
                   "c8000006aaaa"
                   "2b000004"
                   "00000005bb")
                .size(),
            1u);
  const auto critical = parse_payloads(54, from_hex("c8000006aaaa"
                                                    "2b800004"
                                                    "00000005bb"));
  ASSERT_FALSE(critical.has_value());
  EXPECT_EQ(critical.error().notify, NotifyType::kUnsupportedCriticalPayload);
  EXPECT_EQ(critical.error().payload, 200);
  EXPECT_EQ(critical.error().text, "type 200 payload: unknown and critical");
  // IKEv1's numbers are unknown too (section 3.2).
  EXPECT_FALSE(parse_payloads(1, from_hex("00800004")).has_value());
}

TEST(Chain, TheCriticalBitOfKnownPayloadsIsIgnored) {
  EXPECT_EQ(parsed(kVendorId, "00800005aa").size(), 1u);
}

TEST(Chain, ReservedFieldsAreIgnored) {
  const auto ke = parsed(kKeyExchange,
                         "007f000a"
                         "0013ffff"
                         "abcd");
  EXPECT_EQ(std::get<KeyExchangeData>(ke[0]).data, from_hex("abcd"));
  const auto sa = parsed(kSecurityAssociation,
                         "00000018"
                         "00ff001401010001"
                         "00ff000c01ff0014"
                         "800e0100");
  EXPECT_EQ(std::get<SecurityAssociation>(sa[0]).proposals[0].transforms[0],
            (Transform{TransformType::kEncryption, 20, 256}));
  const auto id = parsed(kIdResponder,
                         "0000000a"
                         "02ffffff"
                         "6777");
  EXPECT_EQ(std::get<IdPayload>(id[0]).identity.data, text_bytes("gw"));
}

TEST(Chain, ConfigurationAndEapStayAsTheyAre) {
  const std::string_view hex =
      "30800006"
      "0100"
      "00000005"
      "01";
  const auto payloads = parsed(kConfiguration, hex);
  ASSERT_EQ(payloads.size(), 2u);
  EXPECT_EQ(std::get<RawPayload>(payloads[0]).type, 47);
  EXPECT_TRUE(std::get<RawPayload>(payloads[0]).critical);
  EXPECT_EQ(std::get<RawPayload>(payloads[1]).data, from_hex("01"));
  EXPECT_EQ(to_hex(encode_payloads(payloads).bytes), hex);
}

TEST(Chain, AttributesThatWeDoNotKnowSpoilTheirTransformOnly) {
  const auto spoilt = [](std::string_view attributes) {
    const size_t bytes = attributes.size() / 2;
    const Bytes more = from_hex(attributes);
    Bytes chain = from_hex(
        "00000014"
        "0000001001010001"
        "0000000801000014");
    chain.insert(chain.end(), more.begin(), more.end());
    for (const size_t at : {3, 7, 15}) chain[at] = static_cast<uint8_t>(chain[at] + bytes);
    const auto payloads = parse_payloads(33, chain).value();
    return std::get<SecurityAssociation>(payloads[0]).proposals[0].transforms[0].has_unknown_attribute;
  };
  EXPECT_FALSE(spoilt("800e0100"));
  EXPECT_TRUE(spoilt("800f0100"));        // unknown, short
  EXPECT_TRUE(spoilt("000f0003aabbcc"));  // unknown, long
  EXPECT_TRUE(spoilt("000e00020100"));    // a key length in the long form
  EXPECT_TRUE(
      spoilt("800e0100"
             "800e0080"));  // two key lengths
  EXPECT_TRUE(
      spoilt("800e0100"
             "000f0000"));
}

TEST(Chain, SelectorsOfUnknownTypesAreLeftOut) {
  // RFC 4595's FC type between two of IPv4.
  const std::string_view v4 = "07000010"
                              "0000ffff"
                              "0a000000"
                              "0a0000ff",
                         fc = "09000008"
                              "00000000";
  const auto some = parsed(kTsInitiator,
                           "00000030"
                           "03000000" +
                               std::string(v4) + std::string(fc) + std::string(v4));
  EXPECT_EQ(std::get<TrafficSelectors>(some[0]).selectors.size(), 2u);
  const auto none = parsed(kTsInitiator,
                           "00000010"
                           "01000000" +
                               std::string(fc));
  EXPECT_TRUE(std::get<TrafficSelectors>(none[0]).selectors.empty());
}

// An IPv6 selector must not turn into one of IPv4.
TEST(Chain, MappedAddressesAreLeftOut) {
  const std::string mapped = "00000000000000000000ffffc0000201", all_ones(32, 'f'), zeros(32, '0');
  const auto count = [](const std::string& low, const std::string& high) {
    const auto ts = parsed(kTsInitiator,
                           "00000030"
                           "01000000"
                           "08000028"
                           "0000ffff" +
                               low + high);
    return std::get<TrafficSelectors>(ts[0]).selectors.size();
  };
  EXPECT_EQ(count(mapped, mapped), 0u);
  EXPECT_EQ(count(zeros, mapped), 0u);
  EXPECT_EQ(count(mapped, all_ones), 0u);
  EXPECT_EQ(count(zeros, all_ones), 1u);
}

// --- Names ---

TEST(Names, AreThoseOfIanaOrNumbers) {
  EXPECT_EQ(name_of(NotifyType::kNoProposalChosen), "NO_PROPOSAL_CHOSEN");
  EXPECT_EQ(name_of(NotifyType::kSignatureHashAlgorithms), "SIGNATURE_HASH_ALGORITHMS");
  EXPECT_EQ(name_of(NotifyType{40960}), "40960");
  EXPECT_EQ(name_of(ExchangeType::kCreateChildSa), "CREATE_CHILD_SA");
  EXPECT_EQ(name_of(ExchangeType{43}), "exchange 43");
  EXPECT_EQ(name_of(PayloadType::kTsResponder), "TSr");
  EXPECT_EQ(name_of(PayloadType{99}), "type 99");
}

}  // namespace
}  // namespace espalier::ike

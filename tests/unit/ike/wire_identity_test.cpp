// ike/identity.hpp: texts as strongSwan reads them (ipsec.conf(5) "leftid"), DER names against the openssl
// program's.
#include "ike/identity.hpp"

#include <gtest/gtest.h>

#include "tests/support/bytes.hpp"

namespace espalier::ike {
namespace {

using espalier::test::from_hex;

Identity parsed(std::string_view text) {
  const auto identity = parse_identity(text);
  if (!identity) throw std::runtime_error(identity.error().text);
  return identity->value();
}
Identity with_text(IdType type, std::string_view text) {
  return {type, {text.begin(), text.end()}};
}

struct Reading {
  const char* text;
  IdType type;
  const char* data;  // as it stands, or "0x" and hexadecimal
  const char* shown;
};
const Reading kReadings[] = {
    {"192.0.2.1", IdType::kIpv4, "0xc0000201", "192.0.2.1"},
    {"ipv4:192.0.2.1", IdType::kIpv4, "0xc0000201", "192.0.2.1"},
    {"2001:db8::1", IdType::kIpv6, "0x20010db8000000000000000000000001", "2001:db8::1"},
    {"ipv6:2001:db8::1", IdType::kIpv6, "0x20010db8000000000000000000000001", "2001:db8::1"},
    {"gw.example.org", IdType::kFqdn, "gw.example.org", "gw.example.org"},
    {"@gw.example.org", IdType::kFqdn, "gw.example.org", "gw.example.org"},
    {"fqdn:gw.example.org", IdType::kFqdn, "gw.example.org", "gw.example.org"},
    {"@192.0.2.1", IdType::kFqdn, "192.0.2.1", "@192.0.2.1"},
    {"@a@b", IdType::kFqdn, "a@b", "@a@b"},
    {"admin@example.org", IdType::kEmail, "admin@example.org", "admin@example.org"},
    {"email:admin@example.org", IdType::kEmail, "admin@example.org", "admin@example.org"},
    {"@@gw", IdType::kEmail, "gw", "email:gw"},
    {"keyid:0x6b00ff", IdType::kKeyId, "0x6b00ff", "keyid:0x6b00ff"},
    {"keyid:site 7", IdType::kKeyId, "site 7", "keyid:0x736974652037"},
    {"keyid:site7", IdType::kKeyId, "site7", "keyid:site7"},
    {"@#6b6579", IdType::kKeyId, "key", "keyid:key"},
};

TEST(Identity, IsReadAndShown) {
  for (const Reading& reading : kReadings) {
    SCOPED_TRACE(reading.text);
    const std::string_view data = reading.data;
    const Identity expected =
        data.starts_with("0x") ? Identity{reading.type, from_hex(data)} : with_text(reading.type, data);
    EXPECT_EQ(parsed(reading.text), expected);
    EXPECT_EQ(to_text(expected), reading.shown);
    EXPECT_EQ(parsed(reading.shown), expected);
  }
}

TEST(Identity, AnyIsNone) {
  EXPECT_EQ(parse_identity("%any").value(), std::nullopt);
  EXPECT_EQ(parse_identity("").value(), std::nullopt);
}

TEST(Identity, RefusesWhatIsNone) {
  for (const char* text : {"@", "keyid:", "keyid:0x", "keyid:0x123", "keyid:0xzz", "@#", "@#1", "@#+1",
                           "ipv4:gw", "ipv4:2001:db8::1", "ipv6:192.0.2.1", "::ffff:192.0.2.1", "gw:one",
                           "two words", "fqdn:", "nonsense=1"})
    EXPECT_FALSE(parse_identity(text).has_value()) << text;
  EXPECT_FALSE(parse_identity(std::string(256, 'a')).has_value());
}

TEST(Identity, WhatAPeerMadeUpIsPrintable) {
  for (const IdType type : {IdType::kIpv4, IdType::kFqdn, IdType::kEmail, IdType::kIpv6,
                            IdType::kDistinguishedName, IdType::kGeneralName, IdType::kKeyId, IdType{77}})
    for (const Bytes& data :
         {Bytes(), Bytes{0}, Bytes{'a', '\n', 0x1b, 0xff}, Bytes(60000, 'A'), Bytes(60000, 7)}) {
      const std::string text = to_text(Identity{type, data});
      EXPECT_FALSE(text.empty());
      EXPECT_LE(text.size(), 600u);
      for (const char c : text) EXPECT_TRUE(c >= ' ' && c < 0x7f) << static_cast<int>(type);
    }
}

TEST(Identity, OfAnAddress) {
  EXPECT_EQ(identity_of(Ipv4Address::from_host(0xc0000201)), parsed("192.0.2.1"));
  EXPECT_EQ(identity_of(IpAddress::from_host(uint128{0x20010db800000000} << 64 | 1)), parsed("2001:db8::1"));
}

int quality_of(std::string_view configured, std::string_view seen) {
  return quality(parse_identity(configured).value(), parsed(seen));
}

TEST(Identity, Quality) {
  EXPECT_EQ(quality_of("%any", "gw.example.org"), 1);
  EXPECT_EQ(quality_of("gw.example.org", "@GW.Example.org"), 3);
  EXPECT_EQ(quality_of("gw.example.org", "gw.example.or"), 0);
  EXPECT_EQ(quality_of("*.example.org", "gw.example.org"), 2);
  EXPECT_EQ(quality_of("*.example.org", "a.b.EXAMPLE.org"), 2);
  EXPECT_EQ(quality_of("*.example.org", "example.org"), 0);
  EXPECT_EQ(quality_of("*.example.org", "@.example.org"), 0);
  EXPECT_EQ(quality_of("*.example.org", "gwexample.org"), 0);
  EXPECT_EQ(quality_of("gw.example.org", "@*.example.org"), 0);  // a peer's own wildcard is none
  EXPECT_EQ(quality_of("*@example.org", "admin@example.org"), 2);
  EXPECT_EQ(quality_of("admin@example.org", "@admin@example.org"), 0);  // an FQDN is no e-mail
  EXPECT_EQ(quality_of("192.0.2.1", "192.0.2.1"), 3);
  EXPECT_EQ(quality_of("192.0.2.1", "192.0.2.2"), 0);
  EXPECT_EQ(quality_of("192.0.2.1", "@192.0.2.1"), 0);
  EXPECT_EQ(quality_of("keyid:key", "@#6b6579"), 3);
  EXPECT_EQ(quality_of("keyid:key", "keyid:KEY"), 0);
  EXPECT_TRUE(accepts(std::nullopt, parsed("gw")));
  EXPECT_FALSE(accepts(parsed("gw"), parsed("gw2")));
}

// `openssl req -new -subj "/C=CH/O=Example/CN=gw"`, the subject of its request.
const char* const kOpensslName =
    "302c310b3009060355040613024348"
    "3110300e060355040a0c074578616d706c65"
    "310b300906035504030c026777";

TEST(Identity, DistinguishedNames) {
  const Identity name{IdType::kDistinguishedName, from_hex(kOpensslName)};
  EXPECT_EQ(to_text(name), "C=CH, O=Example, CN=gw");
  EXPECT_EQ(quality(parsed("C=CH, O=Example, CN=gw"), name), 3);
  EXPECT_EQ(quality(parsed("asn1dn:C=ch, O=EXAMPLE, CN=GW"), name), 3);
  EXPECT_EQ(quality(parsed("C=CH, O=Example, CN=*"), name), 2);
  EXPECT_EQ(quality(parsed("C=CH, O=Example"), name), 0);
  EXPECT_EQ(quality(parsed("C=CH, O=Other, CN=*"), name), 0);
}

TEST(Identity, DistinguishedNamesBeyondAscii) {
  // An umlaut; U+009B, by which some terminals take commands.
  const Identity umlaut = parsed("C=CH, O=M\xc3\xbcller");
  EXPECT_EQ(to_text(umlaut), "C=CH, O=M\\C3\\BCller");
  EXPECT_EQ(parsed(to_text(umlaut)), umlaut);
  EXPECT_EQ(to_text(parsed("C=CH, O=a\xc2\x9b")), "C=CH, O=a\\C2\\9B");
}

}  // namespace
}  // namespace espalier::ike

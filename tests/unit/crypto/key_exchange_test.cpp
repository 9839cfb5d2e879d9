// crypto/key_exchange.hpp against RFC 5903, RFC 7748, and Python's integers.
#include "crypto/key_exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/crypto/vectors.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint16_t kModp[] = {2, 5, 14, 15, 16, 17, 18};
constexpr uint16_t kEcp[] = {19, 20, 21};
constexpr uint16_t kMontgomery[] = {31, 32};

Bytes bytes_of(std::span<const uint8_t> span) {
  return {span.begin(), span.end()};
}

std::vector<test::DhVector> vectors_of(const std::string& file) {
  return test::read_dh_vectors(std::string(VECTOR_DIR "/") + file);
}

void check(const test::DhVector& vector) {
  SCOPED_TRACE(vector.name);
  const auto ours = KeyExchange::restore(vector.group.at(0), vector.private_value, vector.public_value);
  ASSERT_TRUE(ours) << ours.error();
  EXPECT_EQ(bytes_of(ours->public_value()), vector.public_value);
  const auto secret = ours->derive(vector.peer_public);
  ASSERT_TRUE(secret) << secret.error();
  EXPECT_EQ(bytes_of(secret->view()), vector.secret);
}

TEST(KeyExchangeVectors, OfTheRfcs) {
  const auto vectors = vectors_of("dh_rfc_vectors.txt");
  ASSERT_EQ(vectors.size(), 10u);
  for (const auto& vector : vectors) check(vector);
}

// Half of them have secrets that begin with zero bytes.
TEST(KeyExchangeVectors, OfTheModel) {
  const auto vectors = vectors_of("dh_model_vectors.txt");
  ASSERT_EQ(vectors.size(), 20u);
  for (const auto& vector : vectors) check(vector);
  for (size_t i = 1; i < vectors.size(); i += 2) EXPECT_EQ(vectors[i].secret[0], 0);
}

void check_agreement(uint16_t group) {
  SCOPED_TRACE(group);
  const auto one = KeyExchange::generate(group), two = KeyExchange::generate(group);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->group(), group);
  EXPECT_EQ(one->public_value().size(), KeyExchange::public_bytes(group));
  EXPECT_NE(bytes_of(one->public_value()), bytes_of(two->public_value()));
  const auto secret = one->derive(two->public_value());
  ASSERT_TRUE(secret) << secret.error();
  EXPECT_EQ(bytes_of(secret->view()), bytes_of(two->derive(one->public_value()).value().view()));
}

TEST(KeyExchange, BothSidesAgree) {
  for (const uint16_t group : kModp) check_agreement(group);
  for (const uint16_t group : kEcp) check_agreement(group);
  for (const uint16_t group : kMontgomery) check_agreement(group);
}

void check_restored(uint16_t group) {
  SCOPED_TRACE(group);
  const auto begun = KeyExchange::generate(group).value(), peer = KeyExchange::generate(group).value();
  const auto kept = begun.private_value();
  ASSERT_TRUE(kept) << kept.error();
  const auto restored = KeyExchange::restore(group, kept->view(), begun.public_value());
  ASSERT_TRUE(restored) << restored.error();
  EXPECT_EQ(bytes_of(restored->derive(peer.public_value()).value().view()),
            bytes_of(begun.derive(peer.public_value()).value().view()));
}

TEST(KeyExchange, GoesOnInAnotherProcess) {
  for (const uint16_t group : kModp) check_restored(group);
  for (const uint16_t group : kEcp) check_restored(group);
  for (const uint16_t group : kMontgomery) check_restored(group);
}

TEST(KeyExchange, KnowsItsGroupsOnly) {
  const size_t lengths[33] = {0,   0,    128, 0,  0,   192, 0, 0, 0, 0, 0, 0, 0, 0, 256, 384, 512,
                              768, 1024, 64,  96, 132, 0,   0, 0, 0, 0, 0, 0, 0, 0, 32,  56};
  for (uint16_t group = 0; group < 33; ++group) {
    EXPECT_EQ(KeyExchange::public_bytes(group), lengths[group]) << group;
    EXPECT_EQ(KeyExchange::is_supported(group), lengths[group] != 0) << group;
  }
  EXPECT_FALSE(KeyExchange::generate(22));
  EXPECT_FALSE(KeyExchange::generate(65535));
}

TEST(KeyExchange, RefusesOtherLengths) {
  for (const uint16_t group : {14, 19, 21, 31, 32}) {
    const auto ours = KeyExchange::generate(group).value();
    const Bytes right = bytes_of(KeyExchange::generate(group).value().public_value());
    Bytes shorter(right.begin(), right.end() - 1), longer = right, prefixed = right;
    longer.push_back(0);
    prefixed.insert(prefixed.begin(), 4);
    for (const Bytes& wrong : {Bytes(), shorter, longer, prefixed}) EXPECT_FALSE(ours.derive(wrong)) << group;
    EXPECT_TRUE(ours.derive(right));
  }
}

// As RFC 2409 and RFC 3526 define it.
Bytes modp_prime(uint16_t group) {
  for (const auto& vector : vectors_of("dh_model_vectors.txt"))
    if (vector.group.at(0) == group) return vector.prime;
  return {};
}

// By us, whatever OpenSSL thinks of them: its releases differ in what they check.
TEST(KeyExchange, RefusesModpValuesOutOfRange) {
  for (const uint16_t group : kModp) {
    SCOPED_TRACE(group);
    const auto ours = KeyExchange::generate(group).value();
    const Bytes p = modp_prime(group);
    ASSERT_EQ(p.size(), KeyExchange::public_bytes(group));
    const auto with_end = [&](Bytes value, uint8_t end) {
      value.back() = end;
      return value;
    };
    const Bytes zero(p.size());
    ASSERT_EQ(p.back(), 0xff);
    for (const Bytes& wrong : {zero, with_end(zero, 1), with_end(p, 0xfe), p, Bytes(p.size(), 0xff)}) {
      const auto refused = ours.derive(wrong);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error(), "the peer's public value is out of range");
    }
    EXPECT_TRUE(ours.derive(with_end(zero, 2)));
  }
}

TEST(KeyExchange, RefusesPointsOffTheCurve) {
  for (const uint16_t group : kEcp) {
    const auto ours = KeyExchange::generate(group).value();
    const Bytes right = bytes_of(KeyExchange::generate(group).value().public_value());
    for (const size_t at : {size_t{5}, right.size() / 2 - 1, right.size() - 1}) {
      Bytes wrong = right;
      wrong[at] ^= 1;
      EXPECT_FALSE(ours.derive(wrong)) << group << " " << at;
    }
    EXPECT_FALSE(ours.derive(Bytes(right.size())));
    EXPECT_FALSE(ours.derive(Bytes(right.size(), 0xff)));
  }
}

// Points of small order give zero whatever the private value is (RFC 7748 section 6).
TEST(KeyExchange, RefusesSharedSecretsOfZero) {
  for (const uint16_t group : kMontgomery) {
    const auto ours = KeyExchange::generate(group).value();
    Bytes point(KeyExchange::public_bytes(group));
    EXPECT_FALSE(ours.derive(point)) << group;
    point[0] = 1;
    EXPECT_FALSE(ours.derive(point)) << group;
    point[0] = 9;
    EXPECT_TRUE(ours.derive(point)) << group;
  }
}

}  // namespace
}  // namespace espalier::crypto

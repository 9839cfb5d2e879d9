// crypto/prf.hpp against RFC 2202, RFC 4231, NIST's IKEv2 samples and HMAC by hand.
#include "crypto/prf.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "tests/unit/crypto/vectors.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

std::string data_file(const std::string& name) {
  return std::string(VECTOR_DIR "/") + name;
}

Bytes bytes_of(const Secret& secret) {
  return {secret.view().begin(), secret.view().end()};
}

Bytes first(const Bytes& bytes, size_t count) {
  return {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count)};
}

constexpr Prf kAll[] = {Prf::kHmacSha1, Prf::kHmacSha256, Prf::kHmacSha384, Prf::kHmacSha512};

// HMAC from the hash alone (RFC 2104 section 2).
Bytes naive_hmac(Prf which, Bytes key, const Bytes& data) {
  const EVP_MD* hashes[] = {::EVP_sha1(), ::EVP_sha256(), ::EVP_sha384(), ::EVP_sha512()};
  const EVP_MD* hash = hashes[static_cast<size_t>(which)];
  const auto digest = [&](const Bytes& in) {
    Bytes out(prf_bytes(which));
    EXPECT_EQ(::EVP_Digest(in.data(), in.size(), out.data(), nullptr, hash, nullptr), 1);
    return out;
  };
  const auto block = static_cast<size_t>(::EVP_MD_get_block_size(hash));
  if (key.size() > block) key = digest(key);
  key.resize(block);
  Bytes inner = key, outer = key;
  for (uint8_t& byte : inner) byte ^= 0x36;
  for (uint8_t& byte : outer) byte ^= 0x5c;
  inner.insert(inner.end(), data.begin(), data.end());
  const Bytes inside = digest(inner);
  outer.insert(outer.end(), inside.begin(), inside.end());
  return digest(outer);
}

Bytes naive_prf_plus(Prf which, const Bytes& key, const Bytes& seed, size_t bytes) {
  Bytes all, before;
  for (uint8_t number = 1; all.size() < bytes; ++number) {
    before.insert(before.end(), seed.begin(), seed.end());
    before.push_back(number);
    before = naive_hmac(which, key, before);
    all.insert(all.end(), before.begin(), before.end());
  }
  all.resize(bytes);
  return all;
}

void check_hmac(const std::string& file, size_t count) {
  size_t checked = 0;
  for (const auto& vector : test::read_hmac_vectors(data_file(file))) {
    SCOPED_TRACE(vector.name);
    const Bytes* digests[] = {&vector.sha1, &vector.sha256, &vector.sha384, &vector.sha512};
    for (const Prf which : kAll) {
      const Bytes& expected = *digests[static_cast<size_t>(which)];
      if (expected.empty()) continue;
      EXPECT_EQ(bytes_of(prf(which, vector.key, {vector.data}).value()), expected);
      const Bytes half = first(vector.data, vector.data.size() / 2);
      const Bytes rest(vector.data.begin() + static_cast<ptrdiff_t>(half.size()), vector.data.end());
      EXPECT_EQ(bytes_of(prf(which, vector.key, {half, {}, rest}).value()), expected);
      ++checked;
    }
  }
  EXPECT_EQ(checked, count);
}

TEST(PrfVectors, OfTheRfcs) {
  check_hmac("hmac_vectors.txt", 15);
  check_hmac("hmac_long_key_vectors.txt", 7);
}

TEST(PrfVectors, OfNistsIkev2Samples) {
  const auto vectors = test::read_prf_plus_vectors(data_file("prf_plus_vectors.txt"));
  ASSERT_EQ(vectors.size(), 3u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.name);
    const auto which = static_cast<Prf>(vector.hash.at(0));
    EXPECT_EQ(bytes_of(prf(which, vector.nonces, {vector.shared_secret}).value()), vector.key);
    for (const size_t bytes : {size_t{15}, prf_bytes(which), vector.output.size()})
      EXPECT_EQ(bytes_of(prf_plus(which, vector.key, {vector.seed}, bytes).value()),
                first(vector.output, bytes));
    const Bytes sk_d = first(vector.output, prf_bytes(which));
    EXPECT_EQ(bytes_of(prf(which, sk_d, {vector.rekey_secret, vector.nonces}).value()), vector.rekeyed);
  }
}

TEST(Prf, EveryKeyLength) {
  for (const Prf which : kAll)
    for (const size_t bytes : {0, 1, 19, 20, 64, 65, 128, 129, 1000}) {
      const Bytes key(bytes, 0x5a), data(33, 7);
      EXPECT_EQ(bytes_of(prf(which, key, {data}).value()), naive_hmac(which, key, data)) << bytes;
    }
}

TEST(PrfPlus, AsTheNaiveOneUpToItsLimit) {
  const Bytes key(40, 1), nonce(32, 2), spis(16, 3);
  Bytes seed = nonce;
  seed.insert(seed.end(), spis.begin(), spis.end());
  for (const Prf which : kAll) {
    const size_t limit = 255 * prf_bytes(which);
    for (const size_t bytes : {size_t{0}, size_t{1}, prf_bytes(which) + 1, size_t{300}, limit})
      EXPECT_EQ(bytes_of(prf_plus(which, key, {nonce, spis}, bytes).value()),
                naive_prf_plus(which, key, seed, bytes));
    EXPECT_FALSE(prf_plus(which, key, {seed}, limit + 1));
  }
}

// printf abc | sha1sum, as FIPS 180-2 appendix A.1 has it.
TEST(Sha1, Abc) {
  const Bytes ab{'a', 'b'}, c{'c'};
  const std::array<uint8_t, 20> expected{0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
                                         0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d};
  EXPECT_EQ(sha1({ab, c}).value(), expected);
}

}  // namespace
}  // namespace espalier::crypto

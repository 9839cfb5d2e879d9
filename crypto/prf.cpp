#include "crypto/prf.hpp"

#include <openssl/core_names.h>

#include <algorithm>

#include "crypto/openssl.hpp"

namespace espalier::crypto {
namespace {

Integrity hash_of(Prf which) {
  switch (which) {
    case Prf::kHmacSha1:
      return Integrity::kHmacSha1;
    case Prf::kHmacSha256:
      return Integrity::kHmacSha256;
    case Prf::kHmacSha384:
      return Integrity::kHmacSha384;
    case Prf::kHmacSha512:
      return Integrity::kHmacSha512;
  }
  __builtin_unreachable();
}

openssl::MacContext keyed_hmac(Prf which, std::span<const uint8_t> key) {
  static constexpr uint8_t kNothing = 0;  // a null key would mean "the one of before" to OpenSSL
  openssl::MacContext context(::EVP_MAC_CTX_new(openssl::algorithms().hmac()));
  const OSSL_PARAM parameters[] = {
      ::OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                         const_cast<char*>(openssl::digest_name(hash_of(which))), 0),
      ::OSSL_PARAM_construct_end()};
  if (!context ||
      ::EVP_MAC_init(context.get(), key.empty() ? &kNothing : key.data(), key.size(), parameters) != 1)
    return nullptr;
  return context;
}

bool update(EVP_MAC_CTX* context, Parts parts) {
  return std::ranges::all_of(parts, [&](std::span<const uint8_t> part) {
    return ::EVP_MAC_update(context, part.data(), part.size()) == 1;
  });
}

// `out`: as many bytes as the hash has.
bool finish(EVP_MAC_CTX* context, std::span<uint8_t> out) {
  size_t written = 0;
  return ::EVP_MAC_final(context, out.data(), &written, out.size()) == 1 && written == out.size();
}

}  // namespace

std::expected<Secret, std::string> prf(Prf which, std::span<const uint8_t> key, Parts parts) {
  const openssl::MacContext context = keyed_hmac(which, key);
  Secret out(prf_bytes(which));
  if (!context || !update(context.get(), parts) || !finish(context.get(), out.span()))
    return openssl::failure("prf");
  return out;
}

// T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n), one behind the other.
std::expected<Secret, std::string> prf_plus(Prf which, std::span<const uint8_t> key, Parts seed,
                                            size_t bytes) {
  const size_t block = prf_bytes(which);
  if (bytes > 255 * block) return std::unexpected("prf+ cannot give that many bytes");
  const openssl::MacContext keyed = keyed_hmac(which, key);
  if (!keyed) return openssl::failure("prf+");
  const size_t blocks = (bytes + block - 1) / block;
  Secret all(blocks * block);
  for (size_t i = 0; i < blocks; ++i) {
    const openssl::MacContext context(::EVP_MAC_CTX_dup(keyed.get()));
    const auto before = i == 0 ? std::span<const uint8_t>() : all.view().subspan((i - 1) * block, block);
    const auto number = static_cast<uint8_t>(i + 1);
    if (!context || !update(context.get(), {before}) || !update(context.get(), seed) ||
        !update(context.get(), {{&number, 1}}) ||
        !finish(context.get(), all.span().subspan(i * block, block)))
      return openssl::failure("prf+");
  }
  return Secret(all.view().first(bytes));
}

std::expected<std::array<uint8_t, 20>, std::string> sha1(Parts parts) {
  const openssl::DigestContext context(::EVP_MD_CTX_new());
  const EVP_MD* digest = openssl::algorithms().digest(Integrity::kHmacSha1);
  std::array<uint8_t, 20> out;
  if (!context || ::EVP_DigestInit_ex2(context.get(), digest, nullptr) != 1 ||
      !std::ranges::all_of(parts,
                           [&](std::span<const uint8_t> part) {
                             return ::EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
                           }) ||
      ::EVP_DigestFinal_ex(context.get(), out.data(), nullptr) != 1)
    return openssl::failure("SHA-1");
  return out;
}

}  // namespace espalier::crypto

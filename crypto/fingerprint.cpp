#include "crypto/fingerprint.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <memory>
#include <string_view>

namespace espalier::crypto {
namespace {

// Keeps these hashes apart from every other use of SHA-256 over the same key.
constexpr std::string_view kDomain = "espalier sa key fingerprint 1";

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { ::EVP_MD_CTX_free(context); }  // wipes the hash's state
};

// A part with its length in front, so that no two different lists of parts give the same input.
bool update(EVP_MD_CTX* context, std::span<const uint8_t> part) {
  const auto length = static_cast<uint32_t>(part.size());
  const uint8_t prefix[4] = {static_cast<uint8_t>(length >> 24), static_cast<uint8_t>(length >> 16),
                             static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  return ::EVP_DigestUpdate(context, prefix, sizeof prefix) == 1 &&
         ::EVP_DigestUpdate(context, part.data(), part.size()) == 1;
}

}  // namespace

std::expected<Fingerprint, std::string> fingerprint(std::span<const uint8_t> key,
                                                    std::span<const uint8_t> salt,
                                                    std::span<const uint8_t> auth_key) {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(::EVP_MD_CTX_new());
  Fingerprint result;
  const auto* domain = reinterpret_cast<const uint8_t*>(kDomain.data());
  if (!context || ::EVP_DigestInit_ex(context.get(), ::EVP_sha256(), nullptr) != 1 ||
      !update(context.get(), {domain, kDomain.size()}) || !update(context.get(), key) ||
      !update(context.get(), salt) || (!auth_key.empty() && !update(context.get(), auth_key)) ||
      ::EVP_DigestFinal_ex(context.get(), result.data(), nullptr) != 1)
    return std::unexpected(fmt::format("SHA-256: {}", ::ERR_error_string(::ERR_get_error(), nullptr)));
  return result;
}

}  // namespace espalier::crypto

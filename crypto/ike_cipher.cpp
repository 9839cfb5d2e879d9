#include "crypto/ike_cipher.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <climits>

#include "crypto/openssl.hpp"
#include "crypto/prf.hpp"
#include "crypto/random.hpp"

namespace espalier::crypto {
namespace {

constexpr const char* kNotAuthentic = "not authentic";

int length_of(std::span<const uint8_t> bytes) {
  return static_cast<int>(bytes.size());
}

Prf prf_of(Integrity integrity) {
  switch (integrity) {
    case Integrity::kNone:
    case Integrity::kHmacSha1:
      return Prf::kHmacSha1;
    case Integrity::kHmacSha256:
      return Prf::kHmacSha256;
    case Integrity::kHmacSha384:
      return Prf::kHmacSha384;
    case Integrity::kHmacSha512:
      return Prf::kHmacSha512;
  }
  __builtin_unreachable();
}

// Salt and IV, one behind the other (RFC 5282 section 4, RFC 7634 section 2).
std::array<uint8_t, 12> nonce_of(std::span<const uint8_t> salt, std::span<const uint8_t> iv) {
  std::array<uint8_t, 12> nonce;
  std::ranges::copy(iv, std::ranges::copy(salt, nonce.begin()).out);
  return nonce;
}

enum Direction : int { kDecrypt = 0, kEncrypt = 1 };

openssl::CipherContext keyed(const EspSuite& suite, std::span<const uint8_t> key, const uint8_t* iv,
                             Direction direction) {
  const EVP_CIPHER* cipher = openssl::algorithms().cipher(suite);
  openssl::CipherContext context(::EVP_CIPHER_CTX_new());
  if (cipher == nullptr || !context ||
      ::EVP_CipherInit_ex2(context.get(), cipher, key.data(), iv, direction, nullptr) != 1)
    return nullptr;
  return context;
}

// Without padding: `out` is as long as `in`. An empty `in` is nothing to do.
bool transform(EVP_CIPHER_CTX* context, std::span<const uint8_t> in, std::span<uint8_t> out) {
  int written = 0;
  return in.empty() || (::EVP_CipherUpdate(context, out.data(), &written, in.data(), length_of(in)) == 1 &&
                        written == length_of(in));
}

bool add_associated(EVP_CIPHER_CTX* context, std::span<const uint8_t> associated) {
  int written = 0;
  return ::EVP_CipherUpdate(context, nullptr, &written, associated.data(), length_of(associated)) == 1;
}

// AEADs write nothing here; decrypting, it tells whether the tag is right.
bool finish(EVP_CIPHER_CTX* context) {
  std::array<uint8_t, EVP_MAX_BLOCK_LENGTH> rest;
  int written = 0;
  return ::EVP_CipherFinal_ex(context, rest.data(), &written) == 1;
}

}  // namespace

std::expected<IkeCipher, std::string> IkeCipher::create(const EspSuite& suite, std::span<const uint8_t> key,
                                                        std::span<const uint8_t> integrity_key) {
  if (const char* reason = suite.why_invalid()) return std::unexpected(reason);
  if (openssl::algorithms().cipher(suite) == nullptr)
    return std::unexpected("IKE messages cannot be protected with this cipher");
  if (key.size() != size_t{suite.key_bytes} + suite.salt_bytes())
    return std::unexpected(fmt::format("a key of {} bytes does not fit the cipher", key.size()));
  if (integrity_key.size() != suite.auth_key_bytes())
    return std::unexpected(
        fmt::format("a key of {} bytes does not fit the integrity algorithm", integrity_key.size()));
  return IkeCipher(suite, key, integrity_key);
}

auto IkeCipher::seal(Bytes associated, Bytes plaintext, uint64_t counter, std::vector<uint8_t>& out) const
    -> Status {
  if (plaintext.size() % block_bytes() != 0) return std::unexpected("plaintext that is not padded");
  if (plaintext.size() > INT_MAX / 2 || associated.size() > INT_MAX / 2)
    return std::unexpected("message too long");
  std::vector<uint8_t> sealed(iv_bytes() + plaintext.size() + icv_bytes());
  const Status status = suite_.is_aead() ? seal_aead(associated, plaintext, counter, sealed)
                                         : seal_cbc(associated, plaintext, sealed);
  if (status) out.insert(out.end(), sealed.begin(), sealed.end());
  return status;
}

auto IkeCipher::open(Bytes associated, Bytes sealed) const
    -> std::expected<std::vector<uint8_t>, std::string> {
  if (sealed.size() > INT_MAX / 2 || associated.size() > INT_MAX / 2)
    return std::unexpected("message too long");
  if (sealed.size() < iv_bytes() + icv_bytes()) return std::unexpected("encrypted payload too short");
  std::vector<uint8_t> plaintext(sealed.size() - iv_bytes() - icv_bytes());
  if (plaintext.size() % block_bytes() != 0)
    return std::unexpected("encrypted payload is no multiple of the cipher's block");
  const Status status =
      suite_.is_aead() ? open_aead(associated, sealed, plaintext) : open_cbc(associated, sealed, plaintext);
  if (status) return plaintext;
  wipe(plaintext.data(), plaintext.size());
  return std::unexpected(status.error());
}

auto IkeCipher::seal_aead(Bytes associated, Bytes plaintext, uint64_t counter,
                          std::span<uint8_t> sealed) const -> Status {
  for (size_t i = 0; i < iv_bytes(); ++i) sealed[i] = static_cast<uint8_t>(counter >> (56 - 8 * i));
  const auto nonce = nonce_of(key_.view().subspan(suite_.key_bytes), sealed.first(iv_bytes()));
  const std::span<uint8_t> icv = sealed.last(icv_bytes());
  const auto context = keyed(suite_, key_.view(), nonce.data(), kEncrypt);
  if (!context || !add_associated(context.get(), associated) ||
      !transform(context.get(), plaintext, sealed.subspan(iv_bytes(), plaintext.size())) ||
      !finish(context.get()) ||
      ::EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, length_of(icv), icv.data()) != 1)
    return openssl::failure("encryption");
  return {};
}

auto IkeCipher::open_aead(Bytes associated, Bytes sealed, std::span<uint8_t> plaintext) const -> Status {
  const auto nonce = nonce_of(key_.view().subspan(suite_.key_bytes), sealed.first(iv_bytes()));
  std::vector<uint8_t> icv(sealed.end() - static_cast<ptrdiff_t>(icv_bytes()), sealed.end());
  const auto context = keyed(suite_, key_.view(), nonce.data(), kDecrypt);
  if (!context ||
      ::EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, length_of(icv), icv.data()) != 1 ||
      !add_associated(context.get(), associated) ||
      !transform(context.get(), sealed.subspan(iv_bytes(), plaintext.size()), plaintext))
    return openssl::failure("decryption");
  const openssl::QuietErrors quiet;
  if (!finish(context.get())) return std::unexpected(kNotAuthentic);
  return {};
}

std::expected<Secret, std::string> IkeCipher::hmac(Bytes associated, Bytes iv_and_ciphertext) const {
  return prf(prf_of(suite_.integrity), integrity_key_.view(), {associated, iv_and_ciphertext});
}

auto IkeCipher::seal_cbc(Bytes associated, Bytes plaintext, std::span<uint8_t> sealed) const -> Status {
  if (auto filled = fill_random(sealed.first(iv_bytes())); !filled) return filled;
  const auto context = keyed(suite_, key_.view(), sealed.data(), kEncrypt);
  if (!context || ::EVP_CIPHER_CTX_set_padding(context.get(), 0) != 1 ||
      !transform(context.get(), plaintext, sealed.subspan(iv_bytes(), plaintext.size())) ||
      !finish(context.get()))
    return openssl::failure("encryption");
  const auto digest = hmac(associated, sealed.first(iv_bytes() + plaintext.size()));
  if (!digest) return std::unexpected(digest.error());
  std::ranges::copy(digest->view().first(icv_bytes()), sealed.last(icv_bytes()).begin());
  return {};
}

// Checked before anything is decrypted (RFC 7296 section 3.14: encrypt, then MAC).
auto IkeCipher::open_cbc(Bytes associated, Bytes sealed, std::span<uint8_t> plaintext) const -> Status {
  const Bytes covered = sealed.first(iv_bytes() + plaintext.size());
  const auto digest = hmac(associated, covered);
  if (!digest) return std::unexpected(digest.error());
  if (::CRYPTO_memcmp(digest->view().data(), sealed.last(icv_bytes()).data(), icv_bytes()) != 0)
    return std::unexpected(kNotAuthentic);
  const auto context = keyed(suite_, key_.view(), sealed.data(), kDecrypt);
  if (!context || ::EVP_CIPHER_CTX_set_padding(context.get(), 0) != 1 ||
      !transform(context.get(), covered.subspan(iv_bytes()), plaintext) || !finish(context.get()))
    return openssl::failure("decryption");
  return {};
}

}  // namespace espalier::crypto

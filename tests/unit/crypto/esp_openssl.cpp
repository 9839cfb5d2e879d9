#include "tests/unit/crypto/esp_openssl.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

namespace espalier::crypto::test {
namespace {

constexpr size_t kPage = 4096;

void require(bool right) {
  if (!right) throw std::runtime_error("OpenSSL");
}

void append(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

Bytes big_endian(uint32_t value) {
  return {static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
          static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
}

const EVP_CIPHER* cipher_of(const EspSuite& suite) {
  if (suite.cipher == Cipher::kChaCha20Poly1305) return ::EVP_chacha20_poly1305();
  const bool gcm = suite.cipher == Cipher::kAesGcm;
  if (suite.key_bytes == 16) return gcm ? ::EVP_aes_128_gcm() : ::EVP_aes_128_cbc();
  if (suite.key_bytes == 24) return gcm ? ::EVP_aes_192_gcm() : ::EVP_aes_192_cbc();
  return gcm ? ::EVP_aes_256_gcm() : ::EVP_aes_256_cbc();
}

const EVP_MD* digest_of(Integrity integrity) {
  const std::map<Integrity, const EVP_MD*> digests{{Integrity::kHmacSha1, ::EVP_sha1()},
                                                   {Integrity::kHmacSha256, ::EVP_sha256()},
                                                   {Integrity::kHmacSha384, ::EVP_sha384()},
                                                   {Integrity::kHmacSha512, ::EVP_sha512()}};
  return digests.at(integrity);
}

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&::EVP_CIPHER_CTX_free)>;

// Ciphertext, and for an AEAD its tag.
Bytes encrypt(const Sa& sa, const Bytes& nonce, const Bytes& aad, const Bytes& plaintext) {
  const Context context(::EVP_CIPHER_CTX_new(), &::EVP_CIPHER_CTX_free);
  EVP_CIPHER_CTX* c = context.get();
  Bytes out(plaintext.size() + 16);
  int used = 0, rest = 0;
  require(::EVP_EncryptInit_ex(c, cipher_of(sa.suite), nullptr, sa.key.data(), nonce.data()) == 1);
  require(::EVP_CIPHER_CTX_set_padding(c, 0) == 1);
  if (!aad.empty())
    require(::EVP_EncryptUpdate(c, nullptr, &used, aad.data(), static_cast<int>(aad.size())) == 1);
  if (used = 0; !plaintext.empty())
    require(::EVP_EncryptUpdate(c, out.data(), &used, plaintext.data(), static_cast<int>(plaintext.size())) ==
            1);
  require(::EVP_EncryptFinal_ex(c, out.data() + used, &rest) == 1);
  require(static_cast<size_t>(used + rest) == plaintext.size());
  out.resize(plaintext.size());
  if (!sa.suite.is_aead()) return out;
  Bytes tag(16);
  require(::EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, tag.data()) == 1);
  append(out, Bytes(tag.begin(), tag.begin() + sa.suite.icv_bytes));
  return out;
}

Bytes hmac(const Sa& sa, const Bytes& data) {
  Bytes out(EVP_MAX_MD_SIZE);
  require(::HMAC(digest_of(sa.suite.integrity), sa.auth_key.data(), static_cast<int>(sa.auth_key.size()),
                 data.data(), data.size(), out.data(), nullptr) != nullptr);
  out.resize(sa.suite.icv_bytes);
  return out;
}

std::vector<uint8_t*>& free_pages() {
  static std::vector<uint8_t*> pages;
  return pages;
}

uint8_t* take_page() {
  if (!free_pages().empty()) {
    uint8_t* page = free_pages().back();
    free_pages().pop_back();
    return page;
  }
  void* made = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED || ::mprotect(static_cast<uint8_t*>(made) + kPage, kPage, PROT_NONE) != 0)
    throw std::runtime_error("no guarded page");
  return static_cast<uint8_t*>(made);
}

}  // namespace

Bytes seal_by_openssl(const Sa& sa, uint32_t spi, uint64_t sequence, const Bytes& iv,
                      const Bytes& plaintext) {
  const Bytes low = big_endian(static_cast<uint32_t>(sequence));
  const Bytes high = sa.esn ? big_endian(static_cast<uint32_t>(sequence >> 32)) : Bytes();
  Bytes packet = big_endian(spi);
  append(packet, low);
  append(packet, iv);
  if (sa.suite.is_aead()) {
    Bytes aad = big_endian(spi), nonce = sa.salt;
    append(aad, high);
    append(aad, low);
    append(nonce, iv);
    append(packet, encrypt(sa, nonce, aad, plaintext));
    return packet;
  }
  append(packet, sa.suite.cipher == Cipher::kNull ? plaintext : encrypt(sa, iv, {}, plaintext));
  Bytes covered = packet;
  append(covered, high);
  append(packet, hmac(sa, covered));
  return packet;
}

GuardedPage::GuardedPage() : page_(take_page()) {}

GuardedPage::~GuardedPage() {
  if (page_) free_pages().push_back(page_);
}

uint8_t* GuardedPage::place(const Bytes& packet) {
  if (packet.size() > kPage) throw std::runtime_error("longer than a page");
  return std::ranges::copy(packet, page_ + kPage - packet.size()).out - packet.size();
}

}  // namespace espalier::crypto::test

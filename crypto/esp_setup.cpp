// The parts of esp_transform.hpp that are not for the packet path: making engines and keys.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crypto/esp_transform.hpp"
#include "crypto/random.hpp"

namespace espalier::crypto {
namespace {

std::unexpected<std::string> refusal(std::string text) {
  return std::unexpected(std::move(text));
}

// AES round keys for both directions; `key` has 16, 24 or 32 bytes, the others are aligned to 16.
void expand_aes(IMB_MGR* manager, std::span<const uint8_t> key, uint8_t* encrypt, uint8_t* decrypt) {
  const keyexp_t expand[] = {manager->keyexp_128, manager->keyexp_192, manager->keyexp_256};
  expand[key.size() / 8 - 2](key.data(), encrypt, decrypt);
}

void expand_gcm(IMB_MGR* manager, std::span<const uint8_t> key, gcm_key_data& tables) {
  const aes_gcm_pre_t expand[] = {manager->gcm128_pre, manager->gcm192_pre, manager->gcm256_pre};
  expand[key.size() / 8 - 2](key.data(), &tables);
}

struct HashBlock {
  hash_one_block_t compress;  // one block from the hash's initial state
  size_t bytes;
};

HashBlock hash_block(const IMB_MGR* manager, Integrity integrity) {
  switch (integrity) {
    case Integrity::kNone:
      break;
    case Integrity::kHmacSha1:
      return {manager->sha1_one_block, IMB_SHA1_BLOCK_SIZE};
    case Integrity::kHmacSha256:
      return {manager->sha256_one_block, IMB_SHA_256_BLOCK_SIZE};
    case Integrity::kHmacSha384:
      return {manager->sha384_one_block, IMB_SHA_384_BLOCK_SIZE};
    case Integrity::kHmacSha512:
      return {manager->sha512_one_block, IMB_SHA_512_BLOCK_SIZE};
  }
  std::unreachable();
}

// The state after the first block of one of the HMAC's two hashes (RFC 2104 section 4). `key` is no longer
// than a block.
void start_hash(const HashBlock& hash, std::span<const uint8_t> key, uint8_t pad, uint8_t* state) {
  alignas(16) std::array<uint8_t, IMB_SHA_512_BLOCK_SIZE> block;
  const WipeAtExit guard(block);
  block.fill(pad);
  for (size_t i = 0; i < key.size(); ++i) block[i] ^= key[i];
  hash.compress(block.data(), state);
}

}  // namespace

EspKey::EspKey(EspKey&& other) noexcept
    : suite_(other.suite_), esn_(other.esn_), salt_(other.salt_), material_(other.material_) {
  wipe(other.material_);
  wipe(other.salt_);
}

EspKey& EspKey::operator=(EspKey&& other) noexcept {
  if (this == &other) return *this;
  suite_ = other.suite_;
  esn_ = other.esn_;
  salt_ = other.salt_;
  material_ = other.material_;
  wipe(other.material_);
  wipe(other.salt_);
  return *this;
}

EspKey::~EspKey() {
  wipe(material_);
  wipe(salt_);
}

EspEngine::EspEngine(Manager wide, Manager narrow)
    : wide_(std::move(wide)),
      narrow_(std::move(narrow)),
      gcm_encrypt_{wide_->gcm128_enc, wide_->gcm192_enc, wide_->gcm256_enc},
      gcm_decrypt_{wide_->gcm128_dec, wide_->gcm192_dec, wide_->gcm256_dec},
      work_(std::make_unique<Workspace>()) {}

std::expected<EspEngine::Manager, std::string> EspEngine::make_manager(void (*initialize)(IMB_MGR*)) {
  Manager manager(::alloc_mb_mgr(0));
  if (!manager) return refusal("IPsec-MB: no memory for a manager");
  if ((manager->features & IMB_FEATURE_AESNI) == 0)
    return refusal("IPsec-MB: this CPU has no AES-NI instructions");
  initialize(manager.get());
  if (const int error = ::imb_get_errno(manager.get()); error != 0)
    return refusal(fmt::format("IPsec-MB: {}", ::imb_get_strerror(error)));
  return manager;
}

std::expected<EspEngine, std::string> EspEngine::create() {
  auto wide = make_manager([](IMB_MGR* manager) { ::init_mb_mgr_auto(manager, nullptr); });
  if (!wide) return std::unexpected(wide.error());
  Manager narrow;
  if ((*wide)->used_arch != IMB_ARCH_SSE && ((*wide)->features & IMB_FEATURE_SHANI) != 0) {
    auto made = make_manager(&::init_mb_mgr_sse);
    if (!made) return std::unexpected(made.error());
    narrow = std::move(*made);
  }
  EspEngine engine(std::move(*wide), std::move(narrow));
  alignas(16) SecretBytes<16> key;
  if (auto filled = fill_random(key.span()); !filled) return std::unexpected(filled.error());
  alignas(16) SecretBytes<kIvKeyBytes> unused;
  expand_aes(engine.wide_.get(), key.span(), engine.iv_key_.span().data(), unused.span().data());
  return engine;
}

std::expected<EspKey, std::string> EspEngine::make_key(const EspSuite& suite, bool esn,
                                                       std::span<const uint8_t> key,
                                                       std::span<const uint8_t> salt,
                                                       std::span<const uint8_t> auth_key) const {
  if (const char* reason = suite.why_invalid()) return refusal(fmt::format("ESP suite: {}", reason));
  if (key.size() != suite.key_bytes)
    return refusal(fmt::format("ESP: a key of {} bytes; {} wanted", key.size(), suite.key_bytes));
  if (salt.size() != suite.salt_bytes())
    return refusal(fmt::format("ESP: a salt of {} bytes; {} wanted", salt.size(), suite.salt_bytes()));
  if (auth_key.size() != suite.auth_key_bytes())
    return refusal(
        fmt::format("ESP: an integrity key of {} bytes; {} wanted", auth_key.size(), suite.auth_key_bytes()));
  EspKey made(suite, esn);
  std::ranges::copy(salt, reinterpret_cast<uint8_t*>(&made.salt_));
  if (suite.cipher == Cipher::kAesGcm) {
    expand_gcm(wide_.get(), key, made.material_.gcm);
    return made;
  }
  if (suite.cipher == Cipher::kChaCha20Poly1305) {
    std::ranges::copy(key, made.material_.chacha);
    return made;
  }
  EspKey::CbcHmac& keys = made.material_.cbc_hmac;
  if (suite.cipher == Cipher::kAesCbc) expand_aes(wide_.get(), key, keys.encrypt, keys.decrypt);
  const HashBlock hash = hash_block(wide_.get(), suite.integrity);
  start_hash(hash, auth_key, 0x36, keys.inner);
  start_hash(hash, auth_key, 0x5c, keys.outer);
  return made;
}

// Only the names that all versions of the library have (2.0 dropped AVX and no-AES-NI, later ones add AVX10).
std::string EspEngine::implementation() const {
  if (wide_->used_arch == IMB_ARCH_SSE) return "SSE";
  if (wide_->used_arch == IMB_ARCH_AVX2) return "AVX2";
  if (wide_->used_arch == IMB_ARCH_AVX512) return "AVX512";
  return fmt::format("architecture {}", wide_->used_arch);
}

}  // namespace espalier::crypto

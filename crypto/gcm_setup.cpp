// The parts of gcm.hpp that are not for the packet path: making engines and keys.
#include <fmt/format.h>

#include "crypto/gcm.hpp"
#include "crypto/wipe.hpp"

namespace espalier::crypto {

GcmKey::GcmKey(GcmKey&& other) noexcept : tables_(other.tables_), size_(other.size_) {
  wipe(other.tables_);
}

GcmKey& GcmKey::operator=(GcmKey&& other) noexcept {
  if (this == &other) return *this;
  tables_ = other.tables_;
  size_ = other.size_;
  wipe(other.tables_);
  return *this;
}

GcmKey::~GcmKey() {
  wipe(tables_);
}

GcmEngine::GcmEngine(Manager manager, IMB_ARCH arch)
    : manager_(std::move(manager)),
      arch_(arch),
      expand_{manager_->gcm128_pre, manager_->gcm192_pre, manager_->gcm256_pre},
      encrypt_{manager_->gcm128_enc, manager_->gcm192_enc, manager_->gcm256_enc},
      decrypt_{manager_->gcm128_dec, manager_->gcm192_dec, manager_->gcm256_dec} {}

std::expected<GcmEngine, std::string> GcmEngine::create() {
  Manager manager(::alloc_mb_mgr(0));
  if (!manager) return std::unexpected(std::string("IPsec-MB: no memory for a manager"));
  if ((manager->features & IMB_FEATURE_AESNI) == 0)
    return std::unexpected(std::string("IPsec-MB: this CPU has no AES-NI instructions"));
  IMB_ARCH arch = IMB_ARCH_NONE;
  ::init_mb_mgr_auto(manager.get(), &arch);
  if (const int error = ::imb_get_errno(manager.get()); error != 0)
    return std::unexpected(fmt::format("IPsec-MB: {}", ::imb_get_strerror(error)));
  return GcmEngine(std::move(manager), arch);
}

std::expected<GcmKey, std::string> GcmEngine::expand_key(std::span<const uint8_t> key) const {
  if (key.size() != IMB_GCM_128_KEY_LEN && key.size() != IMB_GCM_192_KEY_LEN &&
      key.size() != IMB_GCM_256_KEY_LEN)
    return std::unexpected(fmt::format("AES-GCM: a key of {} bytes; 16, 24 or 32 wanted", key.size()));
  GcmKey expanded(static_cast<GcmKey::Size>(key.size() / 8 - 2));
  expand_[static_cast<size_t>(expanded.size_)](key.data(), &expanded.tables_);
  return expanded;
}

// Only the names that all versions of the library have (2.0 dropped AVX and no-AES-NI, later ones add AVX10).
std::string GcmEngine::implementation() const {
  if (arch_ == IMB_ARCH_SSE) return "SSE";
  if (arch_ == IMB_ARCH_AVX2) return "AVX2";
  if (arch_ == IMB_ARCH_AVX512) return "AVX512";
  return fmt::format("architecture {}", static_cast<int>(arch_));
}

}  // namespace espalier::crypto

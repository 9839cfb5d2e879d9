#include "crypto/key_exchange.hpp"

#include <fmt/format.h>
#include <openssl/core_names.h>

#include <algorithm>
#include <iterator>

#include "crypto/openssl.hpp"

namespace espalier::crypto {
namespace {

enum class Kind : uint8_t { kModp, kEcp, kMontgomery };

struct Group {
  uint16_t number;
  Kind kind;
  uint16_t public_bytes;
  const char* name;  // OpenSSL's; "": its domain parameters have none there
};

constexpr Group kGroups[] = {
    {2, Kind::kModp, 128, ""},
    {5, Kind::kModp, 192, "modp_1536"},
    {14, Kind::kModp, 256, "modp_2048"},
    {15, Kind::kModp, 384, "modp_3072"},
    {16, Kind::kModp, 512, "modp_4096"},
    {17, Kind::kModp, 768, "modp_6144"},
    {18, Kind::kModp, 1024, "modp_8192"},
    {19, Kind::kEcp, 64, "P-256"},
    {20, Kind::kEcp, 96, "P-384"},
    {21, Kind::kEcp, 132, "P-521"},
    {31, Kind::kMontgomery, 32, "X25519"},
    {32, Kind::kMontgomery, 56, "X448"},
};

const Group* find(uint16_t number) {
  const auto* at = std::ranges::find(kGroups, number, &Group::number);
  return at == std::end(kGroups) ? nullptr : at;
}

std::unexpected<std::string> unsupported(uint16_t number) {
  return std::unexpected(fmt::format("Diffie-Hellman group {} is not supported", number));
}

const char* key_type(const Group& group) {
  switch (group.kind) {
    case Kind::kModp:
      return "DH";
    case Kind::kEcp:
      return "EC";
    case Kind::kMontgomery:
      return group.name;
  }
  __builtin_unreachable();
}

// Collects OpenSSL's parameters of a key, and keeps alive what they point to until the key is made.
class KeyParts {
 public:
  explicit KeyParts(const Group& group) : group_(group), builder_(::OSSL_PARAM_BLD_new()) {
    ok_ = builder_ != nullptr;
    if (group.kind != Kind::kMontgomery) push_domain();
  }

  void push_public(std::span<const uint8_t> value) {
    if (group_.kind == Kind::kModp) return push_number(OSSL_PKEY_PARAM_PUB_KEY, value);
    if (group_.kind == Kind::kEcp) encoded_.push_back(POINT_CONVERSION_UNCOMPRESSED);
    encoded_.insert(encoded_.end(), value.begin(), value.end());
    ok_ = ok_ && ::OSSL_PARAM_BLD_push_octet_string(builder_.get(), OSSL_PKEY_PARAM_PUB_KEY, encoded_.data(),
                                                    encoded_.size()) == 1;
  }

  void push_private(std::span<const uint8_t> value) {
    if (group_.kind != Kind::kMontgomery) return push_number(OSSL_PKEY_PARAM_PRIV_KEY, value);
    ok_ = ok_ && ::OSSL_PARAM_BLD_push_octet_string(builder_.get(), OSSL_PKEY_PARAM_PRIV_KEY, value.data(),
                                                    value.size()) == 1;
  }

  // `selection`: EVP_PKEY_KEY_PARAMETERS, EVP_PKEY_PUBLIC_KEY or EVP_PKEY_KEYPAIR. Null: OpenSSL refuses the
  // parts.
  openssl::Key make(int selection) {
    const openssl::Parameters parameters(ok_ ? ::OSSL_PARAM_BLD_to_param(builder_.get()) : nullptr);
    const openssl::KeyContext context(::EVP_PKEY_CTX_new_from_name(nullptr, key_type(group_), nullptr));
    EVP_PKEY* key = nullptr;
    if (!parameters || !context || ::EVP_PKEY_fromdata_init(context.get()) != 1 ||
        ::EVP_PKEY_fromdata(context.get(), &key, selection, parameters.get()) != 1)
      return nullptr;
    return openssl::Key(key);
  }

 private:
  void push_number(const char* name, std::span<const uint8_t> value) {
    BIGNUM* number = ::BN_bin2bn(value.data(), static_cast<int>(value.size()), nullptr);
    push_number(name, openssl::BigNumber(number));
  }
  void push_number(const char* name, openssl::BigNumber number) {
    ok_ = ok_ && number && ::OSSL_PARAM_BLD_push_BN(builder_.get(), name, number.get()) == 1;
    numbers_.push_back(std::move(number));
  }
  void push_domain() {
    if (*group_.name != 0) {
      ok_ = ok_ && ::OSSL_PARAM_BLD_push_utf8_string(builder_.get(), OSSL_PKEY_PARAM_GROUP_NAME, group_.name,
                                                     0) == 1;
      return;
    }
    // RFC 2409 section 6.2. Private values of twice the group's strength of 80 bits, with much to spare.
    constexpr uint8_t kGenerator = 2;
    constexpr int kPrivateBits = 320;
    push_number(OSSL_PKEY_PARAM_FFC_P, openssl::BigNumber(::BN_get_rfc2409_prime_1024(nullptr)));
    push_number(OSSL_PKEY_PARAM_FFC_G, {&kGenerator, 1});
    ok_ = ok_ && ::OSSL_PARAM_BLD_push_int(builder_.get(), OSSL_PKEY_PARAM_DH_PRIV_LEN, kPrivateBits) == 1;
  }

  const Group& group_;
  openssl::ParameterBuilder builder_;
  std::vector<openssl::BigNumber> numbers_;
  std::vector<uint8_t> encoded_;
  bool ok_;
};

openssl::Key new_key(const Group& group) {
  openssl::KeyContext context;
  if (group.kind == Kind::kMontgomery) {
    context.reset(::EVP_PKEY_CTX_new_from_name(nullptr, key_type(group), nullptr));
  } else if (const openssl::Key domain = KeyParts(group).make(EVP_PKEY_KEY_PARAMETERS)) {
    context.reset(::EVP_PKEY_CTX_new_from_pkey(nullptr, domain.get(), nullptr));
  }
  EVP_PKEY* key = nullptr;
  if (!context || ::EVP_PKEY_keygen_init(context.get()) != 1 || ::EVP_PKEY_generate(context.get(), &key) != 1)
    return nullptr;
  return openssl::Key(key);
}

// As it goes on the wire; empty: OpenSSL has none, or no memory.
std::vector<uint8_t> public_value_of(const Group& group, EVP_PKEY* key) {
  unsigned char* encoded = nullptr;
  const size_t size = ::EVP_PKEY_get1_encoded_public_key(key, &encoded);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owned(
      encoded, [](unsigned char* bytes) { OPENSSL_free(bytes); });
  const size_t prefix = group.kind == Kind::kEcp ? 1 : 0;  // POINT_CONVERSION_UNCOMPRESSED
  if (size != prefix + group.public_bytes) return {};
  return {encoded + prefix, encoded + size};
}

// 1 < value < p - 1 (RFC 6989 section 2.1: that suffices where (p-1)/2 is prime, as in all of ours).
bool in_range(EVP_PKEY* key, std::span<const uint8_t> value) {
  BIGNUM* p = nullptr;
  ::EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_FFC_P, &p);
  const openssl::BigNumber top(p);
  const openssl::BigNumber number(::BN_bin2bn(value.data(), static_cast<int>(value.size()), nullptr));
  return top && number && ::BN_sub_word(top.get(), 1) == 1 && ::BN_cmp(number.get(), ::BN_value_one()) > 0 &&
         ::BN_cmp(number.get(), top.get()) < 0;
}

// `peer` is checked before: OpenSSL's own check of a MODP value would raise it to (p-1)/2 first.
std::expected<Secret, std::string> shared_secret(const Group& group, EVP_PKEY* own, EVP_PKEY* peer) {
  const openssl::KeyContext context(::EVP_PKEY_CTX_new_from_pkey(nullptr, own, nullptr));
  if (!context || ::EVP_PKEY_derive_init(context.get()) != 1 ||
      (group.kind == Kind::kModp && ::EVP_PKEY_CTX_set_dh_pad(context.get(), 1) != 1) ||
      ::EVP_PKEY_derive_set_peer_ex(context.get(), peer, 0) != 1)
    return openssl::failure("Diffie-Hellman");
  size_t bytes = group.kind == Kind::kEcp ? group.public_bytes / 2 : group.public_bytes;
  const size_t expected_bytes = bytes;
  Secret secret(bytes);
  if (::EVP_PKEY_derive(context.get(), secret.span().data(), &bytes) != 1 || bytes != expected_bytes)
    return openssl::failure("Diffie-Hellman");
  return secret;
}

// In constant time: the secret is not to be told by how long its zeros are.
bool all_zero(const Secret& secret) {
  uint8_t any = 0;
  for (const uint8_t byte : secret.view()) any |= byte;
  return any == 0;
}

}  // namespace

bool KeyExchange::is_supported(uint16_t group) {
  return find(group) != nullptr;
}

size_t KeyExchange::public_bytes(uint16_t group) {
  const Group* known = find(group);
  return known == nullptr ? 0 : known->public_bytes;
}

std::expected<KeyExchange, std::string> KeyExchange::generate(uint16_t group) {
  const Group* known = find(group);
  if (known == nullptr) return unsupported(group);
  openssl::Key key = new_key(*known);
  if (!key) return openssl::failure("Diffie-Hellman key");
  std::vector<uint8_t> public_value = public_value_of(*known, key.get());
  if (public_value.empty()) return openssl::failure("Diffie-Hellman public value");
  return KeyExchange(group, std::move(key), std::move(public_value));
}

std::expected<KeyExchange, std::string> KeyExchange::restore(uint16_t group,
                                                             std::span<const uint8_t> private_value,
                                                             std::span<const uint8_t> public_value) {
  const Group* known = find(group);
  if (known == nullptr) return unsupported(group);
  KeyParts parts(*known);
  parts.push_private(private_value);
  parts.push_public(public_value);
  openssl::Key key = parts.make(EVP_PKEY_KEYPAIR);
  if (!key) return openssl::failure("Diffie-Hellman key");
  return KeyExchange(group, std::move(key), {public_value.begin(), public_value.end()});
}

std::expected<Secret, std::string> KeyExchange::private_value() const {
  if (find(group_)->kind == Kind::kMontgomery) {
    Secret value(public_.size());
    size_t bytes = value.size();
    if (::EVP_PKEY_get_raw_private_key(key_.get(), value.span().data(), &bytes) != 1 || bytes != value.size())
      return openssl::failure("Diffie-Hellman private value");
    return value;
  }
  BIGNUM* number = nullptr;
  if (::EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number) != 1)
    return openssl::failure("Diffie-Hellman private value");
  const std::unique_ptr<BIGNUM, void (*)(BIGNUM*)> owned(number, ::BN_clear_free);
  Secret value(static_cast<size_t>(BN_num_bytes(number)));
  ::BN_bn2bin(number, value.span().data());
  return value;
}

std::expected<Secret, std::string> KeyExchange::derive(std::span<const uint8_t> peer_public) const {
  const Group& group = *find(group_);
  if (peer_public.size() != group.public_bytes)
    return std::unexpected(fmt::format("the peer's public value has {} bytes, group {} wants {}",
                                       peer_public.size(), group_, group.public_bytes));
  if (group.kind == Kind::kModp && !in_range(key_.get(), peer_public))
    return std::unexpected("the peer's public value is out of range");
  KeyParts parts(group);
  parts.push_public(peer_public);
  const openssl::Key peer = parts.make(EVP_PKEY_PUBLIC_KEY);
  if (!peer)
    return openssl::failure("the peer's public value is none of the group");  // ECP: not on the curve
  std::expected<Secret, std::string> secret = shared_secret(group, key_.get(), peer.get());
  if (secret && all_zero(*secret)) return std::unexpected("the shared secret is zero");
  return secret;
}

}  // namespace espalier::crypto

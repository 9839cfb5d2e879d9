#include "tests/support/esp_codec.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>

namespace espalier::test {
namespace {

constexpr size_t kHeaderBytes = 8;  // SPI, sequence number
constexpr size_t kSaltSize = 4;
constexpr size_t kTrailerBytes = 2;  // pad length, next header
constexpr size_t kBlockBytes = 16;
constexpr size_t kFullTagBytes = 16;
constexpr uint32_t kEpochsTried = 4;

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

void require(bool ok, const char* call) {
  if (!ok) throw std::runtime_error(std::string("OpenSSL refused: ") + call);
}

bool is_aead(const EspKey& key) {
  return key.codec == EspCodec::kAesGcm || key.codec == EspCodec::kChaCha20Poly1305;
}

size_t align_bytes(const EspKey& key) {
  return key.codec == EspCodec::kAesCbc ? kBlockBytes : 4;
}

const EVP_CIPHER* aes_for(size_t key_bytes, bool gcm) {
  switch (key_bytes) {
    case 16:
      return gcm ? EVP_aes_128_gcm() : EVP_aes_128_cbc();
    case 24:
      return gcm ? EVP_aes_192_gcm() : EVP_aes_192_cbc();
    case 32:
      return gcm ? EVP_aes_256_gcm() : EVP_aes_256_cbc();
  }
  throw std::invalid_argument("an AES key has 16, 24 or 32 bytes, with AEAD 4 bytes of salt behind it");
}

const EVP_CIPHER* cipher_for(const EspKey& key) {
  switch (key.codec) {
    case EspCodec::kAesGcm:
      return aes_for(key.key.size() - kSaltSize, true);
    case EspCodec::kChaCha20Poly1305:
      if (key.key.size() != 32 + kSaltSize) throw std::invalid_argument("a ChaCha20 key has 36 bytes");
      return EVP_chacha20_poly1305();
    case EspCodec::kAesCbc:
      return aes_for(key.key.size(), false);
    case EspCodec::kNull:
      break;
  }
  return EVP_enc_null();
}

const EVP_MD* digest_for(const EspKey& key) {
  switch (key.hash) {
    case EspHash::kSha1:
      return EVP_sha1();
    case EspHash::kSha256:
      return EVP_sha256();
    case EspHash::kSha384:
      return EVP_sha384();
    case EspHash::kSha512:
      return EVP_sha512();
    case EspHash::kNone:
      break;
  }
  throw std::invalid_argument("AES-CBC and NULL need a hash");
}

// RFC 4106 section 5, RFC 7634 section 2.1: SPI and sequence number, 64 bits of it with ESN.
Bytes additional_data(const EspKey& key, ByteView header, uint32_t sequence_high) {
  Bytes data = copy(header.first(4));
  if (key.esn) append32(data, sequence_high);
  append(data, header.subspan(4, 4));
  return data;
}

// The nonce of AEAD is the salt and the IV (RFC 4106 section 4); CBC's is the IV itself.
Context start(const EspKey& key, ByteView iv, bool seal) {
  Context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  Bytes nonce;
  if (is_aead(key)) nonce.assign(key.key.end() - kSaltSize, key.key.end());
  append(nonce, iv);
  require(EVP_CipherInit_ex(context.get(), cipher_for(key), nullptr, key.key.data(), nonce.data(), seal) == 1,
          "init");
  EVP_CIPHER_CTX_set_padding(context.get(), 0);
  return context;
}

Bytes transform(EVP_CIPHER_CTX* context, ByteView input) {
  Bytes output(input.size() + kBlockBytes);
  int length = 0;
  require(
      EVP_CipherUpdate(context, output.data(), &length, input.data(), static_cast<int>(input.size())) == 1,
      "update");
  output.resize(static_cast<size_t>(length));
  return output;
}

void add_additional(EVP_CIPHER_CTX* context, ByteView additional) {
  int length = 0;
  require(EVP_CipherUpdate(context, nullptr, &length, additional.data(),
                           static_cast<int>(additional.size())) == 1,
          "additional data");
}

bool finish(EVP_CIPHER_CTX* context) {
  uint8_t nothing[kBlockBytes];
  int length = 0;
  return EVP_CipherFinal_ex(context, nothing, &length) == 1;
}

// Over the ESP header to the end of the ciphertext; with ESN the high half comes last (RFC 4303 section
// 2.2.1).
Bytes hmac_of(const EspKey& key, ByteView covered, uint32_t sequence_high) {
  Bytes data = copy(covered);
  if (key.esn) append32(data, sequence_high);
  Bytes digest(EVP_MAX_MD_SIZE);
  unsigned length = 0;
  require(HMAC(digest_for(key), key.hash_key.data(), static_cast<int>(key.hash_key.size()), data.data(),
               data.size(), digest.data(), &length) != nullptr,
          "HMAC");
  digest.resize(std::min<size_t>(length, key.icv_bytes));
  return digest;
}

Bytes default_padding(const EspKey& key, size_t inner_bytes) {
  const size_t align = align_bytes(key);
  Bytes padding((align - (inner_bytes + kTrailerBytes) % align) % align);
  for (size_t i = 0; i < padding.size(); ++i) padding[i] = static_cast<uint8_t>(i + 1);
  return padding;
}

Bytes default_iv(const EspKey& key, uint64_t sequence) {
  Bytes iv(iv_bytes(key));
  if (iv.empty()) return iv;
  put32(iv, iv.size() - 8, static_cast<uint32_t>(sequence >> 32));
  put32(iv, iv.size() - 4, static_cast<uint32_t>(sequence));
  return iv;
}

std::optional<Bytes> open_aead(const EspKey& key, ByteView packet, uint32_t sequence_high) {
  const Context context = start(key, packet.subspan(kHeaderBytes, iv_bytes(key)), false);
  add_additional(context.get(), additional_data(key, packet.first(kHeaderBytes), sequence_high));
  const ByteView body = packet.subspan(kHeaderBytes + iv_bytes(key));
  Bytes clear = transform(context.get(), body.first(body.size() - key.icv_bytes));
  Bytes icv = copy(body.last(key.icv_bytes));
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(icv.size()),
                              icv.data()) == 1,
          "set tag");
  if (!finish(context.get())) return std::nullopt;
  return clear;
}

std::optional<Bytes> open_hmac(const EspKey& key, ByteView packet, uint32_t sequence_high) {
  const ByteView covered = packet.first(packet.size() - key.icv_bytes);
  if (hmac_of(key, covered, sequence_high) != copy(packet.last(key.icv_bytes))) return std::nullopt;
  const ByteView body = covered.subspan(kHeaderBytes + iv_bytes(key));
  if (key.codec == EspCodec::kNull) return copy(body);
  if (body.size() % kBlockBytes != 0) return std::nullopt;
  const Context context = start(key, covered.subspan(kHeaderBytes, iv_bytes(key)), false);
  return transform(context.get(), body);
}

void seal_aead(const EspKey& key, Bytes& packet, ByteView clear, uint32_t sequence_high) {
  const Context context = start(key, ByteView(packet).subspan(kHeaderBytes), true);
  add_additional(context.get(), additional_data(key, ByteView(packet).first(kHeaderBytes), sequence_high));
  append(packet, transform(context.get(), clear));
  require(finish(context.get()), "final");
  Bytes icv(kFullTagBytes);
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kFullTagBytes, icv.data()) == 1,
          "get tag");
  append(packet, ByteView(icv).first(key.icv_bytes));
}

void seal_hmac(const EspKey& key, Bytes& packet, ByteView clear, uint32_t sequence_high) {
  if (key.codec == EspCodec::kNull) {
    append(packet, clear);
  } else {
    const Context context = start(key, ByteView(packet).subspan(kHeaderBytes), true);
    append(packet, transform(context.get(), clear));
  }
  append(packet, hmac_of(key, packet, sequence_high));
}

}  // namespace

size_t iv_bytes(const EspKey& key) {
  return key.codec == EspCodec::kNull ? 0 : is_aead(key) ? 8 : kBlockBytes;
}

Bytes seal_esp(const EspKey& key, uint64_t sequence, ByteView inner, const SealOptions& options) {
  Bytes clear = copy(inner);
  const Bytes padding = options.padding.value_or(default_padding(key, inner.size()));
  append(clear, padding);
  append8(clear, static_cast<uint8_t>(padding.size()));
  append8(clear, options.next_header);

  Bytes packet;
  append32(packet, key.spi);
  append32(packet, static_cast<uint32_t>(sequence));
  append(packet, options.iv.value_or(default_iv(key, sequence)));
  const auto sequence_high = static_cast<uint32_t>(sequence >> 32);
  is_aead(key) ? seal_aead(key, packet, clear, sequence_high) : seal_hmac(key, packet, clear, sequence_high);
  return packet;
}

namespace {

// RFC 4303 section 2.4: padding counts from 1. Behind it the number of a protocol that there is.
bool has_trailer(ByteView clear) {
  constexpr std::array kProtocols = {kProtoIcmp, kProtoIpip, kProtoTcp, kProtoUdp,
                                     kProtoIpv6, kProtoGre,  kProtoEsp, kProtoIcmpv6};
  if (clear.size() < kTrailerBytes) return false;
  const size_t pad_length = clear[clear.size() - 2];
  if (pad_length + kTrailerBytes > clear.size()) return false;
  const ByteView padding = clear.subspan(clear.size() - kTrailerBytes - pad_length, pad_length);
  for (size_t i = 0; i < pad_length; ++i)
    if (padding[i] != static_cast<uint8_t>(i + 1)) return false;
  return std::find(kProtocols.begin(), kProtocols.end(), clear.back()) != kProtocols.end();
}

// The payload, if it is not encrypted; what passes through with a wrong ICV stays what it is.
std::optional<Bytes> unsealed_payload(const EspKey& key, ByteView packet) {
  const size_t around = kHeaderBytes + iv_bytes(key) + key.icv_bytes;
  const ByteView clear = packet.subspan(kHeaderBytes + iv_bytes(key), packet.size() - around);
  return has_trailer(clear) ? std::optional(copy(clear)) : std::nullopt;
}

Bytes unique_iv(size_t bytes) {
  static uint64_t made = 0;
  Bytes iv(bytes, 0xff);
  for (size_t i = 0; i < std::min<size_t>(bytes, 6); ++i) iv[i] = static_cast<uint8_t>(made >> 8 * i);
  ++made;
  return iv;
}

}  // namespace

std::optional<OpenedEsp> open_esp(const EspKey& key, ByteView packet, uint32_t sequence_high) {
  if (packet.size() < kHeaderBytes + iv_bytes(key) + kTrailerBytes + key.icv_bytes) return std::nullopt;
  auto clear = is_aead(key) ? open_aead(key, packet, sequence_high) : open_hmac(key, packet, sequence_high);
  const bool unsealed = !clear && key.may_be_unsealed;
  if (unsealed) clear = unsealed_payload(key, packet);
  if (!clear || clear->size() < kTrailerBytes) return std::nullopt;
  const size_t pad_length = clear->at(clear->size() - 2);
  if (pad_length + kTrailerBytes > clear->size()) return std::nullopt;
  const size_t inner_bytes = clear->size() - kTrailerBytes - pad_length;
  OpenedEsp opened;
  opened.sequence = (key.esn ? uint64_t{sequence_high} << 32 : 0) | get32(packet, 4);
  opened.iv = unsealed ? unique_iv(iv_bytes(key)) : copy(packet.subspan(kHeaderBytes, iv_bytes(key)));
  opened.inner = copy(ByteView(*clear).first(inner_bytes));
  opened.padding = copy(ByteView(*clear).subspan(inner_bytes, pad_length));
  opened.next_header = clear->back();
  return opened;
}

std::optional<OpenedEsp> open_esp_of_any_epoch(const EspKey& key, ByteView packet) {
  const auto first = static_cast<uint32_t>(key.last_sequence >> 32);
  for (uint32_t epoch = 0; epoch < (key.esn ? kEpochsTried : 1); ++epoch)
    if (auto opened = open_esp(key, packet, first + epoch)) return opened;
  return std::nullopt;
}

}  // namespace espalier::test

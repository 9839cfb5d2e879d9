#include "tests/support/esp_codec.hpp"

#include <openssl/evp.h>

#include <memory>
#include <stdexcept>

namespace espalier::test {
namespace {

constexpr size_t kHeaderBytes = 8;  // SPI, sequence number
constexpr size_t kIvBytes = 8;
constexpr size_t kSaltSize = 4;
constexpr size_t kIcvBytes = 16;
constexpr size_t kTrailerBytes = 2;  // pad length, next header

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

void require(bool ok, const char* call) {
  if (!ok) throw std::runtime_error(std::string("OpenSSL refused: ") + call);
}

const EVP_CIPHER* cipher_for(const EspKey& key) {
  switch (key.key.size() - kSaltSize) {
    case 16:
      return EVP_aes_128_gcm();
    case 24:
      return EVP_aes_192_gcm();
    case 32:
      return EVP_aes_256_gcm();
  }
  throw std::invalid_argument("an AES-GCM key has 20, 28 or 36 bytes with its salt");
}

// RFC 4106 section 4: the nonce is the salt and the IV.
Bytes nonce_of(const EspKey& key, ByteView iv) {
  Bytes nonce(key.key.end() - kSaltSize, key.key.end());
  append(nonce, iv);
  return nonce;
}

// RFC 4106 section 5: SPI and sequence number, 64 bits of it with ESN.
Bytes additional_data(const EspKey& key, ByteView header, uint32_t sequence_high) {
  Bytes data = copy(header.first(4));
  if (key.esn) append32(data, sequence_high);
  append(data, header.subspan(4, 4));
  return data;
}

Context start(const EspKey& key, ByteView iv, ByteView additional, bool seal) {
  Context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  const Bytes nonce = nonce_of(key, iv);
  require(EVP_CipherInit_ex(context.get(), cipher_for(key), nullptr, key.key.data(), nonce.data(), seal) == 1,
          "init");
  int length = 0;
  require(EVP_CipherUpdate(context.get(), nullptr, &length, additional.data(),
                           static_cast<int>(additional.size())) == 1,
          "additional data");
  return context;
}

Bytes transform(EVP_CIPHER_CTX* context, ByteView input) {
  Bytes output(input.size());
  int length = 0;
  require(
      EVP_CipherUpdate(context, output.data(), &length, input.data(), static_cast<int>(input.size())) == 1,
      "update");
  return output;
}

Bytes default_padding(size_t inner_bytes) {
  Bytes padding((4 - (inner_bytes + kTrailerBytes) % 4) % 4);
  for (size_t i = 0; i < padding.size(); ++i) padding[i] = static_cast<uint8_t>(i + 1);
  return padding;
}

std::optional<Bytes> decrypt(const EspKey& key, ByteView packet, uint32_t sequence_high) {
  const Bytes additional = additional_data(key, packet.first(kHeaderBytes), sequence_high);
  const Context context = start(key, packet.subspan(kHeaderBytes, kIvBytes), additional, false);
  const ByteView body = packet.subspan(kHeaderBytes + kIvBytes);
  Bytes clear = transform(context.get(), body.first(body.size() - kIcvBytes));
  Bytes icv = copy(body.last(kIcvBytes));
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kIcvBytes, icv.data()) == 1, "set tag");
  int length = 0;
  uint8_t nothing = 0;
  if (EVP_CipherFinal_ex(context.get(), &nothing, &length) != 1) return std::nullopt;
  return clear;
}

}  // namespace

Bytes seal_esp(const EspKey& key, uint64_t sequence, ByteView inner, const SealOptions& options) {
  Bytes clear = copy(inner);
  const Bytes padding = options.padding.value_or(default_padding(inner.size()));
  append(clear, padding);
  append8(clear, static_cast<uint8_t>(padding.size()));
  append8(clear, options.next_header);

  Bytes packet;
  append32(packet, key.spi);
  append32(packet, static_cast<uint32_t>(sequence));
  const Bytes additional = additional_data(key, packet, static_cast<uint32_t>(sequence >> 32));
  const uint64_t iv = options.iv.value_or(sequence);
  append32(packet, static_cast<uint32_t>(iv >> 32));
  append32(packet, static_cast<uint32_t>(iv));

  const Context context = start(key, ByteView(packet).subspan(kHeaderBytes), additional, true);
  append(packet, transform(context.get(), clear));
  int length = 0;
  Bytes icv(kIcvBytes);
  require(EVP_CipherFinal_ex(context.get(), icv.data(), &length) == 1, "final");
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kIcvBytes, icv.data()) == 1, "get tag");
  append(packet, icv);
  return packet;
}

std::optional<OpenedEsp> open_esp(const EspKey& key, ByteView packet, uint32_t sequence_high) {
  if (packet.size() < kHeaderBytes + kIvBytes + kTrailerBytes + kIcvBytes) return std::nullopt;
  const auto clear = decrypt(key, packet, sequence_high);
  if (!clear) return std::nullopt;
  const size_t pad_length = clear->at(clear->size() - 2);
  if (pad_length + kTrailerBytes > clear->size()) return std::nullopt;
  const size_t inner_bytes = clear->size() - kTrailerBytes - pad_length;
  OpenedEsp opened;
  opened.sequence = get32(packet, 4);
  opened.iv = static_cast<uint64_t>(get32(packet, 8)) << 32 | get32(packet, 12);
  opened.inner = copy(ByteView(*clear).first(inner_bytes));
  opened.padding = copy(ByteView(*clear).subspan(inner_bytes, pad_length));
  opened.next_header = clear->back();
  return opened;
}

}  // namespace espalier::test

// A key exchange under way in the saved state: it has to go on after a death of this process.
#pragma once

#include "crypto/key_exchange.hpp"
#include "ike/sa/archive.hpp"

namespace espalier::ike {

inline void visit_key(Writer& writer, std::optional<crypto::KeyExchange>& key) {
  uint16_t group = key ? key->group() : 0;
  crypto::Secret secret;
  Bytes open;
  if (key) {
    auto value = key->private_value();
    value ? void(secret = std::move(*value)) : void(group = 0);  // without it the exchange ends in a refusal
    open.assign(key->public_value().begin(), key->public_value().end());
  }
  writer(group);
  visit(writer, secret);
  visit(writer, open);
}

inline void visit_key(Reader& reader, std::optional<crypto::KeyExchange>& key) {
  uint16_t group = 0;
  crypto::Secret secret;
  Bytes open;
  reader(group);
  visit(reader, secret);
  visit(reader, open);
  key.reset();
  if (group == 0 || !reader.ok()) return;
  if (auto restored = crypto::KeyExchange::restore(group, secret.view(), open))
    key.emplace(std::move(*restored));
}

}  // namespace espalier::ike

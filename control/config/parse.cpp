#include "control/config/parse.hpp"

namespace espalier::config {
namespace {

// The sentence after the value: either it is known and refused, or it is no such word.
std::string algorithm_fault(std::string_view name, std::string_view what, std::string_view instead) {
  if (is_refused_algorithm(name)) return fmt::format("is not supported: use {}", instead);
  return fmt::format("is no {} that is known: use {}", what, instead);
}

}  // namespace

const Cipher* read_cipher(Reader& reader, const Cipher* also) {
  if (!reader.require("encryption")) return nullptr;
  const auto cipher = reader.parsed("encryption", [also](std::string_view name) -> Result<const Cipher*> {
    if (also != nullptr && also->name == name) return also;
    if (const Cipher* found = find_cipher(name)) return found;
    return fail("{}", algorithm_fault(name, "encryption", "aes128gcm128 or aes256gcm128"));
  });
  return cipher.value_or(nullptr);
}

Located<const Integrity*> read_hash(Reader& reader) {
  const auto hash = reader.parsed("hash", [](std::string_view name) -> Result<const Integrity*> {
    if (const Integrity* found = find_integrity(name)) return found;
    return fail("{}", algorithm_fault(name, "hash", "sha256, sha384 or sha512"));
  });
  return {hash.value_or(nullptr), reader.line_of("hash")};
}

uint8_t read_protocol(Reader& reader) {
  const auto protocol = reader.parsed("protocol", [](std::string_view name) -> Result<uint8_t> {
    if (const auto number = find_protocol(name)) return *number;
    return fail("is not a protocol: a name such as tcp, or a number from 1 to 255");
  });
  return protocol.value_or(kProtoAny);
}

Model parse_model(const Node& root, Diagnostics& diagnostics) {
  Model model;
  Reader reader(root, "", diagnostics);
  parse_dataplane(reader, model);
  parse_interfaces(reader, model);
  parse_routes(reader, model);
  parse_neighbors(reader, model);
  parse_nat(reader, model);
  parse_vpn(reader, model);
  parse_xfrm(reader, model);
  reader.report_unknown();
  return model;
}

}  // namespace espalier::config

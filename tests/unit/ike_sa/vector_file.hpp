// The data files of these tests, and bytes of what they compare.
#pragma once

#include "crypto/secret.hpp"
#include "ike/wire/payload.hpp"
#include "tests/support/vector_file.hpp"

namespace espalier::ike::test {

using espalier::test::Vector;

inline std::string data_path(const std::string& file) {
  return std::string(IKE_SA_DATA) + "/" + file;
}

inline std::vector<Vector> read_vectors(const std::string& file_name) {
  return espalier::test::read_vectors(data_path(file_name));
}

inline std::vector<uint8_t> read_file(const std::string& name) {
  std::ifstream file(data_path(name), std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<uint8_t> bytes(ByteView view) {
  return {view.begin(), view.end()};
}
inline std::vector<uint8_t> bytes(std::string_view text) {
  return {text.begin(), text.end()};
}
inline std::vector<uint8_t> bytes(const crypto::Secret& secret) {
  return bytes(secret.view());
}

}  // namespace espalier::ike::test

// Vectors of data files: blocks of "name = hexadecimal" lines, each block starting with its name. Throws for
// anything that it does not understand, so that no vector is skipped silently.
#pragma once

#include <fstream>
#include <map>
#include <stdexcept>

#include "crypto/secret.hpp"
#include "ike/wire/payload.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::ike::test {

struct Vector {
  std::string name;
  std::map<std::string, std::vector<uint8_t>> fields;

  bool has(const std::string& field) const { return fields.contains(field); }
  const std::vector<uint8_t>& operator[](const std::string& field) const { return fields.at(field); }
};

inline std::string data_path(const std::string& file) {
  return std::string(IKE_SA_DATA) + "/" + file;
}

inline std::vector<Vector> read_vectors(const std::string& file_name) {
  std::ifstream file(data_path(file_name));
  if (!file) throw std::runtime_error("cannot read " + file_name);
  std::vector<Vector> vectors;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t sign = line.find(" =");
    if (sign == std::string::npos) throw std::runtime_error("not understood: " + line);
    const std::string name = line.substr(0, sign);
    const std::string value = line.size() > sign + 3 ? line.substr(sign + 3) : "";
    if (name == "name") {
      vectors.emplace_back().name = value;
    } else if (!vectors.back().fields.emplace(name, espalier::test::from_hex(value)).second) {
      throw std::runtime_error("twice: " + line);
    }
  }
  if (vectors.empty()) throw std::runtime_error("no vectors in " + file_name);
  return vectors;
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

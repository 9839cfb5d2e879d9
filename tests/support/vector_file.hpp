// Vectors of data files: blocks of "name = hexadecimal" lines, each block starting with its name. Throws for
// anything that it does not understand, so that no vector is skipped silently.
#pragma once

#include <fstream>
#include <map>
#include <stdexcept>

#include "tests/support/bytes.hpp"

namespace espalier::test {

struct Vector {
  std::string name;
  std::map<std::string, Bytes> fields;

  bool has(const std::string& field) const { return fields.contains(field); }
  const Bytes& operator[](const std::string& field) const { return fields.at(field); }
};

inline std::vector<Vector> read_vectors(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Vector> vectors;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t sign = line.find(" =");
    if (sign == std::string::npos) throw std::runtime_error("not understood: " + line);
    const std::string name = line.substr(0, sign);
    const std::string value = line.size() > sign + 3 ? line.substr(sign + 3) : "";
    if (name == "name") {
      vectors.emplace_back().name = value;
    } else if (!vectors.back().fields.emplace(name, from_hex(value)).second) {
      throw std::runtime_error("twice: " + line);
    }
  }
  if (vectors.empty()) throw std::runtime_error("no vectors in " + path);
  return vectors;
}

}  // namespace espalier::test

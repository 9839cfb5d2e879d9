#include "tests/unit/ike/wire_file.hpp"

#include <fstream>
#include <stdexcept>

#include "tests/support/bytes.hpp"

namespace espalier::ike::test {

WireFile read_wire_file(const std::string& name) {
  std::ifstream in(std::string(WIRE_DIR) + "/" + name);
  WireFile file;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const size_t sign = line.find(" = ");
    if (sign == std::string::npos) throw std::runtime_error(name + ": " + line);
    file[line.substr(0, sign)].push_back(espalier::test::from_hex(line.substr(sign + 3)));
  }
  if (file.empty()) throw std::runtime_error(name + " is empty or missing");
  return file;
}

}  // namespace espalier::ike::test

// Files of tests/unit/crypto/data that have keys and certificates in them (data/make_pki.py).
#pragma once

#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace espalier::crypto::test {

inline std::vector<uint8_t> read_data(const std::string& name) {
  std::ifstream file(std::string(VECTOR_DIR "/") + name, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::chrono::system_clock::time_point day(int year, unsigned month, unsigned day_of_month) {
  return std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) /
                               std::chrono::day(day_of_month));
}

}  // namespace espalier::crypto::test

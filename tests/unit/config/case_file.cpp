#include "tests/unit/config/case_file.hpp"

#include <fmt/format.h>

#include <fstream>
#include <stdexcept>

namespace espalier::config::testing {
namespace {

constexpr std::string_view kInterfaces = R"(
interfaces = {
  eth0 = { device = "net_prelude0"; address = "192.168.0.1/24"; };
  eth1 = { device = "net_prelude1"; address = "198.51.100.3/24"; };
  dum0 = { type = "dummy"; address = "10.40.11.1/24"; };
};
)";
constexpr std::string_view kInterfacesAndVti = R"(
interfaces = {
  eth0 = { device = "net_prelude0"; address = "192.168.0.1/24"; };
  vti1 = { type = "vti"; mtu = 1400; };
};
)";
constexpr std::string_view kRoutes = R"(
routes = ( { prefix = "0.0.0.0/0"; via = "198.51.100.1"; } );
)";
constexpr std::string_view kTunnel = R"(
xfrm = {
  state = ( { spi = 0x1001; src = "198.51.100.3"; dst = "203.0.113.7"; direction = "out"; encryption = "aes128gcm128";
    key = "0x000102030405060708090a0b0c0d0e0fa0a1a2a3"; } );
  policy = ( { direction = "out"; src = "192.168.0.0/24"; dst = "10.30.0.0/24"; action = "protect"; name = "tunnel";
    template = { src = "198.51.100.3"; dst = "203.0.113.7"; }; } );
};
)";

Case begin_case(std::string_view heading, std::string& preludes) {
  size_t plus = heading.find(" + ");
  Case result{.name = std::string(heading.substr(0, plus)), .text = {}, .mode = {}, .expected = {}};
  preludes.clear();
  while (plus != heading.npos) {
    heading.remove_prefix(plus + 3);
    plus = heading.find(" + ");
    const std::string_view name = heading.substr(0, plus);
    if (name == "readable by others")
      result.mode = 0644;
    else if (name == "not readable by others")
      result.mode = 0640;
    else
      preludes += prelude(name);
  }
  return result;
}

}  // namespace

std::string prelude(std::string_view name) {
  if (name == "interfaces") return std::string(kInterfaces);
  if (name == "interfaces and vti") return std::string(kInterfacesAndVti);
  if (name == "routes") return std::string(kRoutes);
  if (name == "tunnel") return std::string(kTunnel);
  throw std::runtime_error(fmt::format("no prelude \"{}\"", name));
}

std::vector<std::string>& case_files() {
  static std::vector<std::string> files;
  return files;
}

std::vector<Case> read_cases(const std::string& path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  std::string line, preludes;
  bool in_expected = true;
  while (std::getline(file, line)) {
    if (line.starts_with("=== ")) {
      if (!in_expected) throw std::runtime_error(path + ": no --- in " + cases.back().name);
      cases.push_back(begin_case(std::string_view(line).substr(4), preludes));
      in_expected = false;
    } else if (line == "---" && !in_expected) {
      cases.back().text += preludes;
      in_expected = true;
    } else if (in_expected) {
      if (!line.empty() && !cases.empty()) cases.back().expected.push_back(line);
    } else {
      cases.back().text += line + "\n";
    }
  }
  if (cases.empty() || !in_expected) throw std::runtime_error(path + ": not a file of cases");
  return cases;
}

}  // namespace espalier::config::testing

// A configuration as a tree of our own, read by libconfig++: kind, line and value of every setting. libconfig
// is known to tree.cpp only; its exceptions end there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/config/diagnostics.hpp"
#include "control/config/secret.hpp"

namespace espalier::config {

struct Node {
  enum class Kind : uint8_t { kGroup, kList, kString, kInteger, kBoolean, kFloat };  // kList: "( )" and "[ ]"
  Kind kind = Kind::kGroup;
  bool boolean = false;
  int line = 0;
  int64_t integer = 0;
  std::string name;  // empty for elements of a list
  Secret text;       // kString: any string may be a secret
  std::vector<Node> children;
};

// "a string", "a list" ...: for messages.
std::string_view kind_name(Node::Kind kind);

// Scans (scanner.hpp) and parses. Nothing if there is an error: all traps are reported, of syntax errors the
// first.
std::optional<Node> parse_tree(std::string_view text, Diagnostics& diagnostics);

}  // namespace espalier::config

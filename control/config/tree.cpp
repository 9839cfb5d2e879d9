#include "control/config/tree.hpp"

#include <string.h>

#include <libconfig.h++>

#include "control/config/scanner.hpp"

namespace espalier::config {
namespace {

using libconfig::Setting;

// Copies libconfig's tree, and wipes the strings of the original as it goes.
class Copier {
 public:
  explicit Copier(const ValueLines& lines) : lines_(lines) {}

  Node copy_root(const Setting& root) {
    Node node;
    copy_children(root, node);
    return node;
  }

 private:
  Node copy(const Setting& setting) {
    Node node;
    const int own_line = at_ < lines_.size() ? lines_[at_] : 0;
    ++at_;
    if (setting.getName() != nullptr) node.name = setting.getName();
    // Where a name stands, libconfig is right; elements have the scanner's line.
    node.line = node.name.empty() ? own_line : static_cast<int>(setting.getSourceLine());
    copy_value(setting, node);
    return node;
  }

  void copy_value(const Setting& setting, Node& node) {
    switch (setting.getType()) {
      case Setting::TypeGroup:
        node.kind = Node::Kind::kGroup;
        return copy_children(setting, node);
      case Setting::TypeList:
      case Setting::TypeArray:
        node.kind = Node::Kind::kList;
        return copy_children(setting, node);
      case Setting::TypeInt:
        node.kind = Node::Kind::kInteger;
        node.integer = static_cast<int>(setting);
        return;
      case Setting::TypeInt64:
        node.kind = Node::Kind::kInteger;
        node.integer = static_cast<long long>(setting);
        return;
      case Setting::TypeBoolean:
        node.kind = Node::Kind::kBoolean;
        node.boolean = static_cast<bool>(setting);
        return;
      case Setting::TypeString:
        return take_string(setting, node);
      case Setting::TypeFloat:
      case Setting::TypeNone:
        node.kind = Node::Kind::kFloat;
        return;
    }
  }

  void copy_children(const Setting& setting, Node& node) {
    const int count = setting.getLength();
    node.children.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) node.children.push_back(copy(setting[i]));
  }

  static void take_string(const Setting& setting, Node& node) {
    node.kind = Node::Kind::kString;
    const char* text = setting;
    if (text == nullptr) return;
    node.text = Secret(std::string_view(text));
    // libconfig frees its memory as it is; the string belongs to the Config that dies right after this.
    explicit_bzero(const_cast<char*>(text), node.text.bytes().size());
  }

  const ValueLines& lines_;
  size_t at_ = 0;
};

}  // namespace

std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kGroup:
      return "a group";
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kString:
      return "a string";
    case Node::Kind::kInteger:
      return "an integer";
    case Node::Kind::kBoolean:
      return "true or false";
    case Node::Kind::kFloat:
      return "a decimal fraction";
  }
  return "";
}

std::optional<Node> parse_tree(std::string_view text, Diagnostics& diagnostics) {
  const ValueLines lines = scan(text, diagnostics);
  if (diagnostics.has_errors()) return std::nullopt;
  std::string copy(text);
  std::optional<Node> tree;
  try {
    libconfig::Config config;
    config.readString(copy);
    tree = Copier(lines).copy_root(config.getRoot());
  } catch (const libconfig::ParseException& e) {
    diagnostics.error(e.getLine(), "{}", e.getError());
  } catch (const libconfig::ConfigException& e) {
    diagnostics.error(0, "libconfig refuses the file: {}", e.what());
  }
  explicit_bzero(copy.data(), copy.size());
  return tree;
}

}  // namespace espalier::config

#include "control/config/reader.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace espalier::config {
namespace {

constexpr size_t kMaxNameBytes = 31;  // fits the records' Name

bool is_control(char c) {
  return (c >= 0 && c < 0x20) || c == 0x7f;
}

bool is_name(std::string_view name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), good);
}

// Levenshtein's distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

std::string suggestion(std::string_view name, const std::vector<std::string_view>& keywords) {
  constexpr size_t kLongestKeyword = 32;
  std::string_view best;
  size_t best_distance = 3;  // further away is another word
  if (name.size() > kLongestKeyword) return {};
  for (const std::string_view keyword : keywords) {
    const size_t distance = edit_distance(name, keyword);
    if (distance < best_distance && 2 * distance < name.size()) best = keyword, best_distance = distance;
  }
  return best.empty() ? std::string() : fmt::format(" (is \"{}\" meant?)", best);
}

}  // namespace

const Node* Reader::find(const char* key) {
  const std::string_view wanted = key;
  if (std::find(keywords_.begin(), keywords_.end(), wanted) == keywords_.end()) keywords_.push_back(wanted);
  for (size_t i = 0; i < group_.children.size(); ++i) {
    if (group_.children[i].name != wanted) continue;
    asked_[i] = true;
    return &group_.children[i];
  }
  return nullptr;
}

const Node* Reader::find(const char* key, Node::Kind kind) {
  const Node* node = find(key);
  return node != nullptr && is(key, *node, kind) ? node : nullptr;
}

int Reader::line_of(const char* key) {
  const Node* node = find(key);
  return node == nullptr ? line() : node->line;
}

bool Reader::require(const char* key) {
  const Node* node = find(key);
  if (node == nullptr)
    group_error("needs \"{}\"", key);
  else if (node->kind == Node::Kind::kList && node->children.empty())
    error(key, "is empty");
  else
    return true;
  return false;
}

std::optional<int64_t> Reader::required_integer(const char* key, int64_t low, int64_t high) {
  std::optional<int64_t> value;
  if (require(key)) value = optional_integer(key, low, high);
  if (!value) abandon();
  return value;
}

void Reader::reject(const char* key, std::string_view why) {
  if (has(key)) error(key, "is not supported: {}", why);
}

std::optional<bool> Reader::optional_flag(const char* key) {
  const Node* node = find(key, Node::Kind::kBoolean);
  return node == nullptr ? std::nullopt : std::optional<bool>(node->boolean);
}

std::optional<int64_t> Reader::optional_integer(const char* key, int64_t low, int64_t high) {
  const Node* node = find(key, Node::Kind::kInteger);
  if (node == nullptr) return std::nullopt;
  if (low <= node->integer && node->integer <= high) return node->integer;
  error(key, "{} is not between {} and {}", node->integer, low, high);
  return std::nullopt;
}

int64_t Reader::integer(const char* key, int64_t low, int64_t high, int64_t otherwise) {
  return optional_integer(key, low, high).value_or(otherwise);
}

std::string Reader::string(const char* key) {
  const Node* node = find(key, Node::Kind::kString);
  if (node == nullptr) return {};
  const std::string_view text = node->text.text();
  if (text.empty()) error(key, "is empty");
  if (std::any_of(text.begin(), text.end(), is_control)) error(key, "has control characters");
  return std::string(text);
}

std::string Reader::label(const char* key, size_t most) {
  std::string text = string(key);
  if (text.size() > most) error(key, "is longer than {} characters", most);
  if (std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; }))
    error(key, "has characters beyond ASCII");
  return text;
}

std::vector<Located<std::string>> Reader::strings(const char* key) {
  return parsed_list(key, [](std::string_view text) -> Result<std::string> {
    if (text.empty()) return fail("is empty");
    if (std::any_of(text.begin(), text.end(), is_control)) return fail("has control characters");
    return std::string(text);
  });
}

Secret Reader::secret(const char* key) {
  const Node* node = find(key, Node::Kind::kString);
  if (node == nullptr) return {};
  if (node->text.empty()) error(key, "is empty");
  return Secret(node->text.text());
}

bool Reader::is(const char* key, const Node& node, Node::Kind kind) {
  if (node.kind == kind) return true;
  diagnostics_.error(node.line, "{}: must be {}, not {}", path_of(key), kind_name(kind),
                     kind_name(node.kind));
  return false;
}

bool Reader::is_group(const std::string& path, const Node& node) {
  if (node.kind == Node::Kind::kGroup) return true;
  diagnostics_.error(node.line, "{}: must be a group, not {}", path, kind_name(node.kind));
  return false;
}

bool Reader::is_collection(const char* key, const Node& node) {
  if (node.kind == Node::Kind::kGroup || node.kind == Node::Kind::kList) return true;
  diagnostics_.error(node.line, "{}: must be a group of groups or a list of groups with \"name\", not {}",
                     path_of(key), kind_name(node.kind));
  return false;
}

bool Reader::check_name(const std::string& name, std::unordered_set<std::string>& names) {
  if (name.empty()) {
    if (!has("name")) group_error("needs \"name\"");
    return false;
  }
  if (!is_name(name)) {
    group_error("{} is not a name: letters, digits, - and _, at most {} characters", quoted(name),
                kMaxNameBytes);
    return false;
  }
  if (names.insert(name).second) return true;
  group_error("the name {} stands twice", quoted(name));
  return false;
}

std::vector<const Node*> Reader::scalars(const char* key) {
  const Node* node = find(key);
  if (node == nullptr) return {};
  if (node->kind != Node::Kind::kList) return {node};
  std::vector<const Node*> result;
  result.reserve(node->children.size());
  for (const Node& child : node->children) result.push_back(&child);
  return result;
}

std::optional<std::string> Reader::scalar_text(const char* key, const Node& node) {
  if (node.kind == Node::Kind::kInteger) return std::to_string(node.integer);
  if (!is(key, node, Node::Kind::kString)) return std::nullopt;
  return std::string(node.text.text());
}

void Reader::wrong_word(const char* key, const Node& node, std::span<const std::string_view> words) {
  diagnostics_.error(node.line, "{}: {} is not one of: {}", path_of(key), quoted(node.text.text()),
                     fmt::join(words, ", "));
}

void Reader::report_unknown() {
  for (size_t i = 0; i < group_.children.size(); ++i) {
    if (asked_[i]) continue;
    const Node& child = group_.children[i];
    diagnostics_.error(child.line, "{}{}unknown keyword {}{}", path_, path_.empty() ? "" : ": ",
                       quoted(child.name), suggestion(child.name, keywords_));
  }
}

}  // namespace espalier::config

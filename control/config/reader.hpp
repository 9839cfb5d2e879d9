// Reads one group of the configuration: fetches its settings as typed values, says what is wrong with path
// and line, and at the end reports every keyword that nobody asked for. Parsers (parse.hpp) therefore never
// list their keywords twice, and nothing that is accepted is ignored.
//
// A getter whose setting is absent or wrong returns the default (wrong ones after reporting an error), so
// that parsing goes on and finds all errors of a file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "control/config/model.hpp"
#include "control/config/tree.hpp"

namespace espalier::config {

class Reader {
 public:
  // `path` stands in front of every message: "interfaces.eth0". The references outlive the Reader.
  Reader(const Node& group, std::string path, Diagnostics& diagnostics)
      : group_(group), path_(std::move(path)), diagnostics_(diagnostics), asked_(group.children.size()) {}

  int line() const { return group_.line; }
  const std::string& path() const { return path_; }
  // For elements of lists, that get a better name than their position once their number or name is known.
  void set_path(std::string path) { path_ = std::move(path); }

  bool has(const char* key) { return find(key) != nullptr; }
  int line_of(const char* key);   // of the setting, or of the group where it is absent
  bool require(const char* key);  // a list with something in it
  // The number that names this group; without a usable one the group is abandoned.
  std::optional<int64_t> required_integer(const char* key, int64_t low, int64_t high);
  // The rest of the group is not looked at: its keywords do not count as unknown.
  void abandon() { asked_.assign(asked_.size(), true); }
  // For keywords that users of VyOS know and Espalier will not have.
  void reject(const char* key, std::string_view why);

  bool flag(const char* key, bool otherwise = false) { return optional_flag(key).value_or(otherwise); }
  std::optional<bool> optional_flag(const char* key);
  int64_t integer(const char* key, int64_t low, int64_t high, int64_t otherwise = 0);
  std::optional<int64_t> optional_integer(const char* key, int64_t low, int64_t high);
  std::string string(const char* key);              // without control characters
  std::string label(const char* key, size_t most);  // printable ASCII, at most that long: goes into a record
  Located<std::string> located_string(const char* key) { return {string(key), line_of(key)}; }
  std::vector<Located<std::string>> strings(const char* key);  // a scalar stands for an array of one
  // Its value appears in no message.
  Secret secret(const char* key);

  template <class E, size_t N>
  E choice(const char* key, const Word<E> (&words)[N], E otherwise) {
    return optional_choice(key, words).value_or(otherwise);
  }
  template <class E, size_t N>
  std::optional<E> optional_choice(const char* key, const Word<E> (&words)[N]) {
    const Node* node = find(key, Node::Kind::kString);
    return node == nullptr ? std::nullopt : word(key, *node, words);
  }
  template <class E, size_t N>
  std::vector<E> choices(const char* key, const Word<E> (&words)[N]) {
    std::vector<E> result;
    for (const Node* node : scalars(key))
      if (is(key, *node, Node::Kind::kString)) result.push_back(word(key, *node, words).value_or(E{}));
    return result;
  }

  // `parse` takes a string_view and returns a Result; its error completes the sentence that begins with the
  // value.
  template <class Parse>
  auto parsed(const char* key, Parse parse) {
    using Value = typename decltype(parse(std::string_view()))::value_type;
    const Node* node = find(key);
    return node == nullptr ? std::optional<Value>() : parse_one<Value>(key, *node, parse);
  }
  template <class Parse>
  auto parsed_list(const char* key, Parse parse) {
    using Value = typename decltype(parse(std::string_view()))::value_type;
    std::vector<Located<Value>> result;
    for (const Node* node : scalars(key))
      if (auto value = parse_one<Value>(key, *node, parse)) result.push_back({std::move(*value), node->line});
    return result;
  }

  // Calls `read(Reader&)` for the group `key` if there is one.
  template <class Read>
  void group(const char* key, Read read) {
    const Node* node = find(key, Node::Kind::kGroup);
    if (node != nullptr) read_scope(*node, path_of(key), read);
  }
  // Calls `read(Reader&)` for each group of the list `key`; a single group stands for a list of one.
  template <class Read>
  void groups(const char* key, Read read) {
    size_t position = 0;
    for (const Node* node : scalars(key)) {
      const std::string path = fmt::format("{} #{}", path_of(key), ++position);
      if (is_group(path, *node)) read_scope(*node, path, read);
    }
  }
  // Calls `read(name, Reader&)` for each member of the group `key`, or for each group with a `name` in the
  // list.
  template <class Read>
  void named_groups(const char* key, Read read) {
    std::unordered_set<std::string> names;
    const Node* node = find(key);
    if (node == nullptr || !is_collection(key, *node)) return;
    size_t position = 0;
    for (const Node& child : node->children) {
      const std::string path = child.name.empty() ? fmt::format("{} #{}", path_of(key), ++position)
                                                  : fmt::format("{}.{}", path_of(key), child.name);
      if (!is_group(path, child)) continue;
      Reader scope(child, path, diagnostics_);
      std::string name = child.name.empty() ? scope.string("name") : child.name;
      if (!scope.check_name(name, names)) continue;
      scope.set_path(fmt::format("{}.{}", path_of(key), name));
      read(std::move(name), scope);
      scope.report_unknown();
    }
  }

  template <class... Args>
  void error(const char* key, fmt::format_string<Args...> format, Args&&... args) {
    diagnostics_.error(line_of(key), "{}: {}", path_of(key),
                       fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void group_error(fmt::format_string<Args...> format, Args&&... args) {
    diagnostics_.error(line(), "{}: {}", path_, fmt::format(format, std::forward<Args>(args)...));
  }

  // Errors for all settings that were not asked for. Called once, at the end of the scope.
  void report_unknown();

 private:
  const Node* find(const char* key);
  const Node* find(const char* key, Node::Kind kind);
  std::string path_of(const char* key) const {
    return path_.empty() ? key : fmt::format("{}.{}", path_, key);
  }
  bool is(const char* key, const Node& node, Node::Kind kind);
  bool is_group(const std::string& path, const Node& node);
  bool is_collection(const char* key, const Node& node);
  bool check_name(const std::string& name, std::unordered_set<std::string>& names);
  std::vector<const Node*> scalars(const char* key);
  std::optional<std::string> scalar_text(const char* key, const Node& node);
  void wrong_word(const char* key, const Node& node, std::span<const std::string_view> words);

  template <class Read>
  void read_scope(const Node& node, const std::string& path, Read read) {
    Reader scope(node, path, diagnostics_);
    read(scope);
    scope.report_unknown();
  }
  template <class E, size_t N>
  std::optional<E> word(const char* key, const Node& node, const Word<E> (&words)[N]) {
    std::string_view names[N];
    for (size_t i = 0; i < N; ++i) {
      if (node.text.text() == words[i].name) return words[i].value;
      names[i] = words[i].name;
    }
    wrong_word(key, node, names);
    return std::nullopt;
  }
  template <class Value, class Parse>
  std::optional<Value> parse_one(const char* key, const Node& node, Parse parse) {
    const std::optional<std::string> text = scalar_text(key, node);
    if (!text) return std::nullopt;
    auto value = parse(std::string_view(*text));
    if (value) return std::move(*value);
    diagnostics_.error(node.line, "{}: {} {}", path_of(key), quoted(*text), value.error().text);
    return std::nullopt;
  }

  const Node& group_;
  std::string path_;
  Diagnostics& diagnostics_;
  std::vector<bool> asked_;                 // per child
  std::vector<std::string_view> keywords_;  // all that were asked for: what can be meant by an unknown one
};

}  // namespace espalier::config

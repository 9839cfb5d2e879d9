#include "control/config/scanner.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace espalier::config {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool starts_name(char c) {
  return is_letter(c) || c == '*';
}
bool continues_name(char c) {
  return starts_name(c) || is_digit(c) || c == '-' || c == '_';
}
bool starts_number(char c) {
  return is_digit(c) || c == '-' || c == '+' || c == '.';
}
bool continues_number(char c) {
  return starts_number(c) || is_letter(c);
}
bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_boolean(std::string_view word) {
  std::string lower(word);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return static_cast<char>(c | 0x20); });
  return lower == "true" || lower == "false";
}

template <class Predicate>
bool all_of(std::string_view text, Predicate predicate) {
  return !text.empty() && std::all_of(text.begin(), text.end(), predicate);
}

// libconfig's float: digits with a point, an exponent or both.
bool is_float(std::string_view text) {
  const size_t exponent = text.find_first_of("eE");
  std::string_view mantissa = text.substr(0, exponent);
  const bool has_point = mantissa.find('.') != mantissa.npos;
  if (exponent != text.npos) {
    std::string_view digits = text.substr(exponent + 1);
    if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
    if (!all_of(digits, is_digit)) return false;
  }
  return (has_point || exponent != text.npos) && std::count(mantissa.begin(), mantissa.end(), '.') <= 1 &&
         all_of(mantissa, [](char c) { return is_digit(c) || c == '.'; });
}

// Whether `digits` of this base are a number above `most`.
bool exceeds(std::string_view digits, unsigned base, uint64_t most) {
  uint64_t value = 0;
  for (const char c : digits) {
    const unsigned digit =
        is_digit(c) ? static_cast<unsigned>(c - '0') : static_cast<unsigned>((c | 0x20) - 'a' + 10);
    if (value > (most - std::min<uint64_t>(digit, most)) / base) return true;
    value = value * base + digit;
  }
  return value > most;
}

// What is wrong with a number as it stands in the text, or nothing. The text itself is not part of the
// answer.
std::string_view number_fault(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (is_float(text)) return {};
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  std::string_view digits = hex ? text.substr(2) : text;
  bool is_long = false;
  for (int i = 0; i < 2 && digits.ends_with('L'); ++i) digits.remove_suffix(1), is_long = true;
  if (hex ? !all_of(digits, is_hex_digit) : !all_of(digits, is_digit))
    return "not a number; text needs double quotes";
  if (!hex && digits.size() > 1 && digits[0] == '0')
    return "a number with leading zeros, which libconfig would drop";
  const uint64_t most = (is_long ? 0x7fffffffffffffffu : 0x7fffffffu);
  if (!exceeds(digits, hex ? 16 : 10, most)) return {};
  return is_long ? "an integer beyond 63 bits"
                 : "an integer beyond 31 bits needs the suffix L, as in 0xC0DE0001L";
}

class Scanner {
 public:
  Scanner(std::string_view text, Diagnostics& diagnostics) : text_(text), diagnostics_(diagnostics) {}

  ValueLines run() {
    while (at_ < text_.size() && !stopped_) step();
    return std::move(lines_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void step() {
    const char c = peek();
    if (c == '\n') return ++line_, ++at_, void();
    if (c == '#' || (c == '/' && peek(1) == '/')) return skip_line();
    if (c == '/' && peek(1) == '*') return skip_comment();
    if (c == ' ' || c == '\t' || c == '\r' || c == '\f') return ++at_, void();
    const bool is_value = std::exchange(after_assignment_, false) || in_list();
    before_ = std::exchange(current_, c);
    if (c == '"') return string();
    // Between the strings of one value only blanks and comments may stand: everything else ends it.
    in_string_value_ = false;
    if (starts_name(c)) return word(is_value);
    if (starts_number(c)) return number();
    if ((c & 0x80) != 0) return foreign();
    punctuation(c);
  }

  void skip_line() { at_ = std::min(text_.find('\n', at_), text_.size()); }

  void skip_comment() {
    const size_t end = text_.find("*/", at_ + 2);
    if (end == text_.npos)
      return stop("this comment has no end; libconfig would ignore the rest of the file");
    line_ += static_cast<int>(std::count(text_.begin() + at_, text_.begin() + end, '\n'));
    at_ = end + 2;
  }

  void string() {
    if (!in_string_value_) lines_.push_back(line_);
    in_string_value_ = true;
    for (++at_; at_ < text_.size() && peek() != '"' && peek() != '\n'; ++at_) {
      if (peek() == '\0') return stop("a NUL byte");
      if (peek() != '\\') continue;
      if ((peek(1) == 'x' || peek(1) == 'X') && peek(2) == '0' && peek(3) == '0')
        diagnostics_.error(line_, "a \\x00 inside a string, where libconfig would cut it");
      ++at_;
      if (peek() == '\n') break;
    }
    if (peek() != '"' || at_ >= text_.size()) return stop("this string has no end on its line");
    ++at_;
  }

  void word(bool is_value) {
    const size_t begin = at_;
    while (at_ < text_.size() && continues_name(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (is_boolean(word))
      lines_.push_back(line_);
    else if (is_value)
      diagnostics_.error(line_, "text needs double quotes; flags are true or false");
    else
      name_ = {word, line_};
  }

  // A byte order mark, a blank that does not break, quotes of a word processor. Once a line: the next are
  // likely the other halves.
  void foreign() {
    if (foreign_line_ != line_) diagnostics_.error(line_, "a character beyond ASCII outside of a string");
    foreign_line_ = line_;
    while (at_ < text_.size() && (text_[at_] & 0x80) != 0) ++at_;
  }

  void number() {
    const size_t begin = at_;
    while (at_ < text_.size() && continues_number(text_[at_])) ++at_;
    lines_.push_back(line_);
    const std::string_view fault = number_fault(text_.substr(begin, at_ - begin));
    if (!fault.empty()) diagnostics_.error(line_, "{}", fault);
  }

  void punctuation(char c) {
    if (c == '\0') return stop("a NUL byte");
    if (c == '@') return stop("@include is not supported: one file holds the whole configuration");
    if (c == '{' || c == '(' || c == '[') open(c);
    // libconfig 1.7 takes it, 1.5 calls it a syntax error: one file must mean the same to both.
    if ((c == ')' || c == ']') && before_ == ',') diagnostics_.error(line_, "a comma after the last element");
    if (c == '}' || c == ')' || c == ']') close();
    if (c == '=' || c == ':') assignment();
    ++at_;
  }

  void open(char bracket) {
    lines_.push_back(line_);
    open_.push_back({bracket != '{', names_.size()});
    if (open_.size() > kMaxDepth + 1) stop("nested too deeply");
  }

  void close() {
    if (open_.size() == 1) return;
    names_.resize(open_.back().first_name);
    open_.pop_back();
  }

  bool in_list() const { return open_.back().is_list; }

  void assignment() {
    after_assignment_ = true;
    const Name name = std::exchange(name_, {});
    const auto first = names_.begin() + static_cast<ptrdiff_t>(open_.back().first_name);
    const auto earlier =
        std::find_if(first, names_.end(), [&](const Name& other) { return other.text == name.text; });
    if (earlier != names_.end() && !name.text.empty())
      diagnostics_.error(name.line, "{} stands twice in its group (first on line {})", quoted(name.text),
                         earlier->line);
    names_.push_back(name);
    if (names_.size() - open_.back().first_name > kMaxGroupNames)
      stop("too many names in one group: write a list of groups, ( { name = \"...\"; }, ... )");
  }

  void stop(std::string_view why) {
    diagnostics_.error(line_, "{}", why);
    stopped_ = true;
  }

  struct Name {
    std::string_view text;
    int line = 0;
  };
  struct Aggregate {
    bool is_list = false;   // "( )" or "[ ]": words in it are values
    size_t first_name = 0;  // in names_
  };

  std::string_view text_;
  Diagnostics& diagnostics_;
  ValueLines lines_;
  std::vector<Aggregate> open_{1};  // the file itself first
  std::vector<Name> names_;         // of all open aggregates
  Name name_;                       // the last word, a name if "=" comes
  int foreign_line_ = 0;
  char current_ = '\0', before_ = '\0';  // where the last two words, values or marks begin
  size_t at_ = 0;
  int line_ = 1;
  bool after_assignment_ = false;
  bool in_string_value_ = false;  // the last value is a string: one that follows at once is its continuation
  bool stopped_ = false;          // the rest of the text would be misread
};

}  // namespace

ValueLines scan(std::string_view text, Diagnostics& diagnostics) {
  if (text.size() > kMaxTextBytes) {
    diagnostics.error(0, "larger than {} MiB", kMaxTextBytes >> 20);
    return {};
  }
  return Scanner(text, diagnostics).run();
}

}  // namespace espalier::config

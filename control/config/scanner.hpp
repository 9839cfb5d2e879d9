// Looks at the text of a configuration before libconfig does, and refuses what libconfig would change or
// swallow without a word (all tried on 1.5): integers beyond 31 bits without the suffix L wrap or become 0,
// leading zeros vanish, an unterminated comment or string ends the file early, a "\x00" cuts its string
// short. It also refuses what would cost more than it is worth: includes, deep nesting, and groups with so
// many names that libconfig's linear search takes minutes.
//
// And it names what libconfig calls no more than "syntax error" or "duplicate setting name": characters
// beyond ASCII outside of strings, words without quotes, and which name stands twice.
//
// The scanner follows libconfig's lexer: whether the tokens make sense otherwise is libconfig's question.
#pragma once

#include <string_view>
#include <vector>

#include "control/config/diagnostics.hpp"

namespace espalier::config {

inline constexpr size_t kMaxTextBytes = 256u << 20;
inline constexpr int kMaxDepth = 32;  // groups, lists and arrays inside each other
inline constexpr int kMaxGroupNames =
    4096;  // in one group; libconfig compares each new name with all before it

// The line of every value in the order of the text, an aggregate before what is in it. libconfig's own lines
// are those of the next token where strings stand in an array.
using ValueLines = std::vector<int>;

// Reports every trap as an error. Never repeats a number, a string or a word in the place of a value: it may
// be a key whose quotes were forgotten.
ValueLines scan(std::string_view text, Diagnostics& diagnostics);

}  // namespace espalier::config

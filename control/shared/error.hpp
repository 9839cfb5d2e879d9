// Errors of the control plane: a sentence for the operator, that gains context on its way up and is printed
// once, at the top. The packet path does not use it; it has drop reasons (drop_reason.hpp).
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <utility>

namespace espalier {

struct Error {
  std::string text;  // what, where and what to do, without a final full stop
  Error with_context(const std::string& where) && { return {where + ": " + text}; }
};

template <class T>
using Result = std::expected<T, Error>;

template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

// Evaluates a Result, returns its error from the current function, else yields the value.
#define TRY(expression)                                                     \
  ({                                                                        \
    auto&& try_result = (expression);                                       \
    if (!try_result) return std::unexpected(std::move(try_result).error()); \
    *std::move(try_result);                                                 \
  })

}  // namespace espalier

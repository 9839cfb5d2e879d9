#include "control/cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace espalier::cli {
namespace {

std::string pad(const std::string& cell, size_t width, Align align) {
  return align == Align::kLeft ? fmt::format("{:<{}}", cell, width) : fmt::format("{:>{}}", cell, width);
}

void trim_right(std::string& text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
}

}  // namespace

std::string printable(std::string_view text) {
  std::string plain;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80)
      plain += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      plain += c < 0x20 || c == 0x7f ? '?' : c;
  }
  return plain;
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::render() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](auto cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i)
      line += (i == 0 ? "" : "  ") + pad(cell_of(i), widths[i], columns_[i].align);
    trim_right(line);
    text += line + "\n";
  };
  add_line([this](size_t i) { return columns_[i].title; });
  add_line([&widths](size_t i) { return std::string(widths[i], '-'); });
  for (const auto& row : rows_) add_line([&row](size_t i) { return row[i]; });
  return text;
}

std::string human_bytes(uint64_t bytes) {
  constexpr std::array kUnits{"K", "M", "G", "T", "P", "E"};
  if (bytes < 1024) return fmt::format("{}", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.995 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.2f}{}", value, kUnits[unit]);
}

std::string human_seconds(uint64_t seconds) {
  const uint64_t days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
  if (days != 0) return fmt::format("{}d{}h", days, hours);
  if (hours != 0) return fmt::format("{}h{}m", hours, minutes);
  if (minutes != 0) return fmt::format("{}m{}s", minutes, seconds % 60);
  return fmt::format("{}s", seconds);
}

}  // namespace espalier::cli

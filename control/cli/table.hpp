// Columns for people: aligned, as wide as their widest cell, numbers to the right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::cli {

enum class Align : uint8_t { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns; shown as printable() makes them.
  void add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // Title line, rule, rows; no blanks at the ends of lines.
  std::string render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// What peers had a hand in may steer a terminal: control characters become "?", bytes beyond ASCII "\xc2".
std::string printable(std::string_view text);

// "1532" bytes as "1.50K", as VyOS does; below 1024 as it is.
std::string human_bytes(uint64_t bytes);
// Two units at most: 3725 as "1h2m", 90 as "1m30s".
std::string human_seconds(uint64_t seconds);

}  // namespace espalier::cli

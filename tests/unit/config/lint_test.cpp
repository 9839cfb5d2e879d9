// Every lint, by the table of lints, so that none is forgotten: cases/lints/ has a configuration on which it
// speaks and one on which it is silent (what exactly is said there, diagnostics_test holds), and the
// operator's manual a row with its meaning and remedy.
#include "control/config/lint.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include "tests/unit/config/case_file.hpp"

namespace espalier::config::testing {
namespace {

// Of all files of lints that the program was started with.
std::vector<Case> read_lint_cases() {
  std::vector<Case> all;
  for (const std::string& path : case_files())
    if (path.find("/cases/lints/") != path.npos) std::ranges::move(read_cases(path), std::back_inserter(all));
  return all;
}
const std::vector<Case>& lint_cases() {
  static const std::vector<Case> all = read_lint_cases();
  return all;
}

// "nat-swallows-tunnel" of "nat-swallows-tunnel: masquerade ..." and of "nat-swallows-tunnel, not: ...".
std::string lint_of(const Case& one) {
  return one.name.substr(0, one.name.find_first_of(":, "));
}
bool is_near_miss(const Case& one) {
  return one.name.substr(lint_of(one).size()).starts_with(", not: ");
}
bool is_of_a_lint(const Case& one) {
  return is_near_miss(one) || one.name.substr(lint_of(one).size()).starts_with(": ");
}
bool speaks(const Case& one, std::string_view lint) {
  const std::string end = fmt::format(" [{}]", lint);
  return std::any_of(one.expected.begin(), one.expected.end(),
                     [&](const std::string& line) { return line.ends_with(end); });
}

std::vector<std::string> lints() {
  std::vector<std::string> names;
  for (const LintName& each : kLintTable)
    if (each.lint != Lint::kNone) names.emplace_back(each.name);
  return names;
}

TEST(Lints, EachHasAConfigurationOnWhichItSpeaksAndANearMiss) {
  for (const std::string& lint : lints()) {
    const auto count = [&](bool near_miss) {
      return std::ranges::count_if(lint_cases(), [&](const Case& one) {
        return is_of_a_lint(one) && lint_of(one) == lint && is_near_miss(one) == near_miss;
      });
    };
    EXPECT_GE(count(false), 1) << lint << " has no case on which it speaks";
    EXPECT_GE(count(true), 1) << lint << " has no near-miss";
  }
}

TEST(Lints, CasesAreOfLintsThatThereAreAndDoWhatTheirTitlesSay) {
  const std::vector<std::string> known = lints();
  for (const Case& one : lint_cases()) {
    if (!is_of_a_lint(one)) continue;
    EXPECT_NE(std::find(known.begin(), known.end(), lint_of(one)), known.end()) << one.name;
    EXPECT_EQ(speaks(one, lint_of(one)), !is_near_miss(one)) << one.name;
  }
}

// "selector-overlap" -> the row's other columns, of the table "| `lint` | meaning | remedy |".
std::map<std::string, std::vector<std::string>> rows_of_the_manual() {
  const char* root = std::getenv("ESPALIER_SOURCE_ROOT");
  EXPECT_NE(root, nullptr) << "set by meson.build";
  std::ifstream file(std::string(root == nullptr ? "." : root) + "/docs/configuration.md");
  std::map<std::string, std::vector<std::string>> rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) inside = line == "## Warnings";
    if (!inside || !line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    for (size_t at = 0, end; (end = line.find(" |", at + 1)) != line.npos; at = end + 1)
      cells.push_back(line.substr(at + 2, end - at - 2));
    const std::string name = cells[0].substr(1, cells[0].size() - 2);
    EXPECT_TRUE(rows.emplace(name, std::vector(cells.begin() + 1, cells.end())).second) << name << " twice";
  }
  return rows;
}

TEST(Lints, TheManualHasEachWithItsMeaningAndRemedyAndNoOthers) {
  const auto rows = rows_of_the_manual();
  const std::vector<std::string> known = lints();
  for (const std::string& lint : known) {
    const auto row = rows.find(lint);
    ASSERT_NE(row, rows.end()) << lint;
    ASSERT_EQ(row->second.size(), 2u) << lint;
    EXPECT_GT(row->second[0].size(), 10u) << lint << " has no meaning";
    EXPECT_GT(row->second[1].size(), 5u) << lint << " has no remedy";
  }
  EXPECT_EQ(rows.size(), known.size());
}

TEST(Lints, NamesAreWordsOfSmallLettersAndNoneStandsTwice) {
  std::vector<std::string> names = lints();
  for (const std::string& name : names)
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), name.npos) << name;
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace espalier::config::testing

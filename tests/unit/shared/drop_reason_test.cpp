// The operator's manual and the table of drop reasons say the same: docs/troubleshooting.md has every reason
// once, and none that there is not.
#include "control/shared/drop_reason.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace espalier {
namespace {

std::string manual() {
  const char* root = std::getenv("ESPALIER_SOURCE_ROOT");
  EXPECT_NE(root, nullptr) << "set by meson.build";
  std::ifstream file(std::string(root == nullptr ? "." : root) + "/docs/troubleshooting.md");
  EXPECT_TRUE(file.is_open());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The words in backquotes of `text`.
std::multiset<std::string> quoted_words(const std::string& text) {
  std::multiset<std::string> words;
  for (size_t at = text.find('`'); at != text.npos; at = text.find('`', at + 1)) {
    const size_t end = text.find('`', at + 1);
    if (end == text.npos) break;
    words.insert(text.substr(at + 1, end - at - 1));
    at = end;
  }
  return words;
}

// From the heading to the next one.
std::string section(const std::string& text, const std::string& heading) {
  const size_t begin = text.find(heading);
  EXPECT_NE(begin, text.npos) << heading;
  return begin == text.npos ? "" : text.substr(begin, text.find("\n## ", begin + 1) - begin);
}

std::string first_column(const std::string& row) {
  return row.substr(0, row.find('|', 1));
}

// The reasons that rows of the table begin with, and those that the text below it names as no loss.
std::multiset<std::string> explained() {
  std::istringstream lines(section(manual(), "\n## Drop reasons\n"));
  std::multiset<std::string> reasons;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("| `"))
      reasons.merge(quoted_words(first_column(line)));
    else if (!line.starts_with("|"))
      reasons.merge(quoted_words(line));
  return reasons;
}

TEST(DropReasons, TheManualExplainsEachOnce) {
  const std::multiset<std::string> found = explained();
  for (const DropReasonInfo& each : kDropReasonTable)
    EXPECT_EQ(found.count(std::string(each.name)), each.reason == DropReason::kNone ? 0u : 1u) << each.name;
}

TEST(DropReasons, TheManualExplainsNoOthers) {
  std::set<std::string> known;
  for (const DropReasonInfo& each : kDropReasonTable) known.insert(std::string(each.name));
  const std::multiset<std::string> found = explained();
  EXPECT_FALSE(found.empty());
  for (const std::string& each : found) EXPECT_TRUE(known.contains(each)) << each;
}

}  // namespace
}  // namespace espalier

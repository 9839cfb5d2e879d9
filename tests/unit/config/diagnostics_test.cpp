// Runs the .cases of cases/ and cases/lints/: what `check` says, and for apply.cases what `apply` says.
#include <gtest/gtest.h>

#include "control/config/config.hpp"
#include "tests/unit/config/case_file.hpp"

namespace espalier::config::testing {
namespace {

std::vector<std::string> diagnostic_lines(const std::vector<Diagnostic>& diagnostics) {
  std::vector<std::string> lines;
  for (const Diagnostic& d : diagnostics) {
    EXPECT_EQ(d.file, "case.conf");
    lines.push_back(d.severity == Severity::kError
                        ? fmt::format("{}: error: {}", d.line, d.text)
                        : fmt::format("{}: warning: {} [{}]", d.line, d.text, d.lint));
  }
  return lines;
}

class DiagnosticsTest : public ::testing::Test {
 public:
  DiagnosticsTest(Case data, bool apply) : data_(std::move(data)), apply_(apply) {}

  void TestBody() override {
    const Source source{"case.conf", Secret(std::string_view(data_.text)), data_.mode};
    const auto found = diagnostic_lines(apply_ ? load(source).diagnostics : check(source));
    EXPECT_EQ(fmt::format("{}", fmt::join(found, "\n")), fmt::format("{}", fmt::join(data_.expected, "\n")));
  }

 private:
  const Case data_;
  const bool apply_;
};

}  // namespace
}  // namespace espalier::config::testing

int main(int argc, char** argv) {
  using namespace espalier::config::testing;
  ::testing::InitGoogleTest(&argc, argv);
  // The files of cases follow gtest's own arguments.
  case_files().assign(argv + 1, argv + argc);
  for (const std::string& path : case_files()) {
    const std::string folder = "/cases/";
    const std::string file = path.substr(path.rfind(folder) + folder.size());
    for (const Case& one : read_cases(path))
      ::testing::RegisterTest(file.c_str(), one.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [one, apply = file == "apply.cases"]() -> ::testing::Test* {
                                return new DiagnosticsTest(one, apply);
                              });
  }
  return RUN_ALL_TESTS();
}

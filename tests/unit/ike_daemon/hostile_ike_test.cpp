// espalierd and an espalier-ike that was taken over (fake_ike.cpp): whatever it writes, espalierd goes on.
#include <gtest/gtest.h>

#include "control/daemon/ike_supervisor.hpp"
#include "control/daemon/untrusted_json.hpp"
#include "tests/unit/daemon/fixture.hpp"

namespace espalier::daemon {
namespace {

using Json = nlohmann::json;

class HostileIkeTest : public DaemonTest {
 protected:
  ~HostileIkeTest() override {
    bool stopped = false;
    ike_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
    for (const char* name : {"FAKE_IKE_ANSWER", "FAKE_IKE_QUESTION", "FAKE_IKE_HELLOS"}) ::unsetenv(name);
  }
  void start() {
    auto document = std::make_shared<config::IkeDocument>();
    document->connections.emplace_back().name = "B";
    const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fake_ike";
    ike_.emplace(loop_, IkeSupervisor::Places{runtime_dir(), program, "nobody", directory_},
                 [this] { ++channels_wanted_; });
    ike_->configure(std::move(document));
    ASSERT_TRUE(run_until([&] { return ike_->ready(); }));
  }
  Result<Json> ask() {
    std::optional<Result<Json>> answer;
    ike_->request({{"request", "ike_sas"}}, [&](Result<Json> got) { answer = std::move(got); });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return answer ? std::move(*answer) : Result<Json>(fail("no answer"));
  }

  std::optional<IkeSupervisor> ike_;
  int channels_wanted_ = 0;
};

TEST_F(HostileIkeTest, AnswersOfWrongTypesAreNone) {
  for (const char* text : {R"({"ok":"yes"})", R"({"ok":false,"error":7})", R"({"ok":null})", "[]", "{", ""}) {
    ::setenv("FAKE_IKE_ANSWER", text, 1);
    start();
    const auto answer = ask();
    ASSERT_FALSE(answer) << text;
    EXPECT_EQ(answer.error().text, "espalier-ike's answer is none") << text;
    bool stopped = false;
    ike_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
  }
}

// It would be written again for the operator, by a function that calls itself for each level.
TEST_F(HostileIkeTest, AnAnswerWithoutABottomIsNone) {
  ::setenv("FAKE_IKE_ANSWER", "deep", 1);
  start();
  const auto answer = ask();
  ASSERT_FALSE(answer) << answer->dump().size();
  EXPECT_EQ(answer.error().text, "espalier-ike's answer is none");
}

TEST_F(HostileIkeTest, AQuestionIsANameOrNothing) {
  ::setenv("FAKE_IKE_QUESTION", R"({"name":[1]})", 1);
  ::setenv("FAKE_IKE_ANSWER", R"({"ok":true})", 1);
  start();
  EXPECT_TRUE(ask());
}

TEST_F(HostileIkeTest, WhoSaysHelloTwiceIsReplaced) {
  ::setenv("FAKE_IKE_HELLOS", "2", 1);
  start();
  EXPECT_TRUE(run_until([&] { return ike_->starts() >= 2; }));
}

TEST(UntrustedJson, WhatIsAskedForHasItsTypeOrIsEmpty) {
  Json json = parse_untrusted(R"({"a":"x","b":7,"rows":[{"c":1},5,[2]],"why":{"P":"broken","Q":3}})");
  EXPECT_EQ(text_at(json, "a"), "x");
  for (const char* key : {"b", "rows", "absent"}) EXPECT_EQ(text_at(json, key), "");
  EXPECT_EQ(rows_at(json, "rows"), Json::parse(R"([{"c":1}])"));
  for (const char* key : {"a", "b", "why", "absent"}) EXPECT_EQ(rows_at(json, key), Json::array());
  EXPECT_EQ(texts_at(json, "why"), (std::map<std::string, std::string>{{"P", "broken"}}));
  EXPECT_TRUE(texts_at(json, "rows").empty());
  Json nothing = parse_untrusted("7");
  EXPECT_EQ(text_at(nothing, "a"), "");
  EXPECT_EQ(rows_at(nothing, "a"), Json::array());
}

}  // namespace
}  // namespace espalier::daemon

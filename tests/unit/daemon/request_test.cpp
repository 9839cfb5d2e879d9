#include "control/daemon/request.hpp"

#include <gtest/gtest.h>

namespace espalier::daemon {
namespace {

Request parsed(std::string_view line) {
  auto request = Request::parse(line);
  EXPECT_TRUE(request) << request.error().text;
  return std::move(*request);
}

TEST(Request, OnlyAFlatObjectWithACommandIsOne) {
  for (const char* line :
       {"", " ", "null", "7", "\"show\"", "[\"show\"]", "{}", "{\"command\":null}", "{\"command\":[]}",
        "{\"command\":\"x\",\"a\":[1]}", "{\"command\":\"x\",\"a\":{\"b\":1}}", "{\"command\":\"x\"}x",
        "{\"command\":\"x\",}", "{'command':'x'}", "{\"command\":\"\xff\"}"})
    EXPECT_FALSE(Request::parse(line)) << line;
  EXPECT_EQ(parsed("{\"command\":\"show route\"}").command(), "show route");
}

TEST(Request, DeepNestingIsRefusedWithoutRecursion) {
  const std::string deep = "{\"command\":\"x\",\"a\":" + std::string(1'000'000, '[');
  EXPECT_FALSE(Request::parse(deep));
  EXPECT_FALSE(Request::parse(std::string(1'000'000, '[')));
}

TEST(Request, ArgumentsHaveTypesAndRanges) {
  auto r = parsed(R"({"command":"x","text":"t","number":7,"flag":true,"negative":-1,"real":1.5,"big":1e30})");
  EXPECT_EQ(**r.text("text"), "t");
  EXPECT_EQ(**r.number("number", 7, 7), 7u);
  EXPECT_TRUE(*r.flag("flag"));
  EXPECT_FALSE(r.text("number"));
  EXPECT_FALSE(r.number("text", 0, 9));
  EXPECT_FALSE(r.number("number", 8, 9));
  EXPECT_FALSE(r.number("number", 0, 6));
  EXPECT_FALSE(r.number("negative", 0, 9));
  EXPECT_FALSE(r.number("real", 0, 9));
  EXPECT_FALSE(r.number("big", 0, UINT64_MAX));
  EXPECT_FALSE(r.flag("text"));
  EXPECT_FALSE(*r.flag("absent"));
  EXPECT_FALSE(*r.text("absent"));
  EXPECT_FALSE(r.required_text("absent"));
  EXPECT_TRUE(r.no_others());
}

TEST(Request, WhatNobodyAskedForIsRefused) {
  auto r = parsed(R"({"command":"x","a":1,"b":2})");
  EXPECT_TRUE(r.number("a", 0, 9));
  const auto others = r.no_others();
  ASSERT_FALSE(others);
  EXPECT_EQ(others.error().text, "\"x\" does not know \"b\"");
}

}  // namespace
}  // namespace espalier::daemon

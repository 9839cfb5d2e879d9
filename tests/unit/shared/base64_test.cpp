#include "control/shared/base64.hpp"

#include <gtest/gtest.h>

#include <random>

namespace espalier {
namespace {

std::vector<uint8_t> bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

// RFC 4648 section 10.
constexpr std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                            {"f", "Zg=="},
                                                            {"fo", "Zm8="},
                                                            {"foo", "Zm9v"},
                                                            {"foob", "Zm9vYg=="},
                                                            {"fooba", "Zm9vYmE="},
                                                            {"foobar", "Zm9vYmFy"}};

TEST(Base64, TheVectorsOfRfc4648) {
  for (const auto& [plain, text] : kVectors) {
    EXPECT_EQ(base64_of(bytes(plain)), text);
    EXPECT_EQ(bytes_of_base64(text), bytes(plain));
  }
}

TEST(Base64, EveryByteComesBack) {
  std::mt19937 random(1);
  for (size_t length = 0; length < 600; ++length) {
    std::vector<uint8_t> data(length);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    ASSERT_EQ(bytes_of_base64(base64_of(data)), data);
  }
}

TEST(Base64, WhatNobodyWritesIsRefused) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "=Zg=", "Z===", "====", "Zg=A",
                           "Zh==", "Zm9=", "Zm9 ", "Zm9_", "Zm9v\n", "\x80m9v"})
    EXPECT_FALSE(bytes_of_base64(text)) << text;
}

}  // namespace
}  // namespace espalier

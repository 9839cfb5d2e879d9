// Reads one object of a JSON document: typed values with their ranges, errors with their path, and at the end
// an error for every key that nobody asked for.
//
// The first error stays; getters return defaults from then on, so that whoever reads looks once, at the end.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "control/shared/error.hpp"
#include "control/shared/types.hpp"

namespace espalier::ike {

using Json = nlohmann::json;

class JsonReader {
 public:
  // What all readers of one document share.
  struct Shared {
    std::span<const uint8_t> secrets;
    std::optional<Error> error;
  };

  JsonReader(const Json& object, std::string path, Shared& shared);

  bool has(const char* key) const { return object_.is_object() && object_.contains(key); }
  uint64_t number(const char* key, uint64_t least, uint64_t most);
  bool flag(const char* key);
  std::string text(const char* key);
  std::vector<std::string> texts(const char* key);
  IpAddress address(const char* key);  // "": unspecified
  std::vector<IpAddress> addresses(const char* key);
  std::vector<IpPrefix> prefixes(const char* key);
  PortRange ports(const char* key);  // [low, high]
  // A piece of the secrets; absent: empty.
  std::span<const uint8_t> blob(const char* key);
  std::vector<std::span<const uint8_t>> blobs(const char* key);
  // The position of the value in `words`.
  template <class Enum, size_t N>
  Enum word(const char* key, const char* const (&words)[N]) {
    const std::string value = text(key);
    for (size_t i = 0; i < N; ++i)
      if (value == words[i]) return static_cast<Enum>(i);
    fail_at(key, "is none of the words that are known");
    return Enum{};
  }
  // Calls `read(JsonReader&)` for each object of a list.
  template <class Read>
  void objects(const char* key, Read read) {
    size_t index = 0;
    for (const Json& each : list(key)) {
      JsonReader reader(each, path_of(key) + "[" + std::to_string(index++) + "]", shared_);
      read(reader);
      reader.finish();
    }
  }
  template <class Read>
  void object(const char* key, Read read) {
    JsonReader reader(value(key), path_of(key), shared_);
    read(reader);
    reader.finish();
  }

  void fail_at(const char* key, const std::string& what);
  std::string path_of(const char* key) const { return path_.empty() ? key : path_ + "." + key; }
  // No other keys.
  void finish();

 private:
  const Json& value(const char* key);
  const Json& list(const char* key);
  std::span<const uint8_t> blob_of(const char* key, const Json& place);

  const Json& object_;
  std::string path_;
  Shared& shared_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace espalier::ike

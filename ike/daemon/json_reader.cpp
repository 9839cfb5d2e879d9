#include "ike/daemon/json_reader.hpp"

#include <charconv>

#include "ike/daemon/name_resolution.hpp"

namespace espalier::ike {
namespace {

const Json kNothing;
const Json kNoList = Json::array();

std::optional<IpPrefix> parse_prefix(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const auto address = address_in_text(text.substr(0, slash));
  uint8_t length = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data() + slash + 1, end, length);
  if (!address || failure != std::errc() || at != end || length > (address->is_v4() ? 32 : 128))
    return std::nullopt;
  return IpPrefix::of(*address, length);
}

std::optional<uint64_t> number_of(const Json& value) {
  const auto* number = value.is_number_unsigned() ? value.get_ptr<const Json::number_unsigned_t*>() : nullptr;
  return number == nullptr ? std::nullopt : std::optional<uint64_t>(*number);
}

}  // namespace

JsonReader::JsonReader(const Json& object, std::string path, Shared& shared)
    : object_(object), path_(std::move(path)), shared_(shared) {
  if (!object.is_object() && !shared_.error) shared_.error = Error{path_ + ": is no object"};
}

void JsonReader::fail_at(const char* key, const std::string& what) {
  if (!shared_.error) shared_.error = Error{path_of(key) + ": " + what};
}

void JsonReader::finish() {
  if (!object_.is_object()) return;
  for (const auto& [key, value] : object_.items())
    if (!known_.contains(key)) fail_at("", "has a key that is not known");
}

const Json& JsonReader::value(const char* key) {
  known_.insert(key);
  if (has(key)) return object_[key];
  fail_at(key, "is missing");
  return kNothing;
}

const Json& JsonReader::list(const char* key) {
  const Json& found = value(key);
  if (found.is_array()) return found;
  fail_at(key, "is no list");
  return kNoList;
}

uint64_t JsonReader::number(const char* key, uint64_t least, uint64_t most) {
  const auto number = number_of(value(key));
  if (number && *number >= least && *number <= most) return *number;
  fail_at(key, fmt::format("is no whole number from {} to {}", least, most));
  return least;
}

bool JsonReader::flag(const char* key) {
  const Json& found = value(key);
  if (found.is_boolean()) return found.get<bool>();
  fail_at(key, "is neither true nor false");
  return false;
}

std::string JsonReader::text(const char* key) {
  const Json& found = value(key);
  if (found.is_string()) return found.get<std::string>();
  fail_at(key, "is no text");
  return {};
}

std::vector<std::string> JsonReader::texts(const char* key) {
  std::vector<std::string> result;
  for (const Json& each : list(key)) {
    if (!each.is_string()) fail_at(key, "holds something that is no text");
    result.push_back(each.is_string() ? each.get<std::string>() : std::string());
  }
  return result;
}

IpAddress JsonReader::address(const char* key) {
  const std::string written = text(key);
  if (written.empty()) return {};
  const auto parsed = address_in_text(written);
  if (!parsed) fail_at(key, "is no address");
  return parsed.value_or(IpAddress{});
}

std::vector<IpAddress> JsonReader::addresses(const char* key) {
  std::vector<IpAddress> result;
  for (const std::string& each : texts(key)) {
    const auto parsed = address_in_text(each);
    if (!parsed) fail_at(key, "holds something that is no address");
    result.push_back(parsed.value_or(IpAddress{}));
  }
  return result;
}

std::vector<IpPrefix> JsonReader::prefixes(const char* key) {
  std::vector<IpPrefix> result;
  for (const std::string& each : texts(key)) {
    const auto parsed = parse_prefix(each);
    if (!parsed) fail_at(key, "holds something that is no prefix");
    result.push_back(parsed.value_or(IpPrefix{}));
  }
  return result;
}

PortRange JsonReader::ports(const char* key) {
  const Json& pair = list(key);
  const auto low = pair.size() == 2 ? number_of(pair[0]) : std::nullopt;
  const auto high = pair.size() == 2 ? number_of(pair[1]) : std::nullopt;
  if (low && high && *low <= *high && *high <= 0xffff)
    return {static_cast<uint16_t>(*low), static_cast<uint16_t>(*high)};
  fail_at(key, "is no range of ports");
  return {};
}

std::span<const uint8_t> JsonReader::blob_of(const char* key, const Json& place) {
  const auto at = place.is_object() && place.contains("at") ? number_of(place["at"]) : std::nullopt;
  const auto bytes = place.is_object() && place.contains("bytes") ? number_of(place["bytes"]) : std::nullopt;
  if (at && bytes && *at <= shared_.secrets.size() && *bytes <= shared_.secrets.size() - *at)
    return shared_.secrets.subspan(*at, *bytes);
  fail_at(key, "is no place among the secrets");
  return {};
}

std::span<const uint8_t> JsonReader::blob(const char* key) {
  return has(key) ? blob_of(key, value(key)) : std::span<const uint8_t>();
}

std::vector<std::span<const uint8_t>> JsonReader::blobs(const char* key) {
  std::vector<std::span<const uint8_t>> result;
  for (const Json& each : list(key)) result.push_back(blob_of(key, each));
  return result;
}

}  // namespace espalier::ike

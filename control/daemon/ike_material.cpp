#include "control/daemon/ike_material.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "control/config/vocabulary.hpp"
#include "control/shared/fd.hpp"
#include "control/shared/text.hpp"

namespace espalier::daemon {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kVersion = 1;
constexpr size_t kMostFileBytes = 1 << 20;

// The block of secrets, and what it holds already: peers share authorities.
class SecretBlock {
 public:
  explicit SecretBlock(std::string directory) : directory_(std::move(directory)) {}

  Json add(std::span<const uint8_t> bytes) {
    const Json place{{"at", bytes_.size()}, {"bytes", bytes.size()}};
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return place;
  }
  Result<Json> add_file(const std::string& path) {
    const auto known = files_.find(path);
    if (known != files_.end()) return known->second;
    const auto content = TRY(read(std::filesystem::path(directory_) / path));
    return files_[path] = add({reinterpret_cast<const uint8_t*>(content.data()), content.size()});
  }
  // Of a secret-file: the line ends where the secret does.
  Result<Json> add_secret_file(const std::string& path) {
    auto content = TRY(read(std::filesystem::path(directory_) / path));
    while (!content.empty() && (content.back() == '\n' || content.back() == '\r')) content.pop_back();
    if (content.empty()) return fail("{}: is empty", path);
    return add({reinterpret_cast<const uint8_t*>(content.data()), content.size()});
  }
  WipingBuffer take() { return std::move(bytes_); }

 private:
  static Result<WipingBuffer> read(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) return fail("{}: {}", path, errno_text());
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
      return fail("{}: is not a regular file", path);
    if (static_cast<size_t>(status.st_size) > kMostFileBytes)
      return fail("{}: is larger than {} bytes", path, kMostFileBytes);
    WipingBuffer content(static_cast<size_t>(status.st_size));
    const ssize_t got = ::read(file.get(), content.data(), content.size());
    if (got != status.st_size)
      return fail("{}: cannot be read: {}", path, got < 0 ? errno_text() : "it changes");
    return content;
  }

  std::string directory_;
  WipingBuffer bytes_;
  std::map<std::string, Json> files_;
};

template <class Enum, size_t N>
std::string word_of(const config::Word<Enum> (&words)[N], Enum value) {
  for (const auto& word : words)
    if (word.value == value) return std::string(word.name);
  return {};
}

Json algorithm_json(EspAlgorithm algorithm) {
  return {{"cipher", static_cast<int>(algorithm.cipher)},
          {"integrity", static_cast<int>(algorithm.integrity)},
          {"key_bytes", algorithm.key_bytes},
          {"icv_bytes", algorithm.icv_bytes}};
}

Json suites_json(const std::vector<config::IkeSuite>& suites) {
  Json list = Json::array();
  for (const auto& suite : suites) {
    list.push_back(algorithm_json(suite.protection));
    list.back()["prf"] = suite.prf;
    list.back()["group"] = suite.group;
  }
  return list;
}

Json suites_json(const std::vector<config::ChildSuite>& suites) {
  Json list = Json::array();
  for (const auto& suite : suites) {
    list.push_back(algorithm_json(suite.algorithm));
    list.back()["group"] = suite.group;
  }
  return list;
}

template <class T>
Json texts_json(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to_text(value));
  return list;
}

Json child_json(const config::IkeChild& child) {
  return {{"name", child.name},
          {"reqid", child.reqid.value},
          {"vti", child.vti.value},
          {"transport", child.transport},
          {"suites", suites_json(child.suites)},
          {"local", texts_json(child.local)},
          {"remote", texts_json(child.remote)},
          {"protocol", child.protocol},
          {"local_ports", {child.local_ports.low, child.local_ports.high}},
          {"remote_ports", {child.remote_ports.low, child.remote_ports.high}},
          {"lifetime_s", child.lifetime_s},
          {"life_bytes", child.life_bytes},
          {"life_packets", child.life_packets},
          {"rekey", child.rekey},
          {"replay_window", child.replay_window}};
}

Json connection_json(const config::IkeConnection& c) {
  Json children = Json::array();
  for (const auto& child : c.children) children.push_back(child_json(child));
  return {{"name", c.name},
          {"type", word_of(config::kConnectionTypeWords, c.type)},
          {"local", c.local.is_unspecified() ? "" : to_text(c.local)},
          {"remotes", c.remotes},
          {"auth", word_of(config::kAuthenticationModeWords, c.mode)},
          {"local_id", c.local_id},
          {"remote_id", c.remote_id},
          {"use_x509_id", c.use_x509_id},
          {"suites", suites_json(c.suites)},
          {"lifetime_s", c.lifetime_s},
          {"dpd_interval_s", c.dpd_interval_s.value_or(0)},
          {"dpd_action", word_of(config::kDpdActionWords, c.dpd_action)},
          {"close_action", word_of(config::kCloseActionWords, c.close_action)},
          {"force_encapsulation", c.force_encapsulation},
          {"children", std::move(children)}};
}

Result<Json> files_json(const std::vector<std::string>& paths, SecretBlock& secrets) {
  Json list = Json::array();
  for (const std::string& path : paths) list.push_back(TRY(secrets.add_file(path)));
  return list;
}

Result<void> add_credential(const config::IkeConnection& c, Json& json, SecretBlock& secrets) {
  if (c.mode == config::AuthenticationMode::kPreSharedSecret) return {};
  json["private_key"] = TRY(secrets.add_file(c.private_key));
  if (!c.passphrase.empty()) json["passphrase"] = secrets.add(c.passphrase.bytes());
  if (c.mode == config::AuthenticationMode::kRsa) {
    json["remote_key"] = TRY(secrets.add_file(c.remote_key));
    return {};
  }
  json["certificates"] = TRY(secrets.add_file(c.certificate));
  json["authorities"] = TRY(files_json(c.authorities, secrets));
  json["revocations"] = TRY(files_json(c.revocations, secrets));
  return {};
}

Result<Json> secret_json(const config::IkePsk& psk, SecretBlock& secrets) {
  if (psk.secret_file.empty()) return secrets.add(psk.secret.bytes());
  return secrets.add_secret_file(psk.secret_file);
}

}  // namespace

Result<void> IkeMaterial::complete() const {
  if (!left_out.empty()) return fail("peer {}: {}", left_out.begin()->first, left_out.begin()->second);
  if (!keys_left_out.empty())
    return fail("psk {}: {}", keys_left_out.begin()->first, keys_left_out.begin()->second);
  return {};
}

IkeMaterial ike_material(const config::IkeDocument& document, const std::string& directory) {
  IkeMaterial material;
  SecretBlock secrets(directory);
  Json json{{"version", kVersion},
            {"short_lifetimes", document.short_lifetimes},
            {"local_addresses", texts_json(document.local_addresses)},
            {"log_level", document.log_level},
            {"log_subsystems", document.log_subsystems},
            {"keys", Json::array()},
            {"connections", Json::array()}};
  for (const config::IkePsk& psk : document.psks) {
    auto secret = secret_json(psk, secrets);
    if (secret)
      json["keys"].push_back({{"name", psk.name}, {"ids", psk.ids}, {"secret", std::move(*secret)}});
    else
      material.keys_left_out.emplace(psk.name, secret.error().text);
  }
  for (const config::IkeConnection& connection : document.connections) {
    Json one = connection_json(connection);
    if (const auto added = add_credential(connection, one, secrets))
      json["connections"].push_back(std::move(one));
    else
      material.left_out.emplace(connection.name, added.error().text);
  }
  material.text =
      json.dump(-1, ' ', false, Json::error_handler_t::replace);  // what is no UTF-8 fits no identity
  material.secrets = secrets.take();
  return material;
}

}  // namespace espalier::daemon

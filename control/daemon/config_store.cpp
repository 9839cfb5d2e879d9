#include "control/daemon/config_store.hpp"

#include <fmt/ranges.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <span>

#include "control/shared/fd.hpp"

namespace espalier::daemon {
namespace {

constexpr std::string_view kMark = "// applied by espalier while the configuration file had SHA-256 ";

Result<std::string> hash_of(std::string_view text) {
  std::array<uint8_t, 32> digest;
  size_t length = digest.size();
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, text.data(), text.size(), digest.data(), &length) != 1)
    return fail("SHA-256 is not available in libcrypto");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

Result<void> write_all(const Fd& fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail("{}: {}", path, errno_text());
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail("{}: {}", directory, errno_text());
  return {};
}

}  // namespace

Result<ConfigStore::Choice> ConfigStore::choose() const {
  auto file = TRY(read_config_file());
  if (::access(applied_file_.c_str(), F_OK) != 0) return Choice{std::move(file), "nothing else was applied"};
  auto applied = TRY(config::read_source(applied_file_));
  const std::string expected = std::string(kMark) + TRY(hash_of(file.text.text()));
  if (applied.text.text().substr(0, expected.size()) == expected)
    return Choice{std::move(applied),
                  fmt::format("applied earlier, and {} is unchanged since", config_file_)};
  return Choice{std::move(file), fmt::format("changed after {} was applied", applied_file_)};
}

Result<void> ConfigStore::prepare(std::string_view text) const {
  const auto file = TRY(read_config_file());
  const std::string path = applied_file_ + ".new";
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail("{}: {}", path, errno_text());
  TRY(write_all(fd, fmt::format("{}{}\n", kMark, TRY(hash_of(file.text.text()))), path));
  TRY(write_all(fd, text, path));
  if (::fsync(fd.get()) != 0) return fail("{}: {}", path, errno_text());
  return {};
}

Result<void> ConfigStore::commit() const {
  if (::rename((applied_file_ + ".new").c_str(), applied_file_.c_str()) != 0)
    return fail("{}: {}", applied_file_, errno_text());
  return sync_directory_of(applied_file_);
}

Result<void> ConfigStore::forget_applied() const {
  if (::unlink(applied_file_.c_str()) != 0 && errno != ENOENT)
    return fail("{}: {}", applied_file_, errno_text());
  return sync_directory_of(applied_file_);
}

}  // namespace espalier::daemon

#include "dataplane/host/host_settings.hpp"

#include <fcntl.h>

#include <array>
#include <string_view>

#include "control/shared/fd.hpp"

namespace espalier::dataplane {
namespace {

struct Setting {
  const char* family;
  const char* name;
  std::string_view value;
};

constexpr Setting kSettings[] = {
    {"ipv4", "forwarding", "0"},
    // Answers may go another way than packets come. 2 and not 0, because the kernel takes the greater of the
    // link's and of `all`: 1 there would refuse packets.
    {"ipv4", "rp_filter", "2"},
    {"ipv4", "accept_redirects", "0"},
    {"ipv4", "send_redirects", "0"},
    {"ipv4", "accept_source_route", "0"},
    {"ipv4", "promote_secondaries", "1"},  // removing an address removes that one only
    {"ipv4", "ignore_routes_with_linkdown", "1"},
    {"ipv6", "disable_ipv6", "0"},
    {"ipv6", "forwarding", "0"},
    {"ipv6", "accept_ra", "0"},
    {"ipv6", "autoconf", "0"},
    {"ipv6", "addr_gen_mode", "1"},  // no link-local address but Espalier's
    {"ipv6", "accept_dad", "0"},
    {"ipv6", "accept_redirects", "0"},
    {"ipv6", "accept_source_route", "-1"},
    {"ipv6", "ignore_routes_with_linkdown", "1"},
};

std::string folder(const char* family) {
  return fmt::format("/proc/sys/net/{}/conf", family);
}

// What is so already is not written: in a container all may be set up from outside, and read-only.
bool has(int fd, std::string_view value) {
  std::array<char, 32> now;
  const ssize_t length = ::pread(fd, now.data(), now.size(), 0);
  return length > 0 && std::string_view(now.data(), static_cast<size_t>(length)) == std::string(value) + "\n";
}

Result<void> write_setting(const std::string& path, std::string_view value) {
  const Fd read(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!read) {
    if (errno == ENOENT) return {};
    return fail("{}: {}", path, errno_text());
  }
  if (has(read.get(), value)) return {};
  const Fd write(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!write || ::write(write.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return fail("{} cannot be set to {}: {}", path, value, errno_text());
  return {};
}

}  // namespace

bool kernel_has_ipv6() {
  return ::access(folder("ipv6").c_str(), F_OK) == 0;
}

Result<void> write_link_settings(const std::string& link) {
  for (const Setting& setting : kSettings)
    TRY(write_setting(fmt::format("{}/{}/{}", folder(setting.family), link, setting.name), setting.value));
  return {};
}

}  // namespace espalier::dataplane

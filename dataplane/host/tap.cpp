#include "dataplane/host/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

namespace espalier::dataplane {
namespace {

constexpr const char* kDriver = "/dev/net/tun";
constexpr const char* kNamePattern = "espalier%d";  // the kernel puts the first free number in

}  // namespace

Result<Tap> Tap::create(Kind kind) {
  Fd fd(::open(kDriver, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd)
    return fail("host path: {}: {}; the kernel module tun and the device node are needed", kDriver,
                errno_text());
  ifreq request{};
  std::strncpy(request.ifr_name, kNamePattern, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>((kind == Kind::kEthernet ? IFF_TAP : IFF_TUN) | IFF_NO_PI);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0)
    return fail("host path: a TAP device cannot be made: {}; CAP_NET_ADMIN is needed", errno_text());
  return Tap(kind, std::move(fd), request.ifr_name);
}

bool Tap::set_carrier(bool up) const {
  int carrier = up;
  return ::ioctl(fd_.get(), TUNSETCARRIER, &carrier) == 0;
}

bool Tap::write(std::span<const iovec> parts) const {
  return ::writev(fd_.get(), parts.data(), static_cast<int>(parts.size())) > 0;
}

ssize_t Tap::read(std::span<uint8_t> room) const {
  const ssize_t length = ::read(fd_.get(), room.data(), room.size());
  if (length >= 0) return length;
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

}  // namespace espalier::dataplane

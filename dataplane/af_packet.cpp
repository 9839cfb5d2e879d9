#include "dataplane/af_packet.hpp"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <bit>
#include <charconv>
#include <filesystem>

// Stands in front of libc's setsockopt for the whole process, DPDK's drivers included, since net_af_packet
// has no option for it: a packet socket that joins a fanout group must not ask the kernel to put fragments
// together. With that flag the gateway would never see a fragment, but the whole packet, cut off at the
// ring's frame size. Everything else passes through as it is.
extern "C" int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  int fanout;
  if (level == SOL_PACKET && name == PACKET_FANOUT && length == sizeof(fanout)) {
    std::memcpy(&fanout, value, sizeof(fanout));
    fanout &= ~(PACKET_FANOUT_FLAG_DEFRAG << 16);
    value = &fanout;
  }
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, name, value, length));
}

namespace espalier::dataplane {
namespace {

constexpr uint32_t kLinkHeader = 18;  // Ethernet and one VLAN tag
constexpr uint32_t kRingHeader = 80;  // tpacket2_hdr, sockaddr_ll, room for the link header, aligned
constexpr uint32_t kPage = 4096;
constexpr uint32_t kRingFrames = 1024;  // of a queue: a few milliseconds in which its worker has no CPU

// The value of `key` in "driver,key=value,...".
std::string_view argument(std::string_view device, std::string_view key) {
  while (!device.empty()) {
    const std::string_view part = device.substr(0, device.find(','));
    device.remove_prefix(std::min(device.size(), part.size() + 1));
    if (part.starts_with(key) && part.substr(key.size()).starts_with('=')) return part.substr(key.size() + 1);
  }
  return {};
}

// The process's packet sockets that are bound to the interface.
std::set<int> packet_sockets(unsigned interface_index) {
  std::set<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const std::string number = entry.path().filename();
    int fd = -1;
    std::from_chars(number.data(), number.data() + number.size(), fd);
    sockaddr_ll address{};
    socklen_t length = sizeof(address);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
        address.sll_family == AF_PACKET && address.sll_ifindex == static_cast<int>(interface_index))
      found.insert(fd);
  }
  return found;
}

// Lets the socket receive what comes in, not what the host sends. (PACKET_IGNORE_OUTGOING does not reach a
// socket in a fanout group.)
bool ignore_outgoing(int fd) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog filter{.len = std::size(program), .filter = program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
}

ifreq request(const std::string& interface) {
  ifreq r{};
  interface.copy(r.ifr_name, IFNAMSIZ - 1);
  return r;
}

}  // namespace

Result<AfPacketInterface> AfPacketInterface::open(std::string_view device) {
  AfPacketInterface result;
  result.name_ = argument(device, "iface");
  if (result.name_.empty()) return fail("it names no interface; write {},iface=NAME", kDriver);
  result.index_ = if_nametoindex(result.name_.c_str());
  if (result.index_ == 0) return fail("interface {}: {}", result.name_, errno_text());
  result.control_.reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!result.control_) return fail("socket for interface {}: {}", result.name_, errno_text());
  return result;
}

void AfPacketInterface::before_probe() {
  others_ = packet_sockets(index_);
}

Result<void> AfPacketInterface::find_queues(uint16_t queues) {
  // The driver opens a socket for each queue in their order and closes none in between. Each gets the lowest
  // free number, so the numbers rise with the queues.
  queues_.clear();
  for (const int fd : packet_sockets(index_))
    if (!others_.contains(fd)) queues_.push_back(fd);
  if (queues_.size() != queues)
    return fail("interface {}: the driver opened {} sockets, not {}", name_, queues_.size(), queues);
  for (const int fd : queues_)
    if (!ignore_outgoing(fd)) return fail("interface {}: socket filter: {}", name_, errno_text());
  return {};
}

void AfPacketInterface::clear_error(int queue) {
  int error;
  socklen_t length = sizeof(error);
  getsockopt(queue, SOL_SOCKET, SO_ERROR, &error, &length);  // reading is what clears it
}

Result<void> AfPacketInterface::set_mtu(uint32_t mtu_bytes) const {
  ifreq r = request(name_);
  r.ifr_mtu = static_cast<int>(mtu_bytes);
  if (ioctl(control_.get(), SIOCSIFMTU, &r) != 0)
    return fail("interface {}: MTU {}: {}", name_, mtu_bytes, errno_text());
  return {};
}

Result<void> AfPacketInterface::set_up(bool up) const {
  ifreq r = request(name_);
  bool done = ioctl(control_.get(), SIOCGIFFLAGS, &r) == 0;
  if (done) {
    if (up)
      r.ifr_flags |= IFF_UP;
    else
      r.ifr_flags &= ~IFF_UP;
    done = ioctl(control_.get(), SIOCSIFFLAGS, &r) == 0;
  }
  if (!done) return fail("interface {}: cannot be set {}: {}", name_, up ? "up" : "down", errno_text());
  return {};
}

bool AfPacketInterface::is_running() const {
  ifreq r = request(name_);
  if (ioctl(control_.get(), SIOCGIFINDEX, &r) != 0 || r.ifr_ifindex != static_cast<int>(index_)) return false;
  if (ioctl(control_.get(), SIOCGIFFLAGS, &r) != 0) return false;
  return (r.ifr_flags & IFF_UP) && (r.ifr_flags & IFF_RUNNING);
}

uint64_t AfPacketInterface::take_missed() const {
  uint64_t missed = 0;
  for (const int fd : queues_) {
    tpacket_stats stats{};
    socklen_t length = sizeof(stats);
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0) missed += stats.tp_drops;
  }
  return missed;
}

// The kernel wants frames to fill blocks, blocks to be whole pages, and the driver expects no gaps.
uint32_t AfPacketInterface::ring_frame_bytes(uint32_t mtu_bytes) {
  const uint32_t bytes = mtu_bytes + kLinkHeader + kRingHeader;
  return bytes <= kPage ? std::bit_ceil(bytes) : (bytes + kPage - 1) / kPage * kPage;
}

uint32_t AfPacketInterface::mtu_of_ring(uint32_t frame_bytes) {
  return frame_bytes - kLinkHeader - kRingHeader;
}

Result<std::string> AfPacketInterface::driver_arguments(std::string_view device, uint16_t queues,
                                                        uint32_t mtu_bytes) {
  for (const std::string_view key : {"qpairs", "framesz", "blocksz"})
    if (!argument(device, key).empty())
      return fail("{} follows from the workers and the MTU and cannot be given", key);
  const uint32_t frame = ring_frame_bytes(mtu_bytes);
  std::string arguments =
      fmt::format(",qpairs={},framesz={},blocksz={}", queues, frame, std::max(frame, kPage));
  if (argument(device, "framecnt").empty()) arguments += fmt::format(",framecnt={}", kRingFrames);
  return arguments;
}

}  // namespace espalier::dataplane

// Packets between the host and Espalier. How devices come and go: host_path_apply.cpp.
#include "dataplane/host/host_path.hpp"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>

#include "dataplane/wire.hpp"

namespace espalier::dataplane {
namespace {

constexpr size_t kLargestFrame = sizeof(EthernetHeader) + 65536;
constexpr size_t kMaxParts = 64;  // of a packet; more than any chain of packet buffers has

// As Linux has it for every neighbour on the link; locally administered.
constexpr MacAddress kNeighborMac{0x02, 'E', 'S', 'P', 'L', 'R'};

// Multicast: RFC 1112 section 6.4, RFC 2464 section 7.
MacAddress destination_mac(const IpAddress& destination, const MacAddress& own) {
  if (destination.is_broadcast()) return {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  if (!destination.is_multicast()) return own;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&destination);  // a mapped IPv4 address: its last 4
  if (!destination.is_v4()) return {0x33, 0x33, bytes[12], bytes[13], bytes[14], bytes[15]};
  return {0x01, 0x00, 0x5e, static_cast<uint8_t>(bytes[13] & 0x7f), bytes[14], bytes[15]};
}

// The destination of an IP packet; nothing when it is shorter than a header.
std::optional<IpAddress> destination_of(std::span<const uint8_t> packet) {
  if (packet.empty()) return {};
  const uint8_t version = packet[0] >> 4;
  if (version == 4 && packet.size() >= sizeof(Ipv4Header)) {
    Ipv4Header header;
    std::memcpy(&header, packet.data(), sizeof header);
    return header.destination;
  }
  if (version == 6 && packet.size() >= sizeof(Ipv6Header)) {
    Ipv6Header header;
    std::memcpy(&header, packet.data(), sizeof header);
    return header.destination;
  }
  return {};
}

constexpr uint8_t kNeighborSolicitation = 135, kRedirect = 137;  // RFC 4861 section 4

// What a program of the host sends by hand; the kernel's own is off.
bool is_neighbor_discovery(std::span<const uint8_t> packet) {
  if (packet[0] >> 4 != 6 || packet.size() <= sizeof(Ipv6Header)) return false;
  Ipv6Header header;
  std::memcpy(&header, packet.data(), sizeof header);
  const uint8_t type = packet[sizeof header];
  return header.next_header == kProtoIcmpv6 && type >= kNeighborSolicitation && type <= kRedirect;
}

}  // namespace

Result<std::unique_ptr<HostPath>> HostPath::create() {
  std::unique_ptr<HostPath> path(new HostPath);
  path->devices_poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!path->devices_poll_) return fail("host path: epoll: {}", errno_text());
  path->frame_.resize(kLargestFrame);
  return path;
}

void HostPath::set_link(InterfaceIndex interface, bool up) {
  if (interface.value < by_interface_.size() && by_interface_[interface.value])
    set_carrier(*by_interface_[interface.value], up);
}

void HostPath::set_carrier(Device& device, bool up) {
  if (device.carrier == up || device.is_gone) return;
  device.carrier = up;
  if (!device.tap.set_carrier(up))
    spdlog::error("subsystem=net host path: {}: link cannot be set {}: {}", device.interface.name,
                  up ? "up" : "down", errno_text());
}

DropReason HostPath::send(InterfaceIndex interface, std::span<const iovec> packet) {
  if (interface.value >= by_interface_.size() || !by_interface_[interface.value])
    return DropReason::kLocalNoService;
  const Device& device = *by_interface_[interface.value];
  if (packet.empty() || packet.size() > kMaxParts || !give(device, packet)) return DropReason::kHostFull;
  ++counters_.to_host;
  return DropReason::kUsedHost;
}

bool HostPath::give(const Device& device, std::span<const iovec> packet) {
  const auto destination =
      destination_of({static_cast<const uint8_t*>(packet[0].iov_base), packet[0].iov_len});
  if (!destination) return false;
  if (device.tap.kind() == Tap::Kind::kIp) return device.tap.write(packet);
  EthernetHeader header{.destination = destination_mac(*destination, device.interface.mac),
                        .source = kNeighborMac,
                        .type = be16::from_host(destination->is_v4() ? kEtherTypeIpv4 : kEtherTypeIpv6)};
  std::array<iovec, kMaxParts + 1> frame;
  frame[0] = {.iov_base = &header, .iov_len = sizeof header};
  std::ranges::copy(packet, frame.begin() + 1);
  return device.tap.write({frame.data(), packet.size() + 1});
}

bool HostPath::describe(const Device& device, std::span<const uint8_t> packet, HostPacket& result) const {
  if (device.tap.kind() == Tap::Kind::kEthernet) {
    if (packet.size() < sizeof(EthernetHeader)) return false;
    EthernetHeader header;
    std::memcpy(&header, packet.data(), sizeof header);
    const uint16_t type = header.type.host();
    if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return false;
    packet = packet.subspan(sizeof header);
  }
  const auto destination = destination_of(packet);
  if (!destination || is_neighbor_discovery(packet)) return false;
  const bool for_link = destination->is_multicast() || destination->is_broadcast() ||
                        destination->is_link_local() ||
                        std::ranges::binary_search(device.broadcasts, *destination);
  result = {.interface = device.interface.index, .for_link = for_link, .bytes = packet};
  return true;
}

std::optional<HostPacket> HostPath::receive() {
  epoll_event event;
  while (::epoll_wait(devices_poll_.get(), &event, 1, 0) == 1) {
    auto& device = *static_cast<Device*>(event.data.ptr);
    const ssize_t length = device.tap.read(frame_);
    if (length > 0) {
      HostPacket packet;
      if (describe(device, {frame_.data(), static_cast<size_t>(length)}, packet)) {
        ++counters_.from_host;
        return packet;
      }
      ++counters_.ignored;
    } else if (length < 0 || event.events & (EPOLLERR | EPOLLHUP)) {
      spdlog::error("subsystem=net host path: {} was deleted; the next apply makes it again",
                    device.interface.name);
      device.is_gone = true;
      ::epoll_ctl(devices_poll_.get(), EPOLL_CTL_DEL, device.tap.fd(), nullptr);
    }
  }
  return {};
}

std::optional<std::vector<RouteRecord>> HostPath::take_routes(uint64_t now_ms) {
  if (kernel_routes_) return kernel_routes_->poll(now_ms);
  if (!std::exchange(import_ended_, false)) return {};
  return std::vector<RouteRecord>{};
}

std::array<int, 2> HostPath::wait_fds() const {
  return {devices_poll_.get(), kernel_routes_ ? kernel_routes_->wait_fd() : -1};
}

}  // namespace espalier::dataplane

#include "dataplane/host/netlink.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace espalier::dataplane {

void NetlinkRequest::put(uint16_t attribute, const IpAddress& address) {
  if (address.is_v4()) {
    const Ipv4Address v4 = address.v4();
    mnl_attr_put(header_, attribute, sizeof v4, &v4);
  } else {
    mnl_attr_put(header_, attribute, sizeof address, &address);
  }
}

IpAddress address_of(const nlattr& attribute) {
  IpAddress address;
  Ipv4Address v4;
  const void* bytes = mnl_attr_get_payload(&attribute);
  switch (mnl_attr_get_payload_len(&attribute)) {
    case sizeof v4:
      std::memcpy(&v4, bytes, sizeof v4);
      return v4;
    case sizeof address:
      std::memcpy(&address, bytes, sizeof address);
      return address;
  }
  return {};
}

Result<Netlink> Netlink::open() {
  Netlink netlink(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!netlink.socket_ || mnl_socket_bind(netlink.socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0)
    return fail("rtnetlink: {}", errno_text());
  return netlink;
}

int Netlink::ask(NetlinkRequest& request, const std::function<void(const nlmsghdr&)>& answer) {
  nlmsghdr* header = request.header();
  header->nlmsg_flags |= NLM_F_ACK;
  header->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0) return errno;
  alignas(nlmsghdr) std::array<char, 32768> room;  // the kernel's largest datagram
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), room.data(), room.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno;
    int left = static_cast<int>(length);
    for (auto* m = reinterpret_cast<nlmsghdr*>(room.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left)) {
      if (m->nlmsg_seq != sequence_) continue;
      if (m->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(m))->error;
      if (answer) answer(*m);
    }
  }
}

}  // namespace espalier::dataplane

// A network namespace of the test program's own with a veth pair: what happens in it touches nobody else, and
// it ends with the program. Needs root.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "control/shared/fd.hpp"

namespace espalier::dataplane {

using Frame = std::vector<uint8_t>;

// Runs a command line of this test; false when it fails.
inline bool run(const std::string& command) {
  return std::system(command.c_str()) == 0;
}

// Before the EAL, whose threads must be in the namespace too.
class NamespaceEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "this test needs root";
    ASSERT_TRUE(run("ip link set lo up && sysctl -q -w net.ipv6.conf.default.disable_ipv6=1"));
  }
};

// The far end of a cable: a raw socket on a Linux interface.
class RawSocket {
 public:
  explicit RawSocket(const char* interface) : fd_(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    const int on = 1;
    setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
    setsockopt(fd_.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << interface;
  }
  bool send(const Frame& frame) const {
    return ::send(fd_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }
  std::optional<Frame> receive(int timeout_ms = 1000) const {
    pollfd event{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (poll(&event, 1, timeout_ms) != 1) return {};
    Frame frame(65536);
    alignas(cmsghdr) uint8_t control[256];
    iovec data{frame.data(), frame.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t length = recvmsg(fd_.get(), &message, 0);
    if (length < 0) return {};
    frame.resize(static_cast<size_t>(length));
    put_vlan_tag_back(message, frame);
    return frame;
  }

 private:
  // The kernel takes the tag out of the frame and says it beside.
  static void put_vlan_tag_back(msghdr& message, Frame& frame) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      tpacket_auxdata aux;
      if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
      std::memcpy(&aux, CMSG_DATA(c), sizeof(aux));
      if (!(aux.tp_status & TP_STATUS_VLAN_VALID)) continue;
      const uint8_t tag[4] = {0x81, 0, static_cast<uint8_t>(aux.tp_vlan_tci >> 8),
                              static_cast<uint8_t>(aux.tp_vlan_tci)};
      frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
    }
  }

  Fd fd_;
};

}  // namespace espalier::dataplane

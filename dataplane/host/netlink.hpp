// rtnetlink (RFC 3549) as the host path needs it: requests with an answer, on libmnl.
//
// A socket stays in the namespace of the thread that opened it. Owner: main lcore.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "control/shared/fd.hpp"
#include "control/shared/types.hpp"

namespace espalier::dataplane {

// One request that is being written: header, the family's fixed part, attributes. For at most kRoom bytes,
// which is more than a route with eight next hops takes.
class NetlinkRequest {
 public:
  // `flags` beside NLM_F_REQUEST.
  NetlinkRequest(uint16_t type, uint16_t flags) : header_(mnl_nlmsg_put_header(buffer_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  }
  NetlinkRequest(const NetlinkRequest&) = delete;
  NetlinkRequest& operator=(const NetlinkRequest&) = delete;

  // The fixed part, all 0; before any attribute.
  template <class Body>
  Body& body() {
    return *static_cast<Body*>(mnl_nlmsg_put_extra_header(header_, sizeof(Body)));
  }
  void put(uint16_t attribute, uint32_t value) { mnl_attr_put_u32(header_, attribute, value); }
  void put(uint16_t attribute, std::string_view text) {
    mnl_attr_put(header_, attribute, text.size(), text.data());
    mnl_attr_put(header_, 0, 0, nullptr);
  }
  void put_bytes(uint16_t attribute, std::span<const uint8_t> bytes) {
    mnl_attr_put(header_, attribute, bytes.size(), bytes.data());
  }
  // 4 or 16 bytes, by the family.
  void put(uint16_t attribute, const IpAddress& address);
  nlmsghdr* header() { return header_; }

 private:
  static constexpr size_t kRoom = 1024;
  alignas(nlmsghdr) std::array<char, kRoom> buffer_{};
  nlmsghdr* header_;
};

// An address attribute's value; `family` is AF_INET or AF_INET6.
IpAddress address_of(const nlattr& attribute);

class Netlink {
 public:
  // In the namespace of the calling thread. Errors: no rtnetlink.
  static Result<Netlink> open();
  // Sends it and waits for what the kernel answers, which it does at once: 0 or an errno. `answer` is called
  // with the message that a question brings.
  int ask(NetlinkRequest& request, const std::function<void(const nlmsghdr&)>& answer = {});

 private:
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t sequence_ = 0;
};

}  // namespace espalier::dataplane

#include "dataplane/ipv6.hpp"

namespace espalier::dataplane {
namespace {

// All but the fragment header begin with these (RFC 8200 section 4.2).
struct [[gnu::packed]] ExtensionHeader {
  uint8_t next_header;
  uint8_t length;  // in 8-byte units, the first not counted
  size_t bytes() const { return (length + 1u) * 8; }
};

// RFC 8200 section 4.4.
struct [[gnu::packed]] RoutingHeader {
  ExtensionHeader common;
  uint8_t type;
  uint8_t segments_left;
};
static_assert(sizeof(RoutingHeader) == 4);
constexpr uint8_t kSourceRoute = 0;  // RFC 5095

class Walk {
 public:
  explicit Walk(std::span<const uint8_t> packet) : packet_(packet) {
    found_.protocol = packet[found_.protocol_field];
  }

  Ipv6Headers run() {
    for (unsigned i = 0; is_ipv6_extension(found_.protocol) && !found_.is_later_fragment; ++i)
      if (i == kMaxIpv6Extensions || !pass_one()) {
        found_.bad = true;
        break;
      }
    return found_;
  }

 private:
  // Whether the header at l4_offset may be there; then the walk is behind it.
  bool pass_one() {
    if (packet_.size() < found_.l4_offset + sizeof(Ipv6FragmentHeader)) return false;
    switch (found_.protocol) {
      case kProtoFragment:
        return pass_fragment();
      case kProtoHopByHop:
        if (found_.l4_offset != sizeof(Ipv6Header)) return false;
        break;
      case kProtoRouting:
        if (!check_routing()) return false;
        break;
    }
    const size_t bytes = at<ExtensionHeader>().bytes();
    if (packet_.size() < found_.l4_offset + bytes) return false;
    const bool is_for_routers =
        !found_.is_fragment() && !(has_routing_ && found_.protocol == kProtoDestinationOptions);
    has_routing_ |= found_.protocol == kProtoRouting;
    advance(bytes);
    if (is_for_routers) mark_unfragmentable();
    return true;
  }

  bool pass_fragment() {
    if (found_.is_fragment()) return false;
    found_.fragment_header = found_.l4_offset;
    found_.fragment_field = found_.protocol_field;
    found_.is_later_fragment = at<Ipv6FragmentHeader>().offset_bytes() != 0;
    advance(sizeof(Ipv6FragmentHeader));
    return true;
  }

  bool check_routing() {
    const auto& routing = at<RoutingHeader>();
    found_.has_segments_left |= routing.segments_left != 0;
    return routing.type != kSourceRoute || routing.segments_left == 0;
  }

  void mark_unfragmentable() {
    found_.unfragmentable_bytes = found_.l4_offset;
    found_.unfragmentable_field = found_.protocol_field;
  }

  // Every header here has its next one's name in the first byte.
  void advance(size_t bytes) {
    found_.protocol_field = found_.l4_offset;
    found_.protocol = packet_[found_.l4_offset];
    found_.l4_offset = static_cast<uint16_t>(found_.l4_offset + bytes);
  }

  template <class Header>
  const Header& at() const {
    return *reinterpret_cast<const Header*>(packet_.data() + found_.l4_offset);
  }

  std::span<const uint8_t> packet_;
  Ipv6Headers found_;
  bool has_routing_ = false;
};

}  // namespace

Ipv6Headers walk_ipv6_extensions(std::span<const uint8_t> packet) {
  return Walk(packet).run();
}

}  // namespace espalier::dataplane

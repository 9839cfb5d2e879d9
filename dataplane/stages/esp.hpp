// ESP for the gateway, as the stages that meet it see it.
#pragma once

#include "dataplane/context.hpp"

namespace espalier::dataplane {

// Where the ESP header is: behind the IP header, or behind the UDP header that carries it (RFC 3948
// section 2.1). Meant for packets that is_esp() is true of.
inline uint8_t* esp_start(rte_mbuf* mbuf) {
  return l4_header(mbuf) + (packet(mbuf).tuple.protocol == kProtoUdp ? sizeof(UdpHeader) : 0);
}

// Whether the packet, which is for an own address or may be, is ESP, bare or in UDP: what in UDP starts with
// four zero bytes is IKE (the non-ESP marker), and up to eight bytes are neither (as in Linux). A NAT
// keepalive is not ESP either. Later fragments are not.
bool is_esp(const Context& ctx, rte_mbuf* mbuf);
// One byte 0xff for a port of ESP in UDP.
bool is_nat_keepalive(const Context& ctx, rte_mbuf* mbuf);

// Whether a packet that came by `path` came by what the policy's templates ask for, and by no further tunnel.
bool fits_templates(const PolicyRecord& policy, const PathInfo& path);

// Decrypts what is ESP among the packets, all layers of it. Sets a reason on what must not go on, and on the
// others the record of what was inside. True where a packet was decrypted.
bool decrypt(Context& ctx, MbufSpan packets);

}  // namespace espalier::dataplane

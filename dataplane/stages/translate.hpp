// What sessions do to packets that no Rewrite can be made for beforehand.
#pragma once

#include "dataplane/context.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {

// Translates an ICMP error about a packet of the session, which travels in its direction, as both NAT steps
// do. False: the session is gone, or the quote cannot be translated; then nothing may leave.
inline bool translate_error(Context& ctx, rte_mbuf* mbuf, const nat::SessionRef& session) {
  const auto tuples = ctx.sessions->tuples(session);
  if (!tuples) return false;
  for (const auto step : {nat::NatStep::kDestination, nat::NatStep::kSource})
    if (!nat::translate_icmp_error(bytes(mbuf), tuples->original, tuples->reply, session.direction, step))
      return false;
  return true;
}

}  // namespace espalier::dataplane

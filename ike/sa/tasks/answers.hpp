// What the peer's requests are answered with: by exchange, each beside the task that sends the same. Each
// sends exactly one response.
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

// Picks the connection by identities, authenticates both sides, makes the first child. (ike_auth.cpp)
void answer_ike_auth(IkeSa& sa, const Message& request);
// Tells the three kinds apart. (child_exchange.cpp)
void answer_create_child_sa(IkeSa& sa, const Message& request);
void answer_child_create(IkeSa& sa, const Message& request);
void answer_child_rekey(IkeSa& sa, const Message& request);
void answer_ike_rekey(IkeSa& sa, const Message& request);
// Before a request is answered: the peer already goes on with the IKE SA that its rekeying made, while our
// own of the same moment waits for its response; so it lost. (ike_rekey.cpp)
void take_over(IkeSa& sa);
// Deletes, errors, liveness. (informational.cpp)
void answer_informational(IkeSa& sa, const Message& request);

}  // namespace espalier::ike

#include "control/shared/ike_state.hpp"

namespace espalier::ike_state {

Result<Segment> create() {
  auto segment = TRY(Segment::create("espalier-ike-state", sizeof(Layout), Segment::Secrecy::kSecretSparse));
  Layout& layout = of(segment);
  layout.layout = kLayout;
  layout.slots = kSlots;
  layout.magic.store(kMagic, std::memory_order_release);
  return segment;
}

Result<Segment> attach(Fd fd) {
  auto segment =
      TRY(Segment::attach(std::move(fd), {sizeof(Layout), sizeof(Layout)}, Segment::Secrecy::kSecretSparse));
  const Layout& layout = of(segment);
  if (layout.magic.load(std::memory_order_acquire) != kMagic || layout.layout != kLayout ||
      layout.slots != kSlots)
    return fail("IKE state: layout {} there, {} here", layout.layout, kLayout);
  return segment;
}

}  // namespace espalier::ike_state

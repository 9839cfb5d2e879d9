#include "ike/sa/tasks/child_delete.hpp"

namespace espalier::ike {

std::optional<Request> ChildDelete::request(IkeSa& sa) {
  ChildSa* child = sa.find_in(spi_in_);
  if (child && child->drained_at != kNever) return {};  // the peer deleted it meanwhile
  if (!child && why_ != Down::kFailed) return {};
  if (child) child->state = ChildState::kDeleting;
  return Request{ExchangeType::kInformational, {Delete{ProtocolId::kEsp, {spi_in_}}}};
}

Task::Verdict ChildDelete::response(IkeSa& sa, const Message&) {
  if (ChildSa* child = sa.find_in(spi_in_)) sa.drop_child(*child, why_);
  return Verdict::kDone;
}

}  // namespace espalier::ike

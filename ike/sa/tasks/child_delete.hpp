// Deleting a child SA (RFC 7296 section 1.4.1): each side closes its inbound half.
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class ChildDelete final : public Task {
 public:
  explicit ChildDelete(Spi spi_in = {}, Down why = Down::kReplaced) : spi_in_(spi_in), why_(why) {}
  TaskKind kind() const override { return TaskKind::kChildDelete; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  Down why() const { return why_; }
  Spi spi_in() const { return spi_in_; }
  void archive(Writer& writer) override { visit_task(writer); }
  void archive(Reader& reader) override { visit_task(reader); }

 private:
  template <class Archive>
  void visit_task(Archive& archive) {
    archive(spi_in_);
    archive(why_);
  }
  Spi spi_in_;
  Down why_;
};

}  // namespace espalier::ike

// Deleting an IKE SA (RFC 7296 section 1.4.1), which deletes its children too.
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class IkeDelete final : public Task {
 public:
  explicit IkeDelete(Down why = Down::kOperator, bool unauthentic = false)
      : why_(why), unauthentic_(unauthentic) {}
  TaskKind kind() const override { return TaskKind::kIkeDelete; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  Down lost() const override { return why_; }
  void archive(Writer& writer) override { visit_task(writer); }
  void archive(Reader& reader) override { visit_task(reader); }

 private:
  template <class Archive>
  void visit_task(Archive& archive) {
    archive(why_);
    archive(unauthentic_);
  }
  Down why_;
  bool unauthentic_;  // the peer could not prove who it is: it is told so (section 2.21.2)
};

}  // namespace espalier::ike

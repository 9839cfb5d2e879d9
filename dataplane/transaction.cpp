#include "dataplane/transaction.hpp"

#include "control/shared/limits.hpp"
#include "control/shared/sa_cells.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::dataplane {
namespace {

// A sender that goes mad shall not take all memory.
template <class Record>
bool append(std::vector<Record>& to, const Record& record, size_t most) {
  if (to.size() >= most) return false;
  to.push_back(record);
  return true;
}

struct Adder {
  Configuration& c;
  bool operator()(const message::Interface& m) {
    return append(c.interfaces, m.record, statistics::kMaxInterfaces);
  }
  bool operator()(const message::Address& m) { return append(c.addresses, m.record, limits::kAddresses); }
  bool operator()(const message::Route& m) { return append(c.routes, m.record, limits::kRoutes); }
  bool operator()(const message::Neighbor& m) { return append(c.neighbors, m.record, limits::kNeighbors); }
  bool operator()(const message::NatRule& m) {
    return append(c.nat_rules, m.record, 2 * statistics::kMaxNatRules);
  }
  bool operator()(const message::Policy& m) { return append(c.policies, m.record, statistics::kMaxPolicies); }
  bool operator()(const message::Sa& m) { return append(c.sas, m.record, CellGeometry{}.capacity); }
  template <class Other>
  bool operator()(const Other&) {
    return false;
  }
};

}  // namespace

void Transaction::begin(const message::ConfigBegin& begin, uint64_t generation) {
  configuration_.emplace();
  configuration_->settings = begin.settings;
  configuration_->sas.reserve(
      CellGeometry{}.capacity);  // a vector that grows leaves keys behind in freed memory
  generation_ = generation;
}

bool Transaction::add(const message::FromDaemon& message) {
  return configuration_ && std::visit(Adder{*configuration_}, message);
}

Result<Configuration> Transaction::commit(const message::ConfigCommit& commit) {
  if (!configuration_) return fail("there is no configuration to commit");
  Configuration whole = std::move(*configuration_);
  configuration_.reset();
  if (whole.records() != commit.records)
    return fail("{} records came, {} were sent", whole.records(), commit.records);
  return whole;
}

}  // namespace espalier::dataplane

// Collects a configuration that comes as messages, ConfigBegin to ConfigCommit. All of it or nothing.
//
// Owner: main lcore. One per channel: a new espalierd starts anew.
#pragma once

#include <optional>

#include "control/shared/error.hpp"
#include "control/shared/message_decode.hpp"
#include "dataplane/configuration.hpp"

namespace espalier::dataplane {

class Transaction {
 public:
  // Takes in a record; false when no transaction is open, or when there are more records of its kind than
  // tables have places.
  bool add(const message::FromDaemon& message);
  void begin(const message::ConfigBegin& begin, uint64_t generation);
  void abort() { configuration_.reset(); }
  // The whole configuration, when one is open with as many records as the sender counts. It is closed.
  Result<Configuration> commit(const message::ConfigCommit& commit);
  uint64_t generation() const { return generation_; }

 private:
  std::optional<Configuration> configuration_;
  uint64_t generation_ = 0;
};

}  // namespace espalier::dataplane

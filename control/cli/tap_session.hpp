// A capture or trace that runs in the dataplane, as capture and trace read it: until Ctrl-C, or until they
// have what they want.
#pragma once

#include <functional>

#include "control/cli/command.hpp"
#include "control/cli/filter.hpp"

namespace espalier::cli {

class TapSession {
 public:
  // `request`: "capture start" or "trace start" with its arguments; the filter is added.
  static Result<TapSession> start(const Invocation& invocation, Json request, const Filter& filter);

  // Reads until `take` (the answer of each "capture read") says false, or Ctrl-C, after which what was
  // waiting is still read. Errors: espalierd's, the dataplane's, `take`'s. The dataplane's part ends with it.
  Result<void> run(const std::function<Result<bool>(const Json& batch)>& take);
  // What did not fit into the dataplane's buffers.
  uint64_t lost() const { return lost_; }

 private:
  TapSession(Client client, uint64_t id) : client_(std::move(client)), id_(id) {}
  Result<Json> read();
  Result<void> read_on(const std::function<Result<bool>(const Json& batch)>& take);

  Client client_;
  uint64_t id_;
  uint64_t lost_ = 0;
};

// The words of a filter as tcpdump takes them: one argument, or several.
std::string joined(const std::vector<std::string>& words);

}  // namespace espalier::cli

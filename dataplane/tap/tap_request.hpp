// Collects what espalierd sends to begin a tap: pieces of filters, in order, then TapStart.
//
// Owner: main lcore.
#pragma once

#include "dataplane/tap/packet_tap.hpp"

namespace espalier::dataplane {

class TapRequest {
 public:
  // A piece; those of another request than the last piece's begin anew. One that does not fit to those before
  // spoils the request: finish() will refuse it.
  void add(const message::TapFilter& piece, uint64_t request_id);
  // The whole. Errors: instructions are missing, or are no valid program. Forgets everything.
  Result<TapOptions> finish(const message::TapStart& start, uint64_t request_id);

 private:
  void begin(uint64_t request_id);

  uint64_t request_id_ = 0;
  bool spoilt_ = false;
  std::vector<message::TapInstruction> ethernet_, ip_;
};

}  // namespace espalier::dataplane

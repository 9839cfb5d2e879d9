// What espalier-ike is sent of a configuration: the document as JSON (docs/ike-socket.md), and in one block
// beside it everything that is secret and every file that it names, opened here, since espalier-ike has no
// files. Owner: espalierd's thread. Secrets are wiped with the block.
#pragma once

#include <map>

#include "control/config/ike_document.hpp"
#include "control/daemon/wiping_buffer.hpp"
#include "control/shared/error.hpp"

namespace espalier::daemon {

struct IkeMaterial {
  std::string text;
  WipingBuffer secrets;
  // Peers and pre-shared keys whose files cannot be read, with the reason; they are not in the text.
  std::map<std::string, std::string> left_out;
  std::map<std::string, std::string> keys_left_out;

  // The first of the two, if there is one: what an operator who applies this has to be told.
  Result<void> complete() const;
};

// Reads the files; paths are relative to `directory`.
IkeMaterial ike_material(const config::IkeDocument& document, const std::string& directory);

}  // namespace espalier::daemon

// Files of "name = hexadecimal" lines: IKE messages and keys of other implementations. Lines that begin with
// # tell where they come from. Throws for anything else, so that nothing is skipped silently.
#pragma once

#include <map>
#include <string>

#include "ike/wire/payload.hpp"

namespace espalier::ike::test {

// The values of a name in the file's order. `name` is in the tests' folder.
using WireFile = std::map<std::string, std::vector<Bytes>>;
WireFile read_wire_file(const std::string& name);

}  // namespace espalier::ike::test

// From the tree to the model: each section of the file by one function that lists its keywords, their types
// and their ranges. What needs a second element to judge stands in validate.hpp.
#pragma once

#include "control/config/reader.hpp"

namespace espalier::config {

// The whole file. The model is complete only if `diagnostics` has no errors afterwards.
Model parse_model(const Node& root, Diagnostics& diagnostics);

// The sections; `root` is the Reader of the file's top level.
void parse_dataplane(Reader& root, Model& model);
void parse_interfaces(Reader& root, Model& model);
void parse_routes(Reader& root, Model& model);
void parse_neighbors(Reader& root, Model& model);
void parse_nat(Reader& root, Model& model);
void parse_vpn(Reader& root, Model& model);
void parse_xfrm(Reader& root, Model& model);

// Shared by sections. A `cipher` that is missing or unknown is reported and null. `also`: one that cannot be
// negotiated, and is good here.
const Cipher* read_cipher(Reader& reader, const Cipher* also = nullptr);
Located<const Integrity*> read_hash(Reader& reader);
uint8_t read_protocol(Reader& reader);

}  // namespace espalier::config

// What an SA's cell is found by: the fingerprint of its key. Main lcore.
#pragma once

#include "control/shared/records.hpp"
#include "control/shared/sequence_file.hpp"

namespace espalier::dataplane {

SaIdentity identity_of(const SaRecord& record, const KeyFingerprint& fingerprint);
// Error: OpenSSL's.
Result<KeyFingerprint> fingerprint_of(const SaRecord& record);

}  // namespace espalier::dataplane

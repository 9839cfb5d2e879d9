// The SA vault: SA records with their keys, in a memfd that espalierd creates and the dataplane writes, so
// that a dataplane that was killed finds its SAs again.
//
// Every record has two copies and a version that says which of them counts. commit() fills the other copy,
// then raises the version, then wipes the old copy. A process killed at any instruction leaves the old record
// or the new one; a checksum over each copy catches what should not happen, and read() refuses it.
//
// One writer: the dataplane's main lcore. Anyone may read at the same time. All records zero is a valid empty
// vault. The memory is kept out of core dumps and, if the limits allow, of swap.
#pragma once

#include <optional>
#include <string>

#include "control/shared/records.hpp"
#include "control/shared/segment.hpp"

namespace espalier {

// Overwrites all that is secret in a record: key, salt and authentication key.
void wipe_keys(SaRecord& record);

class Vault {
 public:
  static constexpr uint32_t kLayout = 2;  // for the handover

  // A new empty vault for `capacity` records (at least 1).
  static Result<Vault> create(uint32_t capacity);
  // A vault that another process made; header and size are validated before use.
  static Result<Vault> attach(Fd fd);

  uint32_t capacity() const { return capacity_; }
  const Fd& fd() const { return segment_.fd(); }
  // Not empty: the keys could not be locked into memory and may reach the swap; says why, for the log.
  const std::string& warning() const { return warning_; }

  // Replaces the record. Writer only. Error: the index is beyond the capacity.
  Result<void> commit(SaIndex index, const SaRecord& record);
  // Empties the record and wipes both copies. Writer only. (A writer killed in commit() or clear() may leave
  // the copy that no longer counts; the next commit() or clear() of this record wipes it.)
  Result<void> clear(SaIndex index);
  // The record, std::nullopt where there is none. Error: torn or damaged, or beyond the capacity. The caller
  // wipes the keys in what he gets (wipe_keys).
  Result<std::optional<SaRecord>> read(SaIndex index) const;

 private:
  struct Record;
  struct Image;
  Vault(Segment segment, uint32_t capacity, std::string warning)
      : segment_(std::move(segment)), capacity_(capacity), warning_(std::move(warning)) {}
  static Result<Vault> adopt(Segment segment, uint32_t capacity);
  Record& record(SaIndex index) const;
  Result<void> check(SaIndex index) const;
  static void publish(Record& slot, Image& image);

  Segment segment_;
  uint32_t capacity_;
  std::string warning_;
};

}  // namespace espalier

// STATE_DIR/sa-numbers: what must be known of static keys after a power failure. One entry per SA cell:
// outbound, the first sequence number that has certainly not been used; inbound, the highest that was
// accepted. It holds fingerprints, no keys.
//
// Every entry is 64 aligned bytes with a checksum, so that a torn write touches one SA only and is noticed.
// write() reaches the kernel, sync() the disk. After a failed sync() write again what was to be synced: the
// kernel may have dropped it.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "control/shared/fd.hpp"
#include "control/shared/records.hpp"

namespace espalier {

using KeyFingerprint = std::array<uint8_t, 32>;  // crypto::fingerprint() of key, salt, authentication key

// What a cell's numbers belong to. Outbound the nonce of an AEAD cipher is salt and sequence number, so key
// and salt alone decide, whatever the SPI; inbound the SPI is authenticated with the packet, and a window
// belongs to both. Not whether the SA has ESN: numbers are 64 bits wide, and the same with and without it.
struct SaIdentity {
  KeyFingerprint fingerprint{};
  Spi spi;                                // inbound
  Direction direction = Direction::kOut;  // kOut or kIn
  uint8_t static_key = 0;                 // 1: from the configuration, comes back after every restart
  uint8_t reserved[2] = {};

  friend bool operator==(const SaIdentity& a, const SaIdentity& b) {
    return a.fingerprint == b.fingerprint && a.direction == b.direction &&
           (a.direction == Direction::kOut || a.spi == b.spi);
  }
};
static_assert(sizeof(SaIdentity) == 40);

struct SequenceEntry {
  SaIdentity identity;
  uint64_t number = 0;  // outbound: the first unused; inbound: the highest accepted
};

class SequenceFile {
 public:
  static constexpr uint32_t kLayout = 1;
  using FileId = std::array<uint8_t, 16>;

  // Opens or creates the file (mode 0600) and locks it; the lock lasts until every process that got the
  // descriptor has closed it. `capacity` is for a new file. A file that is there and is not ours, or of
  // another layout, is an error, never overwritten.
  static Result<SequenceFile> open(const std::string& path, uint32_t capacity);
  // A descriptor that another process opened and locked.
  static Result<SequenceFile> attach(Fd fd);

  uint32_t capacity() const { return capacity_; }
  const FileId& id() const { return id_; }       // random, made with the file
  bool made_anew() const { return made_anew_; }  // by this open(): there was none, or one that held nothing
  const Fd& fd() const { return fd_; }

  struct Indexed {
    SaIndex index;
    SequenceEntry entry;
  };
  // All used entries. A damaged one is an error: nobody knows which numbers its key has used.
  Result<std::vector<Indexed>> read() const;
  Result<void> write(SaIndex index, const SequenceEntry& entry);  // index < capacity()
  Result<void> sync();

 private:
  SequenceFile(Fd fd, uint32_t capacity, FileId id) : fd_(std::move(fd)), capacity_(capacity), id_(id) {}
  Fd fd_;
  uint32_t capacity_;
  FileId id_;
  bool made_anew_ = false;
};

}  // namespace espalier

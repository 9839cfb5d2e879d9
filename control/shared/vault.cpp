#include "control/shared/vault.hpp"

#include <strings.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <memory>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier {
namespace {

constexpr uint64_t kMagic = 0x544c'5541'5650'5345;  // "ESPVAULT"

struct alignas(64) Header {
  uint64_t magic;
  uint32_t layout;
  uint32_t record_bytes;
  uint32_t capacity;
  uint32_t reserved;
};

}  // namespace

// What a copy holds.
struct Vault::Image {
  SaRecord record;
  uint32_t in_use = 0;
  uint64_t version = 0;  // the record's version that made it: an old copy cannot pass for a new one
  uint64_t checksum = 0;

  Image() { std::memset(static_cast<void*>(this), 0, sizeof *this); }  // padding is part of the checksum
  Image(const Image&) = delete;
  ~Image() { ::explicit_bzero(static_cast<void*>(this), sizeof *this); }
  uint64_t sum() const { return crc32c(this, offsetof(Image, checksum)); }
};

namespace {

// Memory that a writer and readers of other processes touch at the same time: whole words, release and
// acquire.
template <size_t kWords>
struct Copy {
  std::atomic<uint64_t> words[kWords];

  void store(const void* from) {
    const auto* at = static_cast<const char*>(from);
    for (auto& word : words) {
      uint64_t value;
      std::memcpy(&value, at, sizeof value);
      word.store(value, std::memory_order_relaxed);
      at += sizeof value;
    }
  }
  void load(void* to) const {
    auto* at = static_cast<char*>(to);
    for (const auto& word : words) {
      const uint64_t value = word.load(std::memory_order_relaxed);
      std::memcpy(at, &value, sizeof value);
      at += sizeof value;
    }
  }
  void wipe() {
    for (auto& word : words) word.store(0, std::memory_order_relaxed);
  }
};

}  // namespace

struct alignas(64) Vault::Record {
  static_assert(sizeof(Image) % 8 == 0 && std::is_trivially_copyable_v<SaRecord>);
  std::atomic<uint64_t> version;  // copies[version & 1] counts; 0: never written
  Copy<sizeof(Image) / 8> copies[2];
};

void wipe_keys(SaRecord& record) {
  ::explicit_bzero(record.key, sizeof record.key);
  ::explicit_bzero(record.salt, sizeof record.salt);
  ::explicit_bzero(record.auth_key, sizeof record.auth_key);
}

Result<Vault> Vault::create(uint32_t capacity) {
  if (capacity == 0) return fail("a vault for no SA");
  auto segment = TRY(Segment::create("espalier-vault", sizeof(Header) + size_t{capacity} * sizeof(Record)));
  *segment.as<Header>() = {kMagic, kLayout, sizeof(Record), capacity, 0};
  return adopt(std::move(segment), capacity);
}

Result<Vault> Vault::attach(Fd fd) {
  auto segment = TRY(Segment::attach(std::move(fd), sizeof(Header)));
  const Header header = *segment.as<Header>();
  if (header.magic != kMagic) return fail("SA vault: not a vault");
  if (header.layout != kLayout || header.record_bytes != sizeof(Record))
    return fail("SA vault: layout {} with records of {} bytes, this program has layout {} with {}",
                header.layout, header.record_bytes, kLayout, sizeof(Record));
  if (header.capacity == 0 || sizeof(Header) + uint64_t{header.capacity} * sizeof(Record) != segment.bytes())
    return fail("SA vault: {} bytes do not fit its {} records", segment.bytes(), header.capacity);
  return adopt(std::move(segment), header.capacity);
}

Result<Vault> Vault::adopt(Segment segment, uint32_t capacity) {
  if (::madvise(segment.data(), segment.bytes(), MADV_DONTDUMP) != 0)
    return fail("SA vault: keeping keys out of core dumps: {}", errno_text());
  std::string warning;
  if (::mlock(segment.data(), segment.bytes()) != 0)
    warning = fmt::format("SA vault: {} bytes cannot be locked in memory ({}); keys may reach the swap",
                          segment.bytes(), errno_text());
  return Vault(std::move(segment), capacity, std::move(warning));
}

Vault::Record& Vault::record(SaIndex index) const {
  return reinterpret_cast<Record*>(segment_.data() + sizeof(Header))[index.value];
}

Result<void> Vault::check(SaIndex index) const {
  if (index.value >= capacity_) return fail("SA vault: record {} of {}", index.value, capacity_);
  return {};
}

// The order of these stores is what makes a kill at any point harmless; the fences hold it against the
// compiler (and a reader on another core), the CPU keeps a process's stores in order.
void Vault::publish(Record& slot, Image& image) {
  image.version = slot.version.load(std::memory_order_relaxed) + 1;
  image.checksum = image.sum();
  slot.copies[image.version & 1].store(&image);
  KILL_POINT("vault.commit.before_publish");
  slot.version.store(image.version, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_release);
  KILL_POINT("vault.commit.after_publish");
  slot.copies[~image.version & 1].wipe();
}

Result<void> Vault::commit(SaIndex index, const SaRecord& record) {
  TRY(check(index));
  Image image;
  std::memcpy(static_cast<void*>(&image.record), &record, sizeof record);
  image.in_use = 1;
  publish(this->record(index), image);
  return {};
}

Result<void> Vault::clear(SaIndex index) {
  TRY(check(index));
  Image empty;
  publish(record(index), empty);
  return {};
}

Result<std::optional<SaRecord>> Vault::read(SaIndex index) const {
  TRY(check(index));
  const Record& slot = record(index);
  uint64_t version = slot.version.load(std::memory_order_acquire);
  for (;;) {
    if (version == 0) return std::nullopt;
    Image image;
    slot.copies[version & 1].load(&image);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (image.version == version && image.checksum == image.sum())
      return image.in_use != 0 ? std::optional(image.record) : std::nullopt;
    const uint64_t now = slot.version.load(std::memory_order_acquire);
    if (now == version) return fail("SA vault: record {} is damaged", index.value);
    version = now;  // the writer replaced it meanwhile
  }
}

}  // namespace espalier

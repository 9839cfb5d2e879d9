#include "control/shared/sequence_file.hpp"

#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier {
namespace {

constexpr uint64_t kMagic = 0x534d'554e'5053'4500;  // "\0ESPNUMS"
constexpr size_t kEntryBytes = 64;

struct Header {
  uint64_t magic = 0;
  uint32_t layout = 0;
  uint32_t capacity = 0;
  SequenceFile::FileId id{};
  uint32_t reserved[7] = {};
  uint32_t checksum = 0;
};
static_assert(sizeof(Header) == kEntryBytes);

// An entry as it lies in the file; all zero: unused.
struct Stored {
  SequenceEntry entry;
  uint32_t used = 0;
  uint32_t reserved[2] = {};
  uint32_t checksum = 0;
};
static_assert(sizeof(Stored) == kEntryBytes);

template <class T>
uint32_t checksum_of(const T& block) {
  return crc32c(&block, offsetof(T, checksum));
}

template <class T>
bool is_zero(const T& block) {
  const auto* at = reinterpret_cast<const uint8_t*>(&block);
  return std::all_of(at, at + sizeof block, [](uint8_t byte) { return byte == 0; });
}

size_t file_bytes(uint32_t capacity) {
  return sizeof(Header) + size_t{capacity} * kEntryBytes;
}

// Regular files on Linux give and take what was asked unless something is wrong.
Result<void> write_at(const Fd& fd, const void* from, size_t bytes, size_t offset) {
  const ssize_t written = ::pwrite(fd.get(), from, bytes, static_cast<off_t>(offset));
  if (written < 0) return fail("writing: {}", errno_text());
  if (static_cast<size_t>(written) != bytes)
    return fail("writing: {} of {} bytes were taken", written, bytes);
  return {};
}

Result<void> read_at(const Fd& fd, void* to, size_t bytes, size_t offset) {
  const ssize_t got = ::pread(fd.get(), to, bytes, static_cast<off_t>(offset));
  if (got < 0) return fail("reading: {}", errno_text());
  if (static_cast<size_t>(got) != bytes) return fail("reading: {} of {} bytes are there", got, bytes);
  return {};
}

Result<size_t> size_of(const Fd& fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail("fstat: {}", errno_text());
  if (!S_ISREG(status.st_mode)) return fail("not a regular file");
  return static_cast<size_t>(status.st_size);
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const Fd directory(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0)
    return fail("syncing directory {}: {}", parent, errno_text());
  return {};
}

// A file whose creation was interrupted before its header was there holds nothing but zeros.
Result<bool> is_blank(const Fd& fd, size_t bytes) {
  Stored block;
  for (size_t at = 0; at < bytes; at += sizeof block) {
    TRY(read_at(fd, &block, std::min(sizeof block, bytes - at), at));
    if (!is_zero(block)) return false;
  }
  return true;
}

// The space is allocated for good: no reservation shall fail later because a disk is full. The header comes
// last.
Result<void> fill(const Fd& fd, const std::string& path, uint32_t capacity) {
  if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(file_bytes(capacity))); error != 0)
    return fail("allocating {} bytes: {}", file_bytes(capacity), ::strerrordesc_np(error));
  if (::fsync(fd.get()) != 0) return fail("fsync: {}", errno_text());
  Header header{.magic = kMagic, .layout = SequenceFile::kLayout, .capacity = capacity};
  if (::getrandom(header.id.data(), header.id.size(), 0) != static_cast<ssize_t>(header.id.size()))
    return fail("getrandom: {}", errno_text());
  header.checksum = checksum_of(header);
  KILL_POINT("sequence_file.before_header");
  TRY(write_at(fd, &header, sizeof header, 0));
  if (::fsync(fd.get()) != 0) return fail("fsync: {}", errno_text());
  return sync_directory_of(path);
}

Result<Header> read_header(const Fd& fd) {
  const size_t bytes = TRY(size_of(fd));
  Header header;
  if (bytes < sizeof header) return fail("{} bytes are too few", bytes);
  TRY(read_at(fd, &header, sizeof header, 0));
  if (header.magic != kMagic) return fail("not a file of sequence numbers");
  if (header.checksum != checksum_of(header)) return fail("the header is damaged");
  if (header.layout != SequenceFile::kLayout)
    return fail("layout {}, this program has {}", header.layout, SequenceFile::kLayout);
  if (header.capacity == 0 || bytes < file_bytes(header.capacity))
    return fail("{} bytes do not hold its {} entries", bytes, header.capacity);
  return header;
}

struct Opened {
  Header header;
  bool made_anew = false;
};

Result<Opened> open_locked(const Fd& fd, const std::string& path, uint32_t capacity) {
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return errno == EWOULDBLOCK ? fail("in use by another espalierd or dataplane")
                                : fail("locking: {}", errno_text());
  const bool blank = TRY(is_blank(fd, TRY(size_of(fd))));
  if (blank) TRY(fill(fd, path, capacity));
  return Opened{TRY(read_header(fd)), blank};
}

}  // namespace

Result<SequenceFile> SequenceFile::open(const std::string& path, uint32_t capacity) {
  if (capacity == 0) return fail("{}: a file for no SA", path);
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail("{}: {}", path, errno_text());
  const auto opened = open_locked(fd, path, capacity);
  if (!opened) return std::unexpected(Error(opened.error()).with_context(path));
  SequenceFile file(std::move(fd), opened->header.capacity, opened->header.id);
  file.made_anew_ = opened->made_anew;
  return file;
}

Result<SequenceFile> SequenceFile::attach(Fd fd) {
  auto header = read_header(fd);
  if (!header) return std::unexpected(std::move(header).error().with_context("sa-numbers"));
  return SequenceFile(std::move(fd), header->capacity, header->id);
}

Result<std::vector<SequenceFile::Indexed>> SequenceFile::read() const {
  std::vector<Stored> stored(capacity_);
  TRY(read_at(fd_, stored.data(), stored.size() * sizeof(Stored), sizeof(Header)));
  std::vector<Indexed> entries;
  for (uint32_t i = 0; i < capacity_; ++i) {
    if (is_zero(stored[i])) continue;
    if (stored[i].used != 1 || stored[i].checksum != checksum_of(stored[i]))
      return fail(
          "sa-numbers: entry {} is damaged, and the numbers that its static key has used are lost; give all "
          "static "
          "SAs new keys, then remove the file",
          i);
    entries.push_back({SaIndex(i), stored[i].entry});
  }
  return entries;
}

Result<void> SequenceFile::write(SaIndex index, const SequenceEntry& entry) {
  Stored stored{.entry = entry, .used = 1};
  stored.checksum = checksum_of(stored);
  return write_at(fd_, &stored, sizeof stored, file_bytes(index.value));
}

Result<void> SequenceFile::sync() {
  if (::fdatasync(fd_.get()) != 0) return fail("sa-numbers: fdatasync: {}", errno_text());
  return {};
}

}  // namespace espalier

#include "control/shared/sa_cells.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <ctime>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier {
namespace {

constexpr uint64_t kMagic = 0x534c'4c45'4353'4500;  // "\0ESCELLS"
constexpr const char* kCellsName = "/sa-cells";
constexpr const char* kNumbersName = "/sa-numbers";
constexpr uint32_t kMaxCapacity = 1u << 20;
constexpr uint32_t kMaxWindowWords = 1u << 28;

using BootId = std::array<char, 36>;

struct alignas(128) Header {
  uint64_t magic = 0;
  uint32_t layout = 0;
  uint32_t cell_bytes = 0;
  CellGeometry geometry;
  SequenceFile::FileId numbers_id{};  // of the sa-numbers file that belongs to it
  BootId boot{};
};
static_assert(sizeof(Header) % alignof(SaCell) == 0);

size_t file_bytes(CellGeometry geometry) {
  return sizeof(Header) + geometry.capacity * sizeof(SaCell) + geometry.window_words * sizeof(uint64_t);
}

bool is_possible(CellGeometry geometry) {
  return geometry.capacity > 0 && geometry.capacity <= kMaxCapacity &&
         geometry.window_words <= kMaxWindowWords;
}

Result<BootId> read_boot_id() {
  constexpr const char* kPath = "/proc/sys/kernel/random/boot_id";
  const Fd fd(::open(kPath, O_RDONLY | O_CLOEXEC));
  BootId boot;
  if (!fd || ::read(fd.get(), boot.data(), boot.size()) != static_cast<ssize_t>(boot.size()))
    return fail("{}: {}", kPath, errno_text());
  return boot;
}

Result<size_t> size_of(const Fd& fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail("SA cells: {}", errno_text());
  if (!S_ISREG(status.st_mode)) return fail("SA cells: not a regular file");
  return static_cast<size_t>(status.st_size);
}

// Header of a file that this program can use. Who the file belongs to is left to the caller.
Result<Header> read_header(const Fd& fd) {
  const size_t bytes = TRY(size_of(fd));
  Header header;
  if (::pread(fd.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    return fail("it is too short");
  if (header.magic != kMagic) return fail("it is not a file of SA cells");
  if (header.layout != SaCells::kLayout || header.cell_bytes != sizeof(SaCell))
    return fail("it has layout {}, this program {}", header.layout, SaCells::kLayout);
  if (!is_possible(header.geometry) || file_bytes(header.geometry) != bytes)
    return fail("its {} bytes do not fit its header", bytes);
  return header;
}

std::unexpected<Error> foreign(const std::string& cells, const std::string& numbers) {
  return fail(
      "{} does not belong to {}, so nobody knows which numbers static keys have used; put the right file "
      "back, or give all static SAs new keys and remove both",
      cells, numbers);
}

// Cells of this boot whose numbers file is gone. It must not be made anew: after the next boot it would pass
// for theirs.
Result<void> refuse_orphans(const std::string& cells, const std::string& numbers) {
  if (::access(numbers.c_str(), F_OK) == 0) return {};
  const Fd fd(::open(cells.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return {};
  const auto header = read_header(fd);
  if (!header || header->boot != TRY(read_boot_id())) return {};
  return foreign(cells, numbers);
}

}  // namespace

uint32_t boot_time_s() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);  // cannot fail with this clock and this pointer
  return static_cast<uint32_t>(now.tv_sec);
}

void SaCells::Unmap::operator()(std::byte* at) const {
  ::munmap(at, bytes);
}

SaCells::SaCells(Fd fd, Mapping mapping, CellGeometry geometry, SequenceFile numbers)
    : fd_(std::move(fd)),
      mapping_(std::move(mapping)),
      geometry_(geometry),
      cells_(reinterpret_cast<SaCell*>(mapping_.get() + sizeof(Header))),
      words_(reinterpret_cast<std::atomic<uint64_t>*>(cells_ + geometry.capacity)),
      numbers_(std::move(numbers)) {}

Result<SaCells::Mapping> SaCells::map(const Fd& fd, size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return fail("mapping {} bytes of SA cells: {}", bytes, errno_text());
  return Mapping(static_cast<std::byte*>(at), Unmap{bytes});
}

Result<SaCells> SaCells::open(const std::string& runtime_dir, const std::string& state_dir,
                              CellGeometry geometry) {
  if (!is_possible(geometry))
    return fail("SA cells: {} cells, {} window words", geometry.capacity, geometry.window_words);
  const std::string path = runtime_dir + kCellsName;
  const std::string numbers_path = state_dir + kNumbersName;
  TRY(refuse_orphans(path, numbers_path));
  auto numbers = TRY(SequenceFile::open(numbers_path, geometry.capacity));
  geometry.capacity = numbers.capacity();
  Fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno != ENOENT) return fail("{}: {}", path, errno_text());
    return create(path, geometry, std::move(numbers), "there was none");
  }
  const auto header = read_header(fd);
  if (!header) return create(path, geometry, std::move(numbers), header.error().text);
  if (header->boot != TRY(read_boot_id()))
    return create(path, geometry, std::move(numbers), "it was of another boot");
  if (header->numbers_id != numbers.id() || header->geometry.capacity != numbers.capacity())
    return foreign(path, numbers_path);
  auto mapping = TRY(map(fd, file_bytes(header->geometry)));
  return SaCells(std::move(fd), std::move(mapping), header->geometry, std::move(numbers));
}

Result<SaCells> SaCells::attach(Fd fd, Fd numbers_fd) {
  auto numbers = TRY(SequenceFile::attach(std::move(numbers_fd)));
  auto header = read_header(fd);
  if (!header) return std::unexpected(std::move(header).error().with_context("SA cells"));
  if (header->numbers_id != numbers.id() || header->geometry.capacity != numbers.capacity())
    return fail("SA cells: they do not belong to the sa-numbers file");
  auto mapping = TRY(map(fd, file_bytes(header->geometry)));
  return SaCells(std::move(fd), std::move(mapping), header->geometry, std::move(numbers));
}

// Under a name of its own until it is complete, so that an interrupted creation is never taken for cells.
Result<SaCells> SaCells::create(const std::string& path, CellGeometry geometry, SequenceFile numbers,
                                std::string why) {
  const std::string unfinished = path + ".new";
  Fd fd(::open(unfinished.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail("{}: {}", unfinished, errno_text());
  const size_t bytes = file_bytes(geometry);
  if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0)
    return fail("{}: allocating {} bytes: {}", unfinished, bytes, ::strerrordesc_np(error));
  auto mapping = TRY(map(fd, bytes));
  SaCells cells(std::move(fd), std::move(mapping), geometry, std::move(numbers));
  TRY(cells.restore());
  Header header{.magic = kMagic, .layout = kLayout, .cell_bytes = sizeof(SaCell), .geometry = geometry};
  header.numbers_id = cells.numbers_.id();
  header.boot = TRY(read_boot_id());
  *reinterpret_cast<Header*>(cells.mapping_.get()) = header;
  KILL_POINT("sa_cells.before_rename");
  if (::rename(unfinished.c_str(), path.c_str()) != 0) return fail("{}: {}", path, errno_text());
  cells.note_ = fmt::format("{} was made anew from the sa-numbers file: {}", path, why);
  return cells;
}

// Static keys as the disk remembers them: outbound goes on with the first number that was certainly not used,
// inbound accepts nothing up to the last number that was saved. Whether they have ESN the disk does not know,
// and SaDirectory's claim() says.
Result<void> SaCells::restore() {
  for (const auto& [index, entry] : TRY(numbers_.read())) {
    SaCell& cell = cells_[index.value];
    cell.owner.identity = entry.identity;
    cell.owner.checksum = crc32c(&entry.identity, sizeof entry.identity);
    cell.outbound.next_sequence = entry.number;
    cell.outbound.sequence_limit = entry.number;
    cell.outbound.sequence_end = kExtendedSequenceEnd;
    cell.window.reset(entry.number);
    cell.owner.state = CellState::kRemembered;
  }
  return {};
}

}  // namespace espalier

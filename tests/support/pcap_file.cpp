#include "tests/support/pcap_file.hpp"

#include <fstream>
#include <iterator>

namespace espalier::test {
namespace {

constexpr uint32_t kMagic = 0xa1b2c3d4;  // microseconds
constexpr uint32_t kLinkTypeEthernet = 1;
constexpr uint32_t kSnapLength = 65535;
constexpr size_t kFileHeaderBytes = 24;
constexpr size_t kRecordHeaderBytes = 16;

uint32_t read32(ByteView bytes, size_t offset, bool swapped) {
  const uint32_t big = get32(bytes, offset);
  return swapped ? big : __builtin_bswap32(big);
}

void write32(Bytes& to, uint32_t value) {
  append32(to, __builtin_bswap32(value));
}

Result<std::vector<PcapFrame>> parse(ByteView bytes) {
  if (bytes.size() < kFileHeaderBytes) return fail("shorter than a pcap header");
  const bool swapped = get32(bytes, 0) == kMagic;
  if (read32(bytes, 0, swapped) != kMagic) return fail("not a classic pcap file with microseconds");
  if (read32(bytes, 20, swapped) != kLinkTypeEthernet) return fail("the link type is not Ethernet");
  std::vector<PcapFrame> frames;
  for (size_t at = kFileHeaderBytes; at < bytes.size();) {
    if (bytes.size() - at < kRecordHeaderBytes) return fail("a record header is cut off at byte {}", at);
    const uint32_t length = read32(bytes, at + 8, swapped);
    if (read32(bytes, at + 12, swapped) != length)
      return fail("the frame at byte {} was captured in part", at);
    if (bytes.size() - at - kRecordHeaderBytes < length) return fail("the frame at byte {} is cut off", at);
    frames.push_back({read32(bytes, at, swapped), read32(bytes, at + 4, swapped),
                      copy(bytes.subspan(at + kRecordHeaderBytes, length))});
    at += kRecordHeaderBytes + length;
  }
  return frames;
}

}  // namespace

Result<std::vector<PcapFrame>> read_pcap(const std::filesystem::path& file) {
  std::ifstream input(file, std::ios::binary);
  if (!input) return fail("{}: cannot be opened", file.string());
  const Bytes bytes{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  auto frames = parse(bytes);
  if (!frames) return std::unexpected(std::move(frames.error()).with_context(file.string()));
  return frames;
}

Result<void> write_pcap(const std::filesystem::path& file, const std::vector<PcapFrame>& frames) {
  Bytes bytes;
  write32(bytes, kMagic);
  write32(bytes, 2 | 4 << 16);  // version 2.4
  for (const uint32_t value : {0u, 0u, kSnapLength, kLinkTypeEthernet}) write32(bytes, value);
  for (const PcapFrame& each : frames) {
    const auto length = static_cast<uint32_t>(each.frame.size());
    for (const uint32_t value : {each.seconds, each.microseconds, length, length}) write32(bytes, value);
    append(bytes, each.frame);
  }
  std::ofstream output(file, std::ios::binary);
  output.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  output.close();
  if (!output) return fail("{}: cannot be written", file.string());
  return {};
}

}  // namespace espalier::test

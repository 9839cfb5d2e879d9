#include "control/cli/pcapng.hpp"

#include "control/shared/fd.hpp"

namespace espalier::cli {
namespace {

constexpr uint32_t kSectionHeader = 0x0a0d0d0a, kInterfaceDescription = 1, kEnhancedPacket = 6;
constexpr uint32_t kByteOrderMagic = 0x1a2b3c4d;
constexpr uint16_t kEndOfOptions = 0, kComment = 1;
constexpr uint16_t kSectionApplication = 4;
constexpr uint16_t kInterfaceName = 2, kInterfaceText = 3, kTimeResolution = 9;
constexpr uint16_t kPacketFlags = 2;
constexpr uint8_t kNanoseconds = 9;  // 10^-9 s
constexpr size_t kMostOptionBytes = 4096;

template <class Number>
void add(std::string& body, Number number) {
  body.append(reinterpret_cast<const char*>(&number), sizeof number);
}

// To the next multiple of four, as everything in a block.
void pad(std::string& body) {
  body.append((4 - body.size() % 4) % 4, '\0');
}

void add_option(std::string& body, uint16_t code, std::string_view value) {
  if (value.empty()) return;
  value = value.substr(0, kMostOptionBytes);
  add(body, code);
  add(body, static_cast<uint16_t>(value.size()));
  body += value;
  pad(body);
}

void end_options(std::string& body) {
  add(body, kEndOfOptions);
  add(body, uint16_t{0});
}

}  // namespace

Result<void> PcapngWriter::put(uint32_t type, const std::string& body) {
  std::string block;
  const auto total = static_cast<uint32_t>(body.size() + 3 * sizeof(uint32_t));
  add(block, type);
  add(block, total);
  block += body;
  add(block, total);
  if (std::fwrite(block.data(), 1, block.size(), file_) != block.size())
    return fail("writing the capture: {}", errno_text());
  return {};
}

Result<void> PcapngWriter::begin(const std::string& application) {
  std::string body;
  add(body, kByteOrderMagic);
  add(body, uint16_t{1});  // version 1.0
  add(body, uint16_t{0});
  add(body, uint64_t{UINT64_MAX});  // the section's length is not said
  add_option(body, kSectionApplication, application);
  end_options(body);
  return put(kSectionHeader, body);
}

// The number of the packet's interface, which is described where it is first met.
Result<uint32_t> PcapngWriter::interface_of(const CapturedPacket& packet) {
  const auto [found, is_new] =
      interfaces_.try_emplace({packet.interface, packet.link}, static_cast<uint32_t>(interfaces_.size()));
  if (!is_new) return found->second;
  std::string body;
  add(body, static_cast<uint16_t>(packet.link));
  add(body, uint16_t{0});
  add(body, uint32_t{0});  // no snap length
  add_option(body, kInterfaceName, packet.interface);
  add_option(body, kInterfaceText, packet.description);
  add_option(body, kTimeResolution, {reinterpret_cast<const char*>(&kNanoseconds), 1});
  end_options(body);
  TRY(put(kInterfaceDescription, body));
  return found->second;
}

Result<void> PcapngWriter::write(const CapturedPacket& packet) {
  std::string body;
  add(body, TRY(interface_of(packet)));
  add(body, static_cast<uint32_t>(packet.time_ns >> 32));
  add(body, static_cast<uint32_t>(packet.time_ns));
  add(body, static_cast<uint32_t>(packet.bytes.size()));
  add(body, packet.packet_bytes);
  body.append(reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size());
  pad(body);
  add_option(body, kComment, packet.comment);
  const auto flags = static_cast<uint32_t>(packet.way);  // bits 0 and 1: 01 inbound, 10 outbound
  add_option(body, kPacketFlags, {reinterpret_cast<const char*>(&flags), sizeof flags});
  end_options(body);
  return put(kEnhancedPacket, body);
}

Result<void> PcapngWriter::flush() {
  if (std::fflush(file_) != 0) return fail("writing the capture: {}", errno_text());
  return {};
}

}  // namespace espalier::cli

#include "control/config/device.hpp"

#include <algorithm>

#include "control/config/diagnostics.hpp"
#include "control/shared/records.hpp"

namespace espalier::config {
namespace {

constexpr std::string_view kKernelDriver = "net_af_packet";
constexpr size_t kMaxKernelName = 15;  // Linux's IFNAMSIZ without its terminator

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

bool has_shape(std::string_view text, std::string_view shape) {
  return std::equal(text.begin(), text.end(), shape.begin(), shape.end(), [](char c, char kind) {
    if (kind == 'x') return is_hex_digit(c);
    return kind == 'o' ? '0' <= c && c <= '7' : c == kind;
  });
}

std::string_view without_arguments(std::string_view device) {
  return device.substr(0, device.find(','));
}

// The value of "iface" among the arguments; empty if there is none.
std::string_view kernel_interface(std::string_view device) {
  constexpr std::string_view kKey = ",iface=";
  const size_t at = device.find(kKey);
  if (at == device.npos) return {};
  return without_arguments(device.substr(at + kKey.size()));
}

bool is_on_kernel_interface(std::string_view device) {
  return without_arguments(device).starts_with(kKernelDriver);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return result;
}

// Whether `text` reads as the name of a kernel interface, "enp3s0f1" or "eth1.201".
bool is_kernel_name(std::string_view text) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return text.size() <= kMaxKernelName && std::all_of(text.begin(), text.end(), good);
}

}  // namespace

Result<std::string> parse_device(std::string_view text) {
  constexpr size_t kMaxBytes = sizeof(InterfaceRecord{}.device.bytes);
  if (text.empty()) return fail("is empty");
  if (text.size() > kMaxBytes) return fail("is longer than {} characters", kMaxBytes);
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= 0x20 || c >= 0x7f; }))
    return fail("has blanks, control characters or characters beyond ASCII");
  const std::string_view device = without_arguments(text);
  const std::string_view arguments = text.substr(device.size());
  if (has_shape(device, "xxxx:xx:xx.o")) return lower(device) + std::string(arguments);
  if (has_shape(device, "xx:xx.o")) return fmt::format("0000:{}{}", lower(device), arguments);
  if (is_on_kernel_interface(text) && kernel_interface(text).empty())
    return fail("names no interface, as in \"net_af_packet,iface=eth0\"");
  if (device.starts_with("net_")) return std::string(text);
  return fail(
      "is neither a PCI address nor a DPDK device \"net_...\"; for a kernel interface write \"{},iface={}\"",
      kKernelDriver, is_kernel_name(text) ? text : "eth0");
}

std::string device_identity(std::string_view device) {
  if (device.find(':') != device.npos && !device.starts_with("net_"))
    return std::string(without_arguments(device));
  if (is_on_kernel_interface(device)) return fmt::format("iface={}", kernel_interface(device));
  return std::string(device);
}

}  // namespace espalier::config

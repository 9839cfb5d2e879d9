// The devices that a configuration names: PCI addresses and DPDK's virtual devices, each perhaps with
// arguments behind a comma ("0000:3b:00.0", "net_af_packet,iface=eth0").
#pragma once

#include <string>
#include <string_view>

#include "control/shared/error.hpp"

namespace espalier::config {

// A device as DPDK writes it: a PCI address with its domain, in small letters. The error says what is
// expected, without repeating `text`.
Result<std::string> parse_device(std::string_view text);

// What makes two devices the same one: the PCI address, or the kernel interface of net_af_packet, or all of
// it. `device` comes from parse_device.
std::string device_identity(std::string_view device);

}  // namespace espalier::config

// The host path: what is for the gateway itself and is no business of Espalier's (SSH, BGP, OSPF, NTP, DHCP)
// goes to the host's kernel and its programs, and what these send comes back to Espalier.
//
// The kernel gets a device for each interface: an Ethernet TAP for ports, VLANs and dummies, a point-to-point
// TUN for vti and gre. Name, MAC address, addresses, MTU and link are kept in step with the interface's, so
// that FRR finds interfaces and sshd addresses as on any router. Two things are different from a NIC:
//
// - The kernel believes that it needs no neighbours (IFF_NOARP): it sends every packet at once. Who the next
//   hop is, and its MAC address, is Espalier's business, and neither ARP nor neighbour discovery of the host
//   is ever on the wire.
// - The kernel forwards nothing between the TAPs and takes no router advertisements.
//
// The configuration's routes are written into the host's kernel (host_routes.hpp), those that its programs
// make are read back (kernel_routes.hpp).
//
// Owner: main lcore. Nothing here blocks but plan(), carry_out() and, once after it, tick(), which talk to
// the kernel.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "control/shared/drop_reason.hpp"
#include "control/shared/records.hpp"
#include "dataplane/host/host_links.hpp"
#include "dataplane/host/host_namespace.hpp"
#include "dataplane/host/host_routes.hpp"
#include "dataplane/host/kernel_routes.hpp"
#include "dataplane/host/tap.hpp"

namespace espalier::dataplane {

struct HostInterface {
  InterfaceIndex index;
  InterfaceKind kind = InterfaceKind::kPort;
  std::string name;  // at most 15 bytes
  MacAddress mac{};  // kPort, kVlan
  uint32_t mtu_bytes = 1500;
  bool enabled = true;
  bool link_up = true;
  std::vector<IpPrefix> addresses;  // both families; the first of a network is the kernel's primary one
};

// All that the host shall see. No interfaces: the host path is off.
struct HostSetup {
  std::string network_namespace;  // as of `ip netns`; empty: the process's own
  std::vector<HostInterface> interfaces;
  std::vector<RouteRecord> routes;    // of the configuration; imported ones are skipped
  std::optional<RouteImport> import;  // which routes of the kernel to take over
};

// An IP packet that the host sent.
struct HostPacket {
  InterfaceIndex interface;  // by whose TAP the host sent it
  // It is for that interface's link (multicast, broadcast, IPv6 link-local) and leaves by it as it is. The
  // others are the gateway's own packets like any: Espalier's routes, policies and NAT decide.
  bool for_link = false;
  // Header and checksums as the kernel made them, no Ethernet header. The length was checked against the
  // smallest header of the family, nothing else. Valid until the next receive().
  std::span<const uint8_t> bytes;
};

class HostPath {
 public:
  struct Counters {
    uint64_t to_host = 0, from_host = 0;
    uint64_t ignored = 0;  // from the host: ARP, neighbour discovery, other protocols
  };

  static Result<std::unique_ptr<HostPath>> create();
  HostPath(const HostPath&) = delete;
  HostPath& operator=(const HostPath&) = delete;

  // Everything that can fail, done beside what runs: devices that are new exist when it returns, under names
  // of their own and down. Errors: the namespace does not exist, no /dev/net/tun, no permission, an
  // interface's name is taken by somebody else, IPv6 addresses but no IPv6 in the kernel.
  // A plan that is not carried out goes without a trace; carry out at most one of those made at a time.
  class Plan;
  Result<Plan> plan(const HostSetup& wanted);
  // What the kernel refuses here in spite of all checks is logged.
  void carry_out(Plan plan);

  // The interface's link as workers see it. Costs nothing if nothing changed.
  void set_link(InterfaceIndex interface, bool up);

  // What is due by the clock; to be called at least a few times a second.
  void tick(uint64_t now_ms);

  // Gives the host an IP packet (in parts, the first with the whole fixed header) that came in by
  // `interface`. kUsedHost, kHostFull (the device does not take it), or kLocalNoService (the interface has no
  // TAP).
  DropReason send(InterfaceIndex interface, std::span<const iovec> packet);
  // The next packet of the host's, the TAPs taking turns; nothing when there is none.
  std::optional<HostPacket> receive();

  // The kernel's routes if they have changed, all of them, with interface indices as of the last carry_out();
  // an empty list once when the import was switched off. At most every 50 ms. RouteRecord::index counts from
  // 0.
  std::optional<std::vector<RouteRecord>> take_routes(uint64_t now_ms);

  // Readable when receive() or take_routes() have something to do; -1 where there is nothing to wait for.
  std::array<int, 2> wait_fds() const;
  const Counters& counters() const { return counters_; }

 private:
  HostPath() = default;
  // The device of one interface.
  struct Device {
    HostInterface interface;  // as the kernel has it
    Tap tap;
    int link = 0;                            // the kernel's index
    bool carrier = true;                     // as the kernel has it
    bool is_gone = false;                    // deleted under us
    bool repeats_addresses = false;          // has new ones
    std::vector<IpAddress> broadcasts = {};  // of its IPv4 networks, sorted
  };
  // The namespace and the way to change it.
  struct Kernel {
    HostNamespace space;
    HostLinks links;
  };

  // host_path_apply.cpp
  Result<std::shared_ptr<Kernel>> plan_kernel(const std::string& network_namespace) const;
  Result<void> plan_device(HostInterface& wanted, Plan& plan) const;
  static Result<std::unique_ptr<Device>> make_device(const HostInterface& wanted, Kernel& kernel);
  bool can_stay(const HostInterface& wanted) const;
  Result<void> check_name(const std::string& name, Kernel& kernel) const;
  bool remove_devices(const Plan& plan);
  void add_devices(Plan& plan);
  bool update(Device& device, const HostInterface& wanted);
  void repeat_addresses();
  void index_devices();
  void update_import(Plan& plan);
  std::vector<int> links_up() const;

  Device* find(std::string_view name) const;
  static void set_carrier(Device& device, bool up);
  static bool give(const Device& device, std::span<const iovec> packet);
  bool describe(const Device& device, std::span<const uint8_t> packet, HostPacket& result) const;

  std::shared_ptr<Kernel> kernel_;  // null while there are no interfaces
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Device*> by_interface_;  // InterfaceIndex -> device, null where there is none
  HostRoutes host_routes_;
  std::optional<KernelRoutes> kernel_routes_;
  bool import_ended_ = false;  // and nobody was told yet
  bool has_new_addresses_ = false;
  uint64_t repeat_at_ms_ = 0;  // 0: nothing to repeat
  Fd devices_poll_;            // epoll of the devices
  Counters counters_;
  std::vector<uint8_t> frame_;  // room for one
};

// What plan() has made. Owner: main lcore.
class HostPath::Plan {
 private:
  friend class HostPath;
  HostSetup wanted_;
  std::shared_ptr<Kernel> kernel_;
  std::vector<std::unique_ptr<Device>> made_;  // under their first names
  std::optional<KernelRoutes> kernel_routes_;  // empty: those that run go on, if they are wanted
};

}  // namespace espalier::dataplane

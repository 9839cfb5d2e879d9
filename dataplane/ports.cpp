#include "dataplane/ports.hpp"

#include <poll.h>
#include <rte_dev.h>
#include <rte_errno.h>

#include <atomic>

#include "dataplane/eal.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kSmallestMtu = 68;  // RFC 791: every link carries it
constexpr uint64_t kRxOffloads =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
constexpr uint64_t kTxOffloads = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
                                 RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t kRssFields = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
                                RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV4_OTHER |
                                RTE_ETH_RSS_ESP;
constexpr int kVlanChanges =
    RTE_ETH_VLAN_STRIP_OFFLOAD | RTE_ETH_VLAN_FILTER_OFFLOAD | RTE_ETH_QINQ_STRIP_OFFLOAD;

bool is_vdev(std::string_view name) {
  return name.find(':') == name.npos;
}

// DPDK's name for the device called `name`: "03:00.0" is "0000:03:00.0", and "net_ring" gets a number of its
// own.
std::string dpdk_name(std::string_view name) {
  if (!is_vdev(name))
    return std::count(name.begin(), name.end(), ':') == 1 ? fmt::format("0000:{}", name) : std::string(name);
  if (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back()))) return std::string(name);
  static std::atomic<uint32_t> counter{0};
  for (;;) {
    std::string numbered = fmt::format("{}{}", name, counter.fetch_add(1, std::memory_order_relaxed));
    uint16_t taken;
    if (rte_eth_dev_get_port_by_name(numbered.c_str(), &taken) != 0) return numbered;
  }
}

// `error` is a negative errno as DPDK returns it.
Result<void> check(int error, std::string_view what, DpdkLogCapture& log) {
  if (error >= 0) return {};
  return fail("{}: {} ({})", what, rte_strerror(-error), log.text());
}

rte_eth_conf device_configuration(const rte_eth_dev_info& info, uint16_t rx_queues, uint32_t mtu,
                                  bool interrupts) {
  rte_eth_conf conf{};
  conf.rxmode.mtu = mtu;
  conf.rxmode.offloads = info.rx_offload_capa & kRxOffloads;
  conf.txmode.offloads = info.tx_offload_capa & kTxOffloads;
  conf.intr_conf.rxq = interrupts;
  const uint64_t fields = info.flow_type_rss_offloads & kRssFields;
  if (rx_queues > 1 && fields != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = fields;
  }
  return conf;
}

}  // namespace

uint16_t mbuf_data_room(uint32_t mtu_bytes) {
  return static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + AfPacketInterface::ring_frame_bytes(mtu_bytes));
}

Result<Port> Port::open(std::string_view device, const PortOptions& options) {
  Port port;
  port.device_ = device;
  Result<void> done = port.check_pools(options);
  if (done) done = port.probe(options);
  if (done) done = port.start(options);
  if (!done) return std::unexpected(std::move(done).error().with_context(fmt::format("port {}", device)));
  return port;
}

Result<void> Port::check_pools(const PortOptions& options) {
  if (options.pools.empty()) return fail("no mbuf pool was given");
  if (options.mtu_bytes < kSmallestMtu || mbuf_data_room(options.mtu_bytes) < options.mtu_bytes)
    return fail("an MTU of {} bytes is not possible", options.mtu_bytes);
  for (rte_mempool* const pool : options.pools) {
    const uint16_t room = rte_pktmbuf_data_room_size(pool);
    if (room < mbuf_data_room(options.mtu_bytes))
      return fail("an MTU of {} bytes needs mbufs of {} bytes, they have {}", options.mtu_bytes,
                  mbuf_data_room(options.mtu_bytes), room);
  }
  return {};
}

Result<void> Port::probe(const PortOptions& options) {
  const size_t comma = std::min(device_.find(','), device_.size());
  name_ = dpdk_name(std::string_view(device_).substr(0, comma));
  std::string devargs = name_ + device_.substr(comma);
  if (!name_.starts_with(AfPacketInterface::kDriver)) return attach(devargs);

  linux_ = TRY(AfPacketInterface::open(device_));
  // A queue of this driver is a socket for both directions, and the kernel deals received frames out to all
  // of them: more queues than are polled would swallow flows. Transmit queues are shared instead.
  const uint16_t queues = options.rx_queues;
  devargs += TRY(AfPacketInterface::driver_arguments(device_, queues, options.mtu_bytes));
  TRY(linux_->set_up(true));  // first: the driver's sockets would begin with the error that the link is down
  linux_->before_probe();
  TRY(attach(devargs));
  return linux_->find_queues(queues);
}

Result<void> Port::attach(const std::string& devargs) {
  DpdkLogCapture log;
  const int error = rte_dev_probe(devargs.c_str());
  if (error != -EEXIST)
    TRY(check(error, "the device cannot be probed", log));  // a PCI device may be there already
  if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) != 0) {
    id_ = kNoPort;
    return fail("it is not a network device that DPDK can drive ({})", log.text());
  }
  if (const auto mine = claim(); !mine) {
    id_ = kNoPort;
    return mine;
  }
  return {};
}

// DPDK's port ownership keeps the same device from being opened twice.
Result<void> Port::claim() {
  if (id_ >= kMaxPorts) return fail("there are {} ports already", kMaxPorts);
  DpdkLogCapture log;
  rte_eth_dev_owner owner{.id = RTE_ETH_DEV_NO_OWNER, .name = "espalier"};
  TRY(check(rte_eth_dev_owner_new(&owner.id), "port owner", log));
  if (rte_eth_dev_owner_set(id_, &owner) != 0) return fail("it is in use as another port");
  return {};
}

Result<void> Port::start(const PortOptions& options) {
  const bool try_interrupts = !linux_;
  Result<void> started = start_device(options, try_interrupts);
  if (!started && try_interrupts) started = start_device(options, false);
  TRY(std::move(started));
  if (linux_)
    wakeup_ = Wakeup::kSocket;
  else if (has_interrupts())
    wakeup_ = Wakeup::kInterrupt;
  DpdkLogCapture log;
  if (options.promiscuous) TRY(check(rte_eth_promiscuous_enable(id_), "promiscuous mode", log));
  // Neighbour discovery and routing protocols speak to groups. Devices that cannot filter them say so here.
  if (const int refused = rte_eth_allmulticast_enable(id_); refused != 0 && refused != -ENOTSUP)
    TRY(check(refused, "all multicast", log));
  poll_link();
  return {};
}

Result<void> Port::start_device(const PortOptions& options, bool interrupts) {
  TRY(configure(options, interrupts));
  TRY(set_up_queues(options));
  TRY(keep_vlan_tags());
  TRY(set_device_mtu(options.mtu_bytes));
  mtu_bytes_ = options.mtu_bytes;
  DpdkLogCapture log;
  TRY(check(rte_eth_dev_start(id_), "it does not start", log));
  started_ = true;
  return {};
}

Result<void> Port::configure(const PortOptions& options, bool interrupts) {
  DpdkLogCapture log;
  rte_eth_dev_info info;
  TRY(check(rte_eth_dev_info_get(id_, &info), "it does not say what it can do", log));
  rx_queues_ = std::min(std::max<uint16_t>(options.rx_queues, 1), info.max_rx_queues);
  tx_queues_ = std::min(std::max<uint16_t>(options.tx_queues, 1), info.max_tx_queues);
  // net_af_packet claims to take 1500 bytes only, whatever its rings do.
  const uint32_t mtu = linux_ ? RTE_ETHER_MTU : options.mtu_bytes;
  const rte_eth_conf conf = device_configuration(info, rx_queues_, mtu, interrupts);
  tx_offloads_ = conf.txmode.offloads;
  return check(rte_eth_dev_configure(id_, rx_queues_, tx_queues_, &conf),
               fmt::format("it refuses {} receive and {} transmit queues with an MTU of {}", rx_queues_,
                           tx_queues_, mtu),
               log);
}

Result<void> Port::set_up_queues(const PortOptions& options) {
  DpdkLogCapture log;
  uint16_t rx_descriptors = options.descriptors, tx_descriptors = options.descriptors;
  TRY(check(rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx_descriptors, &tx_descriptors), "descriptors", log));
  uint16_t smallest_room = UINT16_MAX;
  for (uint16_t queue = 0; queue < rx_queues_; ++queue) {
    rte_mempool* const pool = options.pools[queue % options.pools.size()];
    smallest_room = std::min(smallest_room, rte_pktmbuf_data_room_size(pool));
    TRY(check(rte_eth_rx_queue_setup(id_, queue, rx_descriptors, numa_node(), nullptr, pool),
              fmt::format("receive queue {}", queue), log));
  }
  for (uint16_t queue = 0; queue < tx_queues_; ++queue)
    TRY(check(rte_eth_tx_queue_setup(id_, queue, tx_descriptors, numa_node(), nullptr),
              fmt::format("transmit queue {}", queue), log));
  largest_mtu_bytes_ = smallest_room - RTE_PKTMBUF_HEADROOM - kFrameOverhead;
  if (linux_) {
    const uint32_t ring = AfPacketInterface::ring_frame_bytes(options.mtu_bytes);
    largest_mtu_bytes_ = std::min(largest_mtu_bytes_, AfPacketInterface::mtu_of_ring(ring));
  }
  return {};
}

// Tags are the pipeline's business: they must stay in the frame, and frames of every VLAN must come.
Result<void> Port::keep_vlan_tags() {
  DpdkLogCapture log;
  const int flags = rte_eth_dev_get_vlan_offload(id_);
  if (flags < 0 || (flags & kVlanChanges) == 0) return {};
  return check(rte_eth_dev_set_vlan_offload(id_, flags & ~kVlanChanges),
               "VLAN stripping cannot be switched off", log);
}

Result<void> Port::set_device_mtu(uint32_t mtu_bytes) {
  if (linux_) return linux_->set_mtu(mtu_bytes);
  DpdkLogCapture log;
  const int error = rte_eth_dev_set_mtu(id_, static_cast<uint16_t>(mtu_bytes));
  // A device without an MTU of its own takes whatever rte_eth_dev_configure let pass: its longest frame.
  if (error == -ENOTSUP) return {};
  return check(error, fmt::format("MTU {}", mtu_bytes), log);
}

Result<void> Port::set_mtu(uint32_t mtu_bytes) {
  if (mtu_bytes < kSmallestMtu || mtu_bytes > largest_mtu_bytes_)
    return fail("port {}: an MTU of {} bytes is not possible while it is open, {} to {} are", device_,
                mtu_bytes, kSmallestMtu, largest_mtu_bytes_);
  Result<void> done = set_device_mtu(mtu_bytes);
  if (!done) return std::unexpected(std::move(done).error().with_context(fmt::format("port {}", device_)));
  mtu_bytes_ = mtu_bytes;
  return {};
}

bool Port::has_interrupts() const {
  DpdkLogCapture log;  // devices without them complain
  for (uint16_t queue = 0; queue < rx_queues_; ++queue)
    if (rte_eth_dev_rx_intr_ctl_q_get_fd(id_, queue) < 0 || rte_eth_dev_rx_intr_enable(id_, queue) != 0 ||
        rte_eth_dev_rx_intr_disable(id_, queue) != 0)
      return false;
  return true;
}

std::optional<int> Port::wait_fd(uint16_t queue) const {
  switch (wakeup_) {
    case Wakeup::kNone:
      return {};
    case Wakeup::kSocket:
      return linux_->queue(queue);
    case Wakeup::kInterrupt:
      return rte_eth_dev_rx_intr_ctl_q_get_fd(id_, queue);
  }
  return {};
}

void Port::arm(uint16_t queue) const {
  // A packet socket needs nothing: it is readable as long as its ring holds a frame.
  if (wakeup_ == Wakeup::kInterrupt) rte_eth_dev_rx_intr_enable(id_, queue);
}

void Port::disarm(uint16_t queue) const {
  if (wakeup_ == Wakeup::kSocket) AfPacketInterface::clear_error(linux_->queue(queue));
  if (wakeup_ != Wakeup::kInterrupt) return;
  rte_eth_dev_rx_intr_disable(id_, queue);
  pollfd event{.fd = rte_eth_dev_rx_intr_ctl_q_get_fd(id_, queue), .events = POLLIN, .revents = 0};
  uint64_t count;
  if (poll(&event, 1, 0) == 1 && read(event.fd, &count, sizeof(count)) < 0)
    return;  // somebody took it: as good
}

MacAddress Port::mac() const {
  MacAddress mac{};
  rte_ether_addr address;
  if (rte_eth_macaddr_get(id_, &address) == 0) std::copy_n(address.addr_bytes, mac.size(), mac.begin());
  return mac;
}

int Port::numa_node() const {
  return std::max(rte_eth_dev_socket_id(id_), 0);
}

bool Port::poll_link() {
  rte_eth_link link{};
  const bool up = linux_ ? linux_->is_running()
                         : rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  return std::exchange(link_up_, up) != up;
}

Result<void> Port::set_link(bool up) {
  if (linux_) return linux_->set_up(up);
  DpdkLogCapture log;
  const int error = up ? rte_eth_dev_set_link_up(id_) : rte_eth_dev_set_link_down(id_);
  if (error == -ENOTSUP) return {};
  return check(error, fmt::format("port {}: link {}", device_, up ? "up" : "down"), log);
}

PortStatistics Port::statistics() {
  if (linux_) missed_ += linux_->take_missed();
  rte_eth_stats s{};
  if (rte_eth_stats_get(id_, &s) != 0) s = {};
  return {.rx_packets = s.ipackets,
          .rx_bytes = s.ibytes,
          .tx_packets = s.opackets,
          .tx_bytes = s.obytes,
          .missed = s.imissed + missed_,
          .no_mbufs = s.rx_nombuf,
          .rx_errors = s.ierrors,
          .tx_errors = s.oerrors};
}

Port::Port(Port&& other) noexcept {
  *this = std::move(other);
}

Port& Port::operator=(Port&& other) noexcept {
  if (this == &other) return *this;
  close();
  device_ = std::move(other.device_);
  name_ = std::move(other.name_);
  id_ = std::exchange(other.id_, kNoPort);
  rx_queues_ = other.rx_queues_;
  tx_queues_ = other.tx_queues_;
  mtu_bytes_ = other.mtu_bytes_;
  largest_mtu_bytes_ = other.largest_mtu_bytes_;
  tx_offloads_ = other.tx_offloads_;
  wakeup_ = other.wakeup_;
  started_ = std::exchange(other.started_, false);
  link_up_ = other.link_up_;
  missed_ = other.missed_;
  linux_ = std::move(other.linux_);
  return *this;
}

Port::~Port() {
  close();
}

// Frees what waits in the receive queues: a virtual device's rings would take the mbufs with them.
void Port::drain() {
  rte_mbuf* burst[kBurst];
  for (uint16_t queue = 0; queue < rx_queues_; ++queue)
    for (int round = 0; round < 64; ++round) {  // net_null never runs dry
      const uint16_t n = rx_burst(queue, burst);
      if (n == 0) break;
      rte_pktmbuf_free_bulk(burst, n);
    }
}

void Port::close() {
  if (id_ == kNoPort) return;
  DpdkLogCapture log;  // nobody can do anything about it any more
  rte_eth_dev_info info{};
  const bool known = rte_eth_dev_info_get(id_, &info) == 0;
  if (started_) {
    drain();
    rte_eth_dev_stop(id_);
  }
  rte_eth_dev_close(id_);
  if (known) rte_dev_remove(info.device);
  id_ = kNoPort;
  started_ = false;
}

}  // namespace espalier::dataplane

// Ports over net_null, net_ring, and net_af_packet on a veth pair: gw0 is the gateway's end, far0 the other.
#include "dataplane/ports.hpp"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "dataplane/port_set.hpp"
#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/network_namespace.hpp"

namespace espalier::dataplane {
namespace {

const auto* const kNamespace = testing::AddGlobalTestEnvironment(new NamespaceEnvironment);
constexpr uint32_t kLargestMtu = 9000;

rte_mempool* pool() {
  static rte_mempool* const p =
      rte_pktmbuf_pool_create("test", 4095, 0, sizeof(Packet), mbuf_data_room(kLargestMtu), SOCKET_ID_ANY);
  return p;
}

PortOptions options(uint32_t mtu_bytes = 1500, uint16_t queues = 1) {
  static rte_mempool* pools[1];
  pools[0] = pool();
  return {.rx_queues = queues, .tx_queues = queues, .mtu_bytes = mtu_bytes, .pools = pools};
}

Port opened(std::string_view device, const PortOptions& o = options()) {
  Result<Port> port = Port::open(device, o);
  if (!port) throw std::runtime_error(port.error().text);
  return std::move(*port);
}

std::string error_of(std::string_view device, const PortOptions& o = options()) {
  const Result<Port> port = Port::open(device, o);
  return port ? "" : port.error().text;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

// A frame from one made-up host to another; `type` may be a VLAN tag's.
Frame frame_of(size_t bytes, uint8_t fill, uint16_t type = 0x88b5) {
  Frame frame(bytes, fill);
  const uint8_t header[14] = {
      2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type)};
  std::copy(std::begin(header), std::end(header), frame.begin());
  return frame;
}

rte_mbuf* mbuf_of(const Frame& frame) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool());
  std::copy(frame.begin(), frame.end(),
            reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size()))));
  return mbuf;
}

bool send(Port& port, const Frame& frame) {
  rte_mbuf* mbuf = mbuf_of(frame);
  if (port.tx_burst(0, {&mbuf, 1}) == 1) return true;
  rte_pktmbuf_free(mbuf);
  return false;
}

std::optional<Frame> receive_now(Port& port, uint16_t queue = 0) {
  rte_mbuf* mbuf;
  if (port.rx_burst(queue, {&mbuf, 1}) == 0) return {};
  const auto data = bytes(mbuf);
  Frame frame(data.begin(), data.end());
  rte_pktmbuf_free(mbuf);
  return frame;
}

std::optional<Frame> receive(Port& port, uint16_t queue = 0, int timeout_ms = 1000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  do
    if (std::optional<Frame> frame = receive_now(port, queue)) return frame;
  while (std::chrono::steady_clock::now() < end);
  return {};
}

bool readable(int fd, int timeout_ms = 0) {
  pollfd event{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&event, 1, timeout_ms) == 1;
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

int mtu_of(const char* interface) {
  const Fd control(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::string_view(interface).copy(request.ifr_name, IFNAMSIZ - 1);
  return ioctl(control.get(), SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : -1;
}

TEST(NullPort, ReceivesAndSends) {
  Port port = opened("net_null,size=100");
  EXPECT_EQ(port.rx_queues(), 1);
  EXPECT_FALSE(port.wait_fd(0)) << "it can only be polled";
  const auto frame = receive_now(port);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->size(), 100u);
  EXPECT_TRUE(send(port, frame_of(60, 1)));
  const PortStatistics stats = port.statistics();
  EXPECT_EQ(stats.rx_packets, 1u);
  EXPECT_EQ(stats.tx_packets, 1u);
}

TEST(NullPort, OpensAndClosesWithoutLoss) {
  const unsigned before = rte_mempool_avail_count(pool());
  uint16_t id = kNoPort;
  for (int i = 0; i < 20; ++i) {
    Port port = opened("net_null0", options(1500, 4));
    EXPECT_EQ(port.rx_queues(), 4);
    EXPECT_TRUE(id == kNoPort || port.id() == id) << "the number is free again";
    id = port.id();
    EXPECT_TRUE(receive_now(port, 3));
  }
  EXPECT_EQ(rte_mempool_avail_count(pool()), before);
}

TEST(NullPort, TwoOfAKindGetNumbers) {
  const Port a = opened("net_null"), b = opened("net_null,copy=1");
  EXPECT_NE(a.id(), b.id());
}

TEST(Port, ADeviceIsOpenedOnce) {
  std::optional<Port> first = opened("net_null7");
  EXPECT_TRUE(contains(error_of("net_null7"), "in use")) << error_of("net_null7");
  EXPECT_TRUE(receive_now(*first)) << "the first one is not hurt";
  first.reset();
  EXPECT_EQ(error_of("net_null7"), "");
}

TEST(Port, RefusesWhatIsNotThere) {
  EXPECT_TRUE(contains(error_of("net_nosuchdriver0"), "port net_nosuchdriver0: "));
  EXPECT_TRUE(contains(error_of("0000:fe:1f.7"), "port 0000:fe:1f.7: "));
  EXPECT_TRUE(contains(error_of("net_af_packet"), "names no interface"));
  EXPECT_TRUE(contains(error_of("net_af_packet,iface=nosuch0"), "No such device"));
  EXPECT_TRUE(contains(error_of("net_af_packet,iface=lo,qpairs=7"), "qpairs"));
}

TEST(Port, RefusesImpossibleMtus) {
  EXPECT_TRUE(contains(error_of("net_null", options(67)), "MTU of 67"));
  EXPECT_TRUE(contains(error_of("net_null", options(20000)), "needs mbufs of"));
  EXPECT_TRUE(contains(error_of("net_null", options(70000)), "MTU of 70000"));
  EXPECT_TRUE(contains(error_of("net_null", {.pools = {}}), "no mbuf pool"));
}

TEST(RingPort, LoopsBack) {
  const unsigned before = rte_mempool_avail_count(pool());
  for (int i = 0; i < 20; ++i) {
    Port port = opened("net_ring0", options(9000));
    const Frame sent = frame_of(9018, static_cast<uint8_t>(i));
    ASSERT_TRUE(send(port, sent));
    EXPECT_EQ(receive_now(port), sent);
    ASSERT_TRUE(send(port, sent)) << "and one that nobody receives: closing must free it";
  }
  EXPECT_EQ(rte_mempool_avail_count(pool()), before);
}

TEST(RingPort, LinkDownAndUp) {
  Port port = opened("net_ring0");
  EXPECT_TRUE(port.is_link_up());
  ASSERT_TRUE(port.set_link(false));
  EXPECT_TRUE(port.poll_link());
  EXPECT_FALSE(port.is_link_up());
  EXPECT_FALSE(port.poll_link()) << "no change";
  ASSERT_TRUE(port.set_link(true));
  EXPECT_TRUE(port.poll_link());
  EXPECT_TRUE(port.is_link_up());
}

TEST(RingPort, MovesLeaveNothingBehind) {
  Port a = opened("net_ring0");
  const uint16_t id = a.id();
  Port b = std::move(a);
  EXPECT_EQ(a.id(), kNoPort);
  EXPECT_EQ(b.id(), id);
  b = opened("net_null");
  EXPECT_EQ(error_of("net_ring0"), "") << "assignment closed it";
}

// Linux tells of a carrier a moment later.
bool link_becomes(Port& port, bool up) {
  for (int i = 0; i < 300 && port.is_link_up() != up; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const bool was_up = port.is_link_up(), changed = port.poll_link();
    EXPECT_EQ(changed, was_up != port.is_link_up());
  }
  return port.is_link_up() == up;
}

class VethPort : public testing::Test {
 protected:
  Port ready(const PortOptions& o = options()) {
    Port port = opened("net_af_packet,iface=gw0", o);
    EXPECT_TRUE(link_becomes(port, true)) << "opening brings the interface up";
    return port;
  }
  void SetUp() override {
    ASSERT_TRUE(
        run("ip link add gw0 numrxqueues 4 type veth peer name far0 numtxqueues 4 && ip link set far0 mtu "
            "9000 up"));
    far.emplace("far0");
  }
  void TearDown() override {
    far.reset();
    run("ip link del far0 2>/dev/null");
  }
  std::optional<RawSocket> far;
};

TEST_F(VethPort, CarriesFramesBothWays) {
  Port port = ready();
  const Frame in = frame_of(1514, 7), out = frame_of(1514, 9);
  ASSERT_TRUE(far->send(in));
  EXPECT_EQ(receive(port), in);
  ASSERT_TRUE(send(port, out));
  EXPECT_EQ(far->receive(), out);
  EXPECT_FALSE(receive(port, 0, 20)) << "what the port sent does not come back";
}

TEST_F(VethPort, HasTheInterfacesAddress) {
  ASSERT_TRUE(run("ip link set gw0 address 02:11:22:33:44:55"));
  EXPECT_EQ(ready().mac(), (MacAddress{2, 0x11, 0x22, 0x33, 0x44, 0x55}));
}

TEST_F(VethPort, KeepsVlanTags) {
  Port port = ready();
  Frame tagged = frame_of(1518, 3, kEtherTypeVlan);
  tagged[14] = 0;
  tagged[15] = 201;
  ASSERT_TRUE(far->send(tagged));
  EXPECT_EQ(receive(port), tagged);
  ASSERT_TRUE(send(port, tagged));
  EXPECT_EQ(far->receive(), tagged);
}

TEST_F(VethPort, IgnoresWhatTheHostSends) {
  Port port = ready();
  const RawSocket host("gw0");
  const Frame frame = frame_of(60, 5);
  ASSERT_TRUE(host.send(frame));
  EXPECT_EQ(far->receive(), frame);
  EXPECT_FALSE(receive(port, 0, 20));
}

// An IPv4 packet of 2 x 16 bytes in two fragments; `piece` 0 or 1.
Frame fragment(uint8_t piece) {
  Frame frame = frame_of(60, 0, kEtherTypeIpv4);
  const uint8_t ip[20] = {0x45,
                          0,
                          0,
                          36,
                          0x12,
                          0x34,
                          static_cast<uint8_t>(piece ? 0 : 0x20),
                          static_cast<uint8_t>(piece ? 2 : 0),
                          64,
                          kProtoUdp,
                          0,
                          0,
                          10,
                          0,
                          0,
                          1,
                          10,
                          0,
                          0,
                          2};
  std::copy(std::begin(ip), std::end(ip), frame.begin() + 14);
  const uint16_t sum = [&] {
    uint32_t s = 0;
    for (int i = 0; i < 20; i += 2) s += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return static_cast<uint16_t>(~s);
  }();
  frame[24] = static_cast<uint8_t>(sum >> 8);
  frame[25] = static_cast<uint8_t>(sum);
  return frame;
}

TEST_F(VethPort, FragmentsComeAsTheyAre) {
  Port port = ready();
  ASSERT_TRUE(far->send(fragment(0)));
  ASSERT_TRUE(far->send(fragment(1)));
  EXPECT_EQ(receive(port), fragment(0));
  EXPECT_EQ(receive(port), fragment(1));
}

TEST_F(VethPort, LargeMtu) {
  Port port = ready(options(9000));
  EXPECT_EQ(mtu_of("gw0"), 9000);
  const Frame frame = frame_of(9014, 1);
  ASSERT_TRUE(far->send(frame));
  EXPECT_EQ(receive(port), frame);
  ASSERT_TRUE(send(port, frame));
  EXPECT_EQ(far->receive(), frame);
}

TEST_F(VethPort, MtuChangesWhileOpen) {
  Port port = ready();
  ASSERT_TRUE(port.set_mtu(1400));
  EXPECT_EQ(mtu_of("gw0"), 1400);
  ASSERT_TRUE(port.set_mtu(1900)) << "the rings have room for it";
  const Frame frame = frame_of(1914, 1);
  ASSERT_TRUE(far->send(frame));
  EXPECT_EQ(receive(port), frame);
  EXPECT_FALSE(port.set_mtu(9000)) << "they have none for this";
  EXPECT_EQ(mtu_of("gw0"), 1900);
}

TEST_F(VethPort, MtusOfARefusedConfigurationArePutBack) {
  const auto port = std::make_shared<SharedPort>(ready());
  {
    MtuChanges refused;
    ASSERT_TRUE(refused.set(port, 1400));
    ASSERT_TRUE(refused.set(port, 1300));
    EXPECT_FALSE(refused.set(port, 9000));
    EXPECT_EQ(mtu_of("gw0"), 1300);
  }
  EXPECT_EQ(mtu_of("gw0"), 1500);
  {
    MtuChanges taken;
    ASSERT_TRUE(taken.set(port, 1400));
    taken.keep();
  }
  EXPECT_EQ(mtu_of("gw0"), 1400);
}

TEST_F(VethPort, LinkFollowsBothEnds) {
  Port port = ready();
  ASSERT_TRUE(run("ip link set far0 down"));
  EXPECT_TRUE(link_becomes(port, false));
  EXPECT_FALSE(port.poll_link()) << "no change";
  ASSERT_TRUE(run("ip link set far0 up"));
  EXPECT_TRUE(link_becomes(port, true));
  ASSERT_TRUE(port.set_link(false));
  EXPECT_TRUE(link_becomes(port, false));
  ASSERT_TRUE(port.set_link(true));
  EXPECT_TRUE(link_becomes(port, true));
  far.emplace("far0");
  const Frame frame = frame_of(60, 1);
  ASSERT_TRUE(far->send(frame));
  EXPECT_EQ(receive(port), frame) << "it carries frames again";
}

TEST_F(VethPort, AnInterfaceThatIsGoneIsDown) {
  Port port = ready();
  ASSERT_TRUE(run("ip link del far0"));
  EXPECT_TRUE(link_becomes(port, false));
  ASSERT_TRUE(run("ip link add gw0 type veth peer name far0 && ip link set gw0 up && ip link set far0 up"));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(port.poll_link()) << "another interface of the same name is not this port's";
}

TEST_F(VethPort, OpensAndClosesWithoutLoss) {
  { ready(); }
  const unsigned mbufs = rte_mempool_avail_count(pool());
  const size_t descriptors = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    Port port = ready(options(1500, 2));
    const Frame frame = frame_of(60, static_cast<uint8_t>(i));
    ASSERT_TRUE(far->send(frame));
    ASSERT_TRUE(send(port, frame));
    EXPECT_EQ(far->receive(), frame);
  }
  EXPECT_EQ(rte_mempool_avail_count(pool()), mbufs);
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST_F(VethPort, CountsWhatTheRingsMissed) {
  Port port = ready();
  constexpr uint64_t kSent = 3000;
  for (uint64_t i = 0; i < kSent; ++i) ASSERT_TRUE(far->send(frame_of(60, 1)));
  uint64_t received = 0;
  while (receive(port, 0, 20)) ++received;
  EXPECT_LT(received, kSent);
  EXPECT_EQ(port.statistics().missed, kSent - received);
  EXPECT_EQ(port.statistics().missed, kSent - received) << "asking twice changes nothing";
}

TEST_F(VethPort, WaitDescriptorTellsWhetherAFrameWaits) {
  Port port = ready();
  const int fd = port.wait_fd(0).value();
  for (int i = 0; i < 3000; ++i) {  // around the ring more than once
    port.arm(0);
    ASSERT_FALSE(readable(fd)) << i;
    ASSERT_TRUE(far->send(frame_of(60, 1)));
    ASSERT_TRUE(readable(fd, 1000)) << i;
    ASSERT_TRUE(readable(fd)) << "as long as it waits, " << i;
    port.disarm(0);
    ASSERT_TRUE(receive_now(port)) << i;
  }
}

// A frame that came before arm(), and one that comes between the last poll and the sleep.
TEST_F(VethPort, NoFrameIsMissedAroundArm) {
  Port port = ready();
  const int fd = port.wait_fd(0).value();
  ASSERT_TRUE(far->send(frame_of(60, 1)));
  port.arm(0);
  EXPECT_TRUE(readable(fd, 1000));
  ASSERT_TRUE(receive_now(port));
  EXPECT_FALSE(receive_now(port));
  ASSERT_TRUE(far->send(frame_of(60, 2)));
  EXPECT_TRUE(readable(fd, 1000));
  // A full ring is as readable as one with a frame in it.
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(far->send(frame_of(60, 3)));
  EXPECT_TRUE(readable(fd));
  while (receive_now(port)) continue;
  EXPECT_FALSE(readable(fd));
}

TEST_F(VethPort, ALinkThatWentDownDoesNotKeepTheDescriptorReadable) {
  Port port = ready();
  const int fd = port.wait_fd(0).value();
  ASSERT_TRUE(port.set_link(false));
  EXPECT_TRUE(readable(fd)) << "the kernel reports it as an error";
  port.disarm(0);
  EXPECT_FALSE(readable(fd));
}

// Each queue's descriptor is that of its own ring: flows spread over both, and a queue has frames exactly
// when its descriptor says so.
TEST_F(VethPort, EachQueueHasItsDescriptor) {
  Port port = ready(options(1500, 2));
  ASSERT_EQ(port.rx_queues(), 2);
  int frames[2] = {};
  for (uint8_t host = 0; host < 64; ++host) {
    Frame frame = fragment(0);
    frame[20] = 0;              // a whole packet: flows are told apart by their addresses
    frame[14 + 15] = host;      // the lowest byte of the source
    frame[24] = frame[25] = 0;  // no checksum: nobody looks at it
    ASSERT_TRUE(far->send(frame));
    ASSERT_TRUE(readable(*port.wait_fd(0)) || readable(*port.wait_fd(1), 1000));
    const uint16_t queue = readable(*port.wait_fd(0)) ? 0 : 1;
    ++frames[queue];
    ASSERT_FALSE(receive_now(port, 1 - queue));
    ASSERT_EQ(receive_now(port, queue), frame);
  }
  EXPECT_GT(frames[0], 5);
  EXPECT_GT(frames[1], 5);
}

using Clock = std::chrono::steady_clock;

// Sleeps as a worker does and notes when it received each frame.
std::vector<Clock::time_point> sleep_and_receive(Port& port, int frames) {
  const Fd epoll(epoll_create1(0));
  epoll_event event{.events = EPOLLIN, .data = {}};
  epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port.wait_fd(0).value(), &event);
  std::vector<Clock::time_point> times;
  while (static_cast<int>(times.size()) < frames) {
    port.arm(0);
    if (receive_now(port)) {
      times.push_back(Clock::now());
      continue;
    }
    epoll_wait(epoll.get(), &event, 1, -1);
    port.disarm(0);
  }
  return times;
}

TEST_F(VethPort, WakesUpFastAndSleepsForFree) {
  Port port = ready();
  constexpr int kFrames = 1000;
  std::vector<Clock::time_point> received;
  rusage used{};
  std::thread worker([&] {
    received = sleep_and_receive(port, kFrames);
    getrusage(RUSAGE_THREAD, &used);
  });
  std::vector<Clock::time_point> sent;
  for (int i = 0; i < kFrames; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    sent.push_back(Clock::now());
    EXPECT_TRUE(far->send(frame_of(60, 1)));
  }
  worker.join();
  std::vector<double> latency_us;
  for (int i = 0; i < kFrames; ++i)
    latency_us.push_back(std::chrono::duration<double, std::micro>(received[i] - sent[i]).count());
  std::ranges::sort(latency_us);
  const double cpu_us =
      (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
  const double elapsed_us = std::chrono::duration<double, std::micro>(received.back() - sent.front()).count();
  std::printf("wake-up: median %.0f us, p99 %.0f us; %.2f %% of a core at 500 packets a second\n",
              latency_us[kFrames / 2], latency_us[kFrames * 99 / 100], 100 * cpu_us / elapsed_us);
  // The promise is 100 us at the median on a machine of its own; this one is shared with other tests.
  EXPECT_LT(latency_us[kFrames / 2], 1000);
  EXPECT_LT(cpu_us / elapsed_us, 0.05);
}

// While a snapshot is published, one worker may still poll by the one before.
TEST(PortSet, AQueueStaysWithItsWorkerWhateverComesAndGoes) {
  constexpr uint16_t kWorkers = 3;
  std::vector<std::shared_ptr<SharedPort>> all;
  for (const char* device : {"net_null_s0", "net_null_s1", "net_null_s2"})
    all.push_back(std::make_shared<SharedPort>(opened(device)));
  const auto owners = [&](const PortSet& set) {
    std::map<std::pair<uint16_t, uint16_t>, uint16_t> owners;
    for (uint16_t w = 0; w < kWorkers; ++w)
      for (const ReceiveQueue& from : set.receive[w])
        EXPECT_TRUE(owners.emplace(std::pair(from.port->id(), from.queue), w).second);
    return owners;
  };
  const auto before = owners(PortSet(all, kWorkers));
  EXPECT_EQ(before.size(), 3u);
  for (const auto& some : {std::vector{all[1], all[2]}, std::vector{all[2], all[0]}, std::vector{all[1]}})
    for (const auto& [queue, worker] : owners(PortSet(some, kWorkers))) EXPECT_EQ(worker, before.at(queue));
}

}  // namespace
}  // namespace espalier::dataplane

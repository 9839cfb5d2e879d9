// The whole gateway of tunnel_fixture.hpp with an IKE process, which is the test: it has the other end of the
// channel, sends requests, and reads answers, events and datagrams.
#pragma once

#include <fcntl.h>

#include "control/shared/message_decode.hpp"
#include "tests/stage/tunnel_fixture.hpp"
#include "tests/unit/dataplane/ipv6_packets.hpp"

namespace espalier::test {

class IkeTest : public TunnelTest {
 protected:
  static constexpr uint32_t kReqid = 77;
  static constexpr size_t kRingSlots = 64;

  void SetUp() override {
    options_.ike = true;
    TunnelTest::SetUp();
    connect();
  }
  // A new channel: what an espalierd does for a new IKE process.
  void connect() {
    auto made = Channel::create(kRingSlots);
    ASSERT_TRUE(made) << made.error().text;
    channel_.emplace(*std::move(made));
    const auto fds = channel_->descriptors();
    const auto copy = [](int fd) { return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); };
    auto attached = Channel::attach({copy(fds[0]), copy(fds[1]), copy(fds[2])});
    ASSERT_TRUE(attached) << attached.error().text;
    bed_->attach_ike(*std::move(attached));
  }

  template <class Payload>
  uint64_t post(const Payload& payload) {
    EXPECT_TRUE(channel_->send(message::make(payload, ++last_id_, 1)));
    return last_id_;
  }
  void run() { bed_->run_until_idle(); }
  // What came since the last call, decoded as the IKE process does.
  std::vector<std::pair<uint64_t, message::ForIke>> take() {
    std::vector<std::pair<uint64_t, message::ForIke>> taken;
    message::Slot slot;
    while (channel_->receive(slot)) {
      auto decoded = message::decode_for_ike(slot);
      EXPECT_TRUE(decoded) << decoded.error();
      if (decoded) taken.emplace_back(slot.header.request_id, *decoded);
    }
    return taken;
  }
  // Those of one type.
  template <class Payload>
  std::vector<Payload> take_all() {
    std::vector<Payload> taken;
    for (const auto& [id, each] : take())
      if (const auto* payload = std::get_if<Payload>(&each)) taken.push_back(*payload);
    return taken;
  }
  // The answer to a request that is posted now; what else came is lost.
  template <class Answer, class Request>
  Answer ask(const Request& request) {
    const uint64_t id = post(request);
    run();
    for (const auto& [answered, each] : take())
      if (const auto* answer = std::get_if<Answer>(&each); answer && answered == id) return *answer;
    ADD_FAILURE() << "no answer";
    return {};
  }
  template <class Request>
  void expect_done(const Request& request) {
    const auto ack = ask<message::IkeAck>(request);
    EXPECT_TRUE(ack.ok) << ack.text.view();
  }
  template <class Request>
  void expect_refused(const Request& request, std::string_view why) {
    const auto ack = ask<message::IkeAck>(request);
    EXPECT_FALSE(ack.ok);
    EXPECT_NE(ack.text.view().find(why), std::string_view::npos) << ack.text.view();
  }

  // An SA as IKE makes it, with AES-128-GCM; the key is suites()'s of that SPI and seed.
  static message::IkeSa sa(uint32_t spi, Direction direction, uint8_t seed) {
    const EspKey key = gcm().key(spi, seed);
    SaRecord r;
    r.spi = Spi(spi);
    r.direction = direction;
    r.reqid = Reqid(kReqid);
    r.replay_window = 64;
    r.source =
        address(direction == Direction::kOut ? gateway_address(Layer::kIpv4) : peer_address(Layer::kIpv4));
    r.destination =
        address(direction == Direction::kOut ? peer_address(Layer::kIpv4) : gateway_address(Layer::kIpv4));
    std::copy_n(key.key.begin(), 16, r.key);
    std::copy_n(key.key.begin() + 16, 4, r.salt);
    r.name.assign("child");
    return {r};
  }
  static EspKey key(uint32_t spi, uint8_t seed) { return gcm().key(spi, seed); }
  static IpAddress address(const char* text) {
    return std::string_view(text).find(':') == std::string_view::npos ? IpAddress(parse_address(text))
                                                                      : address6(text);
  }
  static message::IkeSaRemove removal(const message::IkeSa& sa) {
    return {.spi = sa.record.spi, .direction = sa.record.direction, .destination = sa.record.destination};
  }

  // A tunnel of IKE's between lan0's network and the peer's, without SAs.
  static Configured policies() {
    const std::string out = tmpl("203.0.113.1", "203.0.113.2", kReqid),
                      in = tmpl("203.0.113.2", "203.0.113.1", kReqid);
    return {.policies = list({policy("out", "192.168.10.0/24", "10.10.10.0/24", out),
                              policy("fwd", "10.10.10.0/24", "192.168.10.0/24", in)})};
  }

  std::optional<Channel> channel_;
  uint64_t last_id_ = 0;
};

}  // namespace espalier::test

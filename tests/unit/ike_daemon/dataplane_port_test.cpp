// Messages to and from the dataplane, which the test plays at the other end of the rings.
#include "ike/daemon/dataplane_port.hpp"

#include <gtest/gtest.h>

#include "dataplane/ike_link.hpp"

namespace espalier::ike {
namespace {

using message::FromIke;

template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result) << result.error().text;
  return std::move(result).value();
}

Endpoint endpoint(uint32_t last, uint16_t port) {
  return {Ipv4Address::from_host(0xc0000200 + last), port};
}
Bytes numbered(size_t count) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return bytes;
}
InstallSa install_of(uint32_t spi) {
  InstallSa install;
  install.record.spi = Spi(spi);
  install.record.direction = Direction::kIn;
  install.record.reqid = Reqid(0x80000001);
  install.record.source = endpoint(2, 0).address, install.record.destination = endpoint(1, 0).address;
  install.record.key[0] = 0x5a;
  install.record.name.assign("B-tunnel-0");
  return install;
}

class DataplanePortTest : public ::testing::Test {
 protected:
  struct Sent {
    uint64_t id;
    FromIke message;
  };

  void connect(uint32_t slots = 1024) {
    dataplane_ = must(Channel::create(slots));
    const auto fds = dataplane_->descriptors();
    must(port_.attach(must(Channel::attach({Fd(::dup(fds[0])), Fd(::dup(fds[1])), Fd(::dup(fds[2]))}))));
  }
  static void must(Result<void> result) { ASSERT_TRUE(result) << result.error().text; }
  template <class T>
  static T must(Result<T> result) {
    return ike::must(std::move(result));
  }

  // What has arrived at the dataplane after some turns of the loop.
  std::vector<Sent> receive() {
    std::vector<Sent> messages;
    for (int turn = 0; turn < 20; ++turn) {
      loop_.run_once(milliseconds(1));
      message::Slot slot;
      while (dataplane_->receive(slot)) {
        const auto decoded = message::decode_from_ike(slot);
        EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error());
        if (decoded) messages.push_back({slot.header.request_id, *decoded});
      }
    }
    return messages;
  }
  template <class Payload>
  std::vector<std::pair<uint64_t, Payload>> received(const std::vector<Sent>& messages) {
    std::vector<std::pair<uint64_t, Payload>> result;
    for (const Sent& sent : messages)
      if (const auto* payload = std::get_if<Payload>(&sent.message)) result.emplace_back(sent.id, *payload);
    return result;
  }
  template <class Payload>
  void say(const Payload& payload, uint64_t id = 0) {
    ASSERT_TRUE(dataplane_->send(message::make(payload, id, 0)));
    for (int turn = 0; turn < 3; ++turn) loop_.run_once(milliseconds(1));
  }
  // Every part of a datagram as the dataplane cuts it.
  std::vector<message::IkeReceived> parts_of(const Endpoint& local, const Endpoint& remote,
                                             const Bytes& bytes) {
    std::vector<message::IkeReceived> parts;
    for (size_t offset = 0; offset < bytes.size(); offset += message::IkeDatagram::kPartBytes) {
      message::IkeDatagram& part = parts.emplace_back().part;
      part.local = local.address, part.local_port = local.port;
      part.remote = remote.address, part.remote_port = remote.port;
      part.total_bytes = static_cast<uint32_t>(bytes.size());
      part.offset = static_cast<uint32_t>(offset);
      part.part_bytes =
          static_cast<uint16_t>(std::min(bytes.size() - offset, message::IkeDatagram::kPartBytes));
      std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), part.part_bytes, part.bytes);
    }
    return parts;
  }
  void acknowledge(uint64_t id, bool ok, std::string_view text = "") {
    message::IkeAck ack;
    ack.ok = ok;
    ack.text.assign(text);
    say(ack, id);
  }

  struct Datagram {
    Endpoint local, remote;
    Bytes bytes;
  };
  EventLoop loop_ = ike::must(EventLoop::create());
  std::vector<Datagram> datagrams_;
  std::vector<Event> events_;
  std::vector<std::string> troubles_;
  int broken_ = 0;
  DataplanePort::Limits limits_{.datagram_parts = 64, .messages = 128};
  DataplanePort port_{loop_,
                      {[this](const Endpoint& local, const Endpoint& remote, ByteView bytes) {
                         datagrams_.push_back({local, remote, Bytes(bytes.begin(), bytes.end())});
                       },
                       [this](const Event& event) { events_.push_back(event); },
                       [this](const std::string& text) { troubles_.push_back(text); }, [this] { ++broken_; }},
                      limits_};
  std::optional<Channel> dataplane_;
};

TEST_F(DataplanePortTest, ADatagramIsSentInPartsThatAreItself) {
  connect();
  for (const size_t size : {1u, 415u, 416u, 417u, 832u, 3000u}) {
    const Bytes bytes = numbered(size);
    port_.send({endpoint(1, 4500), endpoint(2, 4501), bytes});
    Bytes joined;
    for (const auto& [id, sent] : received<message::IkeSend>(receive())) {
      EXPECT_EQ(id, 0u);
      EXPECT_EQ(sent.part.total_bytes, size);
      EXPECT_EQ(sent.part.offset, joined.size());
      EXPECT_EQ(sent.part.local, endpoint(1, 0).address);
      EXPECT_EQ(sent.part.local_port, 4500);
      EXPECT_EQ(sent.part.remote, endpoint(2, 0).address);
      EXPECT_EQ(sent.part.remote_port, 4501);
      joined.insert(joined.end(), sent.part.bytes, sent.part.bytes + sent.part.part_bytes);
    }
    EXPECT_EQ(joined, bytes);
  }
}

TEST_F(DataplanePortTest, PartsThatArriveBecomeOneDatagram) {
  connect();
  for (const size_t size : {1u, 416u, 417u, 5000u}) {
    for (const auto& part : parts_of(endpoint(1, 500), endpoint(9, 555), numbered(size))) say(part);
    ASSERT_EQ(datagrams_.size(), 1u);
    EXPECT_EQ(datagrams_[0].local, endpoint(1, 500));
    EXPECT_EQ(datagrams_[0].remote, endpoint(9, 555));
    EXPECT_EQ(datagrams_[0].bytes, numbered(size));
    datagrams_.clear();
  }
}

// A dataplane that died in the middle of a datagram, or one that lies.
TEST_F(DataplanePortTest, PartsThatDoNotFitAreLostAndTheNextDatagramIsNot) {
  connect();
  const auto parts = parts_of(endpoint(1, 500), endpoint(2, 500), numbered(1000));
  const auto others = parts_of(endpoint(1, 500), endpoint(3, 500), numbered(1000));
  const auto expect_loss = [&](std::vector<message::IkeReceived> sent, uint64_t refused) {
    const uint64_t before = port_.counters().parts_refused;
    for (const auto& part : sent) say(part);
    EXPECT_TRUE(datagrams_.empty());
    EXPECT_EQ(port_.counters().parts_refused, before + refused);
    for (const auto& part : parts) say(part);
    ASSERT_EQ(datagrams_.size(), 1u);
    EXPECT_EQ(datagrams_[0].bytes, numbered(1000));
    datagrams_.clear();
  };
  expect_loss({parts[0]}, 0);
  expect_loss({parts[0], parts[2]}, 1);
  expect_loss({parts[1]}, 1);
  expect_loss({parts[0], others[1]}, 1);
  expect_loss({parts[0], parts[0]}, 0);
  auto longer = parts[1];
  longer.part.total_bytes = 1200;
  expect_loss({parts[0], longer}, 1);
}

TEST_F(DataplanePortTest, SasLeaveInOrderAndTheirKeysAreWiped) {
  connect();
  InstallSa install = install_of(0x1001);
  port_.begin();
  port_.install(install);
  EXPECT_EQ(install.record.key[0], 0);
  port_.remove({Spi(0x1002), Direction::kOut, endpoint(2, 0).address});
  port_.commit();
  const auto sent = receive();
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_TRUE(std::holds_alternative<message::IkeBegin>(sent[0].message));
  const auto* sa = std::get_if<message::IkeSa>(&sent[1].message);
  ASSERT_NE(sa, nullptr);
  EXPECT_EQ(sa->record.spi, Spi(0x1001));
  EXPECT_EQ(sa->record.key[0], 0x5a);
  EXPECT_TRUE(std::holds_alternative<message::IkeSaRemove>(sent[2].message));
  const auto* commit = std::get_if<message::IkeCommit>(&sent[3].message);
  ASSERT_NE(commit, nullptr);
  EXPECT_EQ(commit->sas, 1u);
  for (const Sent& each : sent) acknowledge(each.id, true);
  EXPECT_TRUE(events_.empty());
  EXPECT_TRUE(troubles_.empty());
}

TEST_F(DataplanePortTest, AMoveNamesTheSaAsItWas) {
  connect();
  MoveSa move;
  move.spi = Spi(0x2001);
  move.direction = Direction::kOut;
  move.source = endpoint(1, 0).address, move.destination = endpoint(20, 0).address;
  move.encap_source_port = 4500, move.encap_destination_port = 4502;
  move.old_destination = endpoint(2, 0).address;
  port_.move(move);
  const auto sent = received<message::IkeSaMove>(receive());
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].second.destination, endpoint(2, 0).address);
  EXPECT_EQ(sent[0].second.new_destination, endpoint(20, 0).address);
  EXPECT_EQ(sent[0].second.new_source, endpoint(1, 0).address);
  EXPECT_EQ(sent[0].second.new_source_port, 4500);
  EXPECT_EQ(sent[0].second.new_destination_port, 4502);
}

TEST_F(DataplanePortTest, AnSaThatIsRefusedHasExpired) {
  connect();
  InstallSa install = install_of(0x1001);
  port_.install(install);
  const auto sent = received<message::IkeSa>(receive());
  ASSERT_EQ(sent.size(), 1u);
  acknowledge(sent[0].first, false, "the vault is full");
  ASSERT_EQ(events_.size(), 1u);
  const auto* expire = std::get_if<Expire>(&events_[0]);
  ASSERT_NE(expire, nullptr);
  EXPECT_EQ(expire->spi, Spi(0x1001));
  EXPECT_TRUE(expire->hard);
  EXPECT_EQ(expire->destination, endpoint(1, 0).address);
  EXPECT_EQ(port_.counters().requests_refused, 1u);
  EXPECT_NE(troubles_[0].find("the vault is full"), std::string::npos);
  acknowledge(sent[0].first, false);  // an answer to nothing
  EXPECT_EQ(events_.size(), 1u);
  EXPECT_EQ(port_.counters().messages_refused, 1u);
}

TEST_F(DataplanePortTest, QuestionsAreAnsweredByTheirId) {
  connect();
  std::vector<IpAddress> ways;
  port_.ask_way(endpoint(2, 0).address, [&](IpAddress local) { ways.push_back(local); });
  port_.ask_way(endpoint(3, 0).address, [&](IpAddress local) { ways.push_back(local); });
  port_.ask_use(Spi(0x1001));
  const auto sent = receive();
  ASSERT_EQ(sent.size(), 3u);
  say(message::IkeWayIs{endpoint(1, 0).address}, sent[1].id);
  say(message::IkeWayIs{}, sent[0].id);
  EXPECT_EQ(ways, (std::vector<IpAddress>{endpoint(1, 0).address, IpAddress{}}));
  message::IkeSaUse use;
  use.spi = Spi(0x1001);
  use.known = use.used = 1;
  use.packets = 5, use.bytes = 500, use.idle_ms = 1500;
  say(use, sent[2].id);
  ASSERT_EQ(events_.size(), 1u);
  const auto* told = std::get_if<SaUse>(&events_[0]);
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->packets, 5u);
  EXPECT_EQ(told->idle, milliseconds(1500));
}

TEST_F(DataplanePortTest, EventsReachTheCore) {
  connect();
  message::IkeAcquire acquire;
  acquire.reqid = Reqid(0x80000007);
  acquire.tuple.source = endpoint(1, 0).address, acquire.tuple.destination = endpoint(2, 0).address;
  say(acquire);
  message::IkeExpire expire;
  expire.spi = Spi(0x1001);
  expire.direction = Direction::kOut;
  expire.destination = endpoint(2, 0).address;
  say(expire);
  message::IkeMapping mapping;
  mapping.spi = Spi(0x2001);
  mapping.port = 1024;
  mapping.address = endpoint(4, 0).address;
  say(mapping);
  ASSERT_EQ(events_.size(), 3u);
  EXPECT_EQ(std::get<Acquire>(events_[0]).reqid, Reqid(0x80000007));
  EXPECT_EQ(std::get<Expire>(events_[1]).destination, endpoint(2, 0).address);
  EXPECT_FALSE(std::get<Expire>(events_[1]).hard);
  EXPECT_EQ(std::get<MappingChanged>(events_[2]).peer, endpoint(4, 1024));
}

TEST_F(DataplanePortTest, MessagesOfAnotherVersionAreRefusedAndCounted) {
  connect();
  message::Slot slot = message::make(message::IkeWayIs{}, 1, 0);
  slot.header.version += 1;
  ASSERT_TRUE(dataplane_->send(slot));
  receive();
  EXPECT_EQ(port_.counters().messages_refused, 1u);
  EXPECT_EQ(broken_, 0);
}

// The ring has 16 slots: what it has no room for waits, and arrives in order.
TEST_F(DataplanePortTest, AFullRingLosesNoSas) {
  connect(16);
  for (uint32_t n = 0; n < 100; ++n) {
    InstallSa install = install_of(0x1000 + n);
    port_.install(install);
  }
  const auto sent = received<message::IkeSa>(receive());
  ASSERT_EQ(sent.size(), 100u);
  for (uint32_t n = 0; n < 100; ++n) EXPECT_EQ(sent[n].second.record.spi, Spi(0x1000 + n));
}

TEST_F(DataplanePortTest, DatagramsBeyondTheLimitAreLost) {
  connect(16);
  for (int n = 0; n < 100; ++n) port_.send({endpoint(1, 500), endpoint(2, 500), numbered(400)});
  EXPECT_EQ(port_.counters().datagrams_lost, 36u);
  EXPECT_EQ(received<message::IkeSend>(receive()).size(), 64u);
  port_.send({endpoint(1, 500), endpoint(2, 500), Bytes()});
  port_.send({endpoint(1, 500), endpoint(2, 500), numbered(70000)});
  EXPECT_EQ(port_.counters().datagrams_lost, 38u);
}

// A dataplane that takes nothing is dead to us; espalierd brings another channel.
TEST_F(DataplanePortTest, ADataplaneThatTakesNothingIsGivenUp) {
  connect(16);
  for (uint32_t n = 0; n < 200 && broken_ == 0; ++n) {
    InstallSa install = install_of(0x1000 + n);
    port_.install(install);
  }
  EXPECT_EQ(broken_, 1);
  EXPECT_FALSE(port_.attached());
}

TEST_F(DataplanePortTest, NonsenseInTheRingIsNoticed) {
  connect();
  const auto raw = must(Segment::attach(Fd(::dup(dataplane_->descriptors()[0])), sizeof(RingPositions) * 2));
  reinterpret_cast<RingPositions*>(raw.data())[0].head.store(uint64_t{1} << 40);
  InstallSa install = install_of(0x1001);
  port_.install(install);
  for (int turn = 0; turn < 5; ++turn) loop_.run_once(milliseconds(1));
  EXPECT_EQ(broken_, 1);
  EXPECT_FALSE(port_.attached());
}

// Else it would wait for ever for datagrams and answers, and nobody would make another channel.
TEST_F(DataplanePortTest, ADataplaneThatGivesTheChannelUpIsNoticed) {
  connect(16);
  loop_.run_once(milliseconds(1));
  const auto fds = dataplane_->descriptors();
  dataplane::IkeLink link;
  link.attach(must(Channel::attach_as_creator({Fd(::dup(fds[0])), Fd(::dup(fds[1])), Fd(::dup(fds[2]))})));
  for (size_t n = 0; n < dataplane::IkeLink::kMostSlots + 17; ++n) link.send(message::IkeWayIs{}, 1, 0);
  EXPECT_EQ(link.look_after(1), "too much waits for it");
  EXPECT_FALSE(link.connected());
  for (int turn = 0; turn < 5; ++turn) loop_.run_once(milliseconds(1));
  EXPECT_EQ(broken_, 1);
  EXPECT_FALSE(port_.attached());
}

// It asks for use every few seconds, and a dataplane may be away for long.
TEST_F(DataplanePortTest, WithoutAChannelUseIsNotAskedFor) {
  for (int n = 0; n < 10; ++n) port_.ask_use(Spi(0x1001));
  connect();
  port_.begin();
  port_.commit();
  EXPECT_TRUE(received<message::IkeSaAsk>(receive()).empty());
}

// Another dataplane: SAs are named anew by the core, questions are asked again.
TEST_F(DataplanePortTest, ANewChannelBeginsAnew) {
  connect();
  InstallSa install = install_of(0x1001);
  port_.install(install);
  std::vector<IpAddress> ways;
  port_.ask_way(endpoint(2, 0).address, [&](IpAddress local) { ways.push_back(local); });
  port_.ask_use(Spi(0x1001));
  receive();
  port_.detach();
  install = install_of(0x1002);
  port_.install(install);  // nobody hears it
  EXPECT_EQ(install.record.key[0], 0);
  port_.send({endpoint(1, 500), endpoint(2, 500), numbered(10)});
  EXPECT_EQ(port_.counters().datagrams_lost, 1u);
  connect();
  port_.begin();
  install = install_of(0x1003);
  port_.install(install);
  port_.commit();
  const auto sent = receive();
  ASSERT_EQ(sent.size(), 5u);
  EXPECT_EQ(std::get<message::IkeSa>(sent[1].message).record.spi, Spi(0x1003));
  EXPECT_EQ(std::get<message::IkeCommit>(sent[2].message).sas, 1u);
  for (const auto& [id, way] : received<message::IkeWay>(sent))
    say(message::IkeWayIs{endpoint(1, 0).address}, id);
  EXPECT_EQ(ways.size(), 1u);
  EXPECT_EQ(received<message::IkeSaAsk>(sent).size(), 1u);
}

}  // namespace
}  // namespace espalier::ike

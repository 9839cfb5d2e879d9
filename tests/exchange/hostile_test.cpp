// What nobody may do to a core: strangers who forge, change, repeat and flood; and a peer that has the keys
// and breaks the rules. After each attack the core must still talk to its true peer, with no more state and
// no more answers than the attack was worth.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "tests/exchange/raw_peer.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::ike::test {
namespace {

using espalier::test::from_hex;

Endpoint at(uint32_t address, uint16_t port = 500) {
  return {Ipv4Address::from_host(address), port};
}
const Endpoint kCore = at(0xc6336403), kPeer = at(0xcb007102), kStranger = at(0xc0000209, 1024);
constexpr std::string_view kKey = "SomePreSharedKey";

Notify notify(NotifyType type, Bytes data = {}) {
  return {type, ProtocolId::kNone, {}, std::move(data)};
}

ConnectionConfig site() {
  ConnectionConfig connection;
  connection.name = "site";
  connection.local = kCore.address;
  connection.remotes = {"any"};
  connection.local_id = parse_identity("hub.example.org").value();
  connection.suites = {kRawSuite};
  ChildConfig child;
  child.name = "tunnel-0";
  child.suites = {kRawEsp};
  child.local.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a000000), 24)};
  child.remote.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a010000), 24)};
  child.reqid = Reqid{7};
  connection.children = {child};
  return connection;
}

class Hostile : public testing::Test {
 protected:
  struct Effects {
    std::vector<SendDatagram> sent;
    size_t installed = 0, removed = 0, saved = 0, moved = 0;
    size_t bytes() const {
      size_t sum = 0;
      for (const SendDatagram& each : sent) sum += each.bytes.size();
      return sum;
    }
  };

  Hostile() { reset(); }

  // A fresh core that waits for peers, or with one remote address for that one.
  void reset(const std::string& remote = "any") {
    CoreOptions options;
    options.random = [this] { return random_(); };
    options.wall_clock = [] { return std::chrono::system_clock::time_point(std::chrono::hours(500000)); };
    core_ = std::make_unique<Core>(std::move(options));
    Configuration configuration;
    configuration.connections.push_back(site());
    configuration.connections[0].remotes = {remote};
    configuration.keys.push_back(
        {"site", {}, crypto::Secret(ByteView(reinterpret_cast<const uint8_t*>(kKey.data()), kKey.size()))});
    core_->configure(std::move(configuration), now_);
    peer_.emplace(random_(), "gw.example.org", kKey);
    next_id_ = 0;
    core_->take_outputs();
  }

  Effects outputs() {
    Effects effects;
    for (Output& output : core_->take_outputs()) {
      if (auto* sent = std::get_if<SendDatagram>(&output)) effects.sent.push_back(std::move(*sent));
      effects.installed += std::holds_alternative<InstallSa>(output);
      effects.removed += std::holds_alternative<RemoveSa>(output);
      effects.saved += std::holds_alternative<SaveStates>(output);
      effects.moved += std::holds_alternative<MoveSa>(output);
    }
    return effects;
  }
  Effects deliver(ByteView datagram, const Endpoint& from = kPeer) {
    core_->receive(kCore, from, datagram, now_);
    return outputs();
  }

  void open_half() {
    const Effects effects = deliver(peer_->init_bytes());
    ASSERT_EQ(effects.sent.size(), 1u);
    peer_->take_init_response(effects.sent[0].bytes);
    next_id_ = 1;
  }
  void establish() {
    open_half();
    const Effects effects = deliver(peer_->auth_request());
    ASSERT_EQ(effects.sent.size(), 1u);
    ASSERT_NE(peer_->open(effects.sent[0].bytes).find<Authentication>(), nullptr);
    ASSERT_EQ(effects.installed, 2u);
    next_id_ = 2;
  }
  Message ask(ExchangeType exchange, std::vector<Payload> payloads) {
    const Effects effects = deliver(peer_->request(exchange, std::move(payloads), next_id_++));
    return effects.sent.size() == 1 ? peer_->open(effects.sent[0].bytes)
                                    : throw std::runtime_error("no answer");
  }
  // The IKE SA and its child are there and answer.
  void expect_alive(const char* after) {
    SCOPED_TRACE(after);
    const auto sas = core_->ike_sas(now_);
    ASSERT_EQ(sas.size(), 1u);
    EXPECT_EQ(sas[0].state, IkeState::kEstablished);
    EXPECT_EQ(sas[0].children.size(), 1u);
    EXPECT_EQ(sas[0].remote_address, "203.0.113.2[500]");
    EXPECT_TRUE(ask(ExchangeType::kInformational, {}).payloads.empty());
  }
  void expect_nothing(const Effects& effects) {
    EXPECT_TRUE(effects.sent.empty());
    EXPECT_EQ(effects.installed + effects.removed + effects.moved, 0u);
  }

  std::mt19937_64 random_{4711};
  Time now_ = Time{} + std::chrono::hours(10);
  std::unique_ptr<Core> core_;
  std::optional<RawPeer> peer_;
  uint32_t next_id_ = 0;
};

// --- Strangers: they have seen the messages, but have no keys ---

TEST_F(Hostile, TheHarnessWorks) {
  establish();
  expect_alive("nothing");
}

TEST_F(Hostile, DamagedIkeSaInitIsAnsweredOnceAtMostAndNeverLarger) {
  const Bytes whole = peer_->init_bytes();
  for (size_t i = 0; i < whole.size(); ++i)
    for (const uint8_t change : {0x01, 0x80, 0xff}) {
      Bytes damaged = whole;
      damaged[i] ^= change;
      const Effects effects = deliver(damaged, at(0xc0000000 + static_cast<uint32_t>(i)));
      EXPECT_LE(effects.sent.size(), 1u);
      EXPECT_EQ(effects.installed, 0u);
      EXPECT_LE(effects.bytes(), 2 * damaged.size()) << "amplification, byte " << i;
    }
  for (size_t size = 0; size < whole.size(); ++size) expect_nothing(deliver(ByteView(whole).first(size)));
}

TEST_F(Hostile, RandomBytes) {
  establish();
  for (int i = 0; i < 3000; ++i) {
    Bytes noise(random_() % 200);
    for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random_());
    if (noise.size() > 20 && i % 2 == 0) {  // as if it belonged to the IKE SA
      const Bytes head = peer_->request(ExchangeType::kInformational, {}, next_id_);
      std::copy_n(head.begin(), 20, noise.begin());
    }
    const Effects effects = deliver(noise);  // at most INVALID_MAJOR_VERSION, 36 bytes
    EXPECT_LE(effects.bytes(), 36u);
    EXPECT_EQ(effects.installed + effects.removed + effects.moved, 0u);
  }
  expect_alive("noise");
}

TEST_F(Hostile, ForgedErrorsInClearKillNothing) {
  establish();
  for (const auto type :
       {NotifyType::kInvalidIkeSpi, NotifyType::kAuthenticationFailed, NotifyType::kInvalidSyntax,
        NotifyType::kNoProposalChosen, NotifyType::kInvalidMajorVersion, NotifyType::kTemporaryFailure})
    for (const bool response : {false, true})
      for (const auto exchange :
           {ExchangeType::kInformational, ExchangeType::kIkeAuth, ExchangeType::kIkeSaInit})
        for (const uint32_t id : {0u, 1u, next_id_, 0xffffffffu}) {
          Message forged{peer_->header(exchange, id, response), {notify(type)}};
          for (const bool initiator : {true, false}) {
            forged.header.initiator = initiator;
            const Effects effects = deliver(encode_clear(forged));
            EXPECT_EQ(effects.removed + effects.installed, 0u);
          }
        }
  for (const uint64_t spi : {peer_->initiator_spi, peer_->responder_spi}) {
    Message deletion{peer_->header(ExchangeType::kInformational, next_id_), {Delete{ProtocolId::kIke, {}}}};
    deletion.header.initiator_spi = spi;
    expect_nothing(deliver(encode_clear(deletion)));
  }
  expect_alive("forged errors");
}

TEST_F(Hostile, ADamagedEncryptedMessageIsNoMessage) {
  establish();
  const Bytes whole = peer_->request(ExchangeType::kInformational, {Delete{ProtocolId::kIke, {}}}, next_id_);
  for (size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes damaged = whole;
      damaged[i] ^= 1 << bit;
      const Effects effects = deliver(damaged);
      EXPECT_EQ(effects.removed, 0u) << "byte " << i;
    }
  for (size_t size = 0; size < whole.size(); ++size) expect_nothing(deliver(ByteView(whole).first(size)));
  expect_alive("damaged messages");
}

// A datagram that is not authentic must not cost a saved state each.
TEST_F(Hostile, ForgeriesSaveNothing) {
  establish();
  Bytes forged = peer_->request(ExchangeType::kInformational, {}, next_id_);
  forged.back() ^= 1;
  EXPECT_EQ(deliver(forged).saved, 0u);
  EXPECT_EQ(deliver(peer_->request(ExchangeType::kInformational, {}, next_id_ + 5)).saved, 0u)
      << "outside the window";
  expect_alive("forgeries");
}

TEST_F(Hostile, ReplaysAreAnsweredWithTheSameBytesAndOldOnesNotAtAll) {
  open_half();
  const Bytes auth = peer_->auth_request();
  const Effects first = deliver(auth), again = deliver(auth);
  ASSERT_EQ(again.sent.size(), 1u);
  EXPECT_EQ(again.sent[0].bytes, first.sent.at(0).bytes);
  EXPECT_EQ(again.installed, 0u);
  next_id_ = 2;
  const Bytes check = peer_->request(ExchangeType::kInformational, {}, next_id_++);
  const Effects answered = deliver(check);
  EXPECT_EQ(deliver(check).sent.at(0).bytes, answered.sent.at(0).bytes);
  expect_nothing(deliver(auth));  // its answer is not kept any more
  // The same id with other bytes gets the kept answer too: the request is not worked on a second time.
  const Effects other =
      deliver(peer_->request(ExchangeType::kInformational, {Delete{ProtocolId::kIke, {}}}, next_id_ - 1));
  EXPECT_EQ(other.sent.at(0).bytes, answered.sent.at(0).bytes);
  EXPECT_EQ(other.removed, 0u);
  expect_alive("replays");
}

TEST_F(Hostile, OutsideTheWindowNothingIsHeard) {
  establish();
  for (const uint32_t id : {next_id_ + 1, next_id_ + 2, next_id_ + 1000, 0x7fffffffu, 0xffffffffu, 0u})
    expect_nothing(deliver(peer_->request(ExchangeType::kInformational, {Delete{ProtocolId::kIke, {}}}, id)));
  for (const uint32_t id : {0u, 1u, next_id_, 0xffffffffu})  // answers to what nobody asked
    expect_nothing(
        deliver(peer_->response(ExchangeType::kInformational, {Delete{ProtocolId::kIke, {}}}, id)));
  expect_alive("wrong message ids");
}

TEST_F(Hostile, ItsOwnMessagesComeBack) {
  open_half();
  const Bytes auth = peer_->auth_request();
  const Bytes answer = deliver(auth).sent.at(0).bytes;
  next_id_ = 2;
  expect_nothing(deliver(answer));
  ASSERT_TRUE(core_->command(Rekey{"site", "tunnel-0"}, now_));
  const Effects asked = outputs();
  ASSERT_EQ(asked.sent.size(), 1u);
  expect_nothing(deliver(asked.sent[0].bytes));
  Bytes turned = asked.sent[0].bytes;
  turned[19] ^= 0x28;  // the flags I and R: the ICV covers them
  expect_nothing(deliver(turned));
}

TEST_F(Hostile, WrongSpis) {
  establish();
  const Bytes whole = peer_->request(ExchangeType::kInformational, {}, next_id_);
  for (const size_t begin : {0u, 8u}) {
    Bytes zero = whole, other = whole;
    std::fill_n(zero.begin() + begin, 8, 0);
    other[begin] ^= 0x40;
    expect_nothing(deliver(zero));
    expect_nothing(deliver(other));
  }
  Bytes swapped = whole;
  std::swap_ranges(swapped.begin(), swapped.begin() + 8, swapped.begin() + 8);
  expect_nothing(deliver(swapped));
  expect_alive("wrong SPIs");
}

// Without a NAT an authentic message from elsewhere (repeated by somebody who saw it) moves nothing.
TEST_F(Hostile, MessagesFromElsewhereMoveNothing) {
  establish();
  const Effects effects = deliver(peer_->request(ExchangeType::kInformational, {}, next_id_++), kStranger);
  EXPECT_EQ(effects.moved, 0u);
  expect_alive("a message from elsewhere");
}

TEST_F(Hostile, AnotherVersionIsToldOurs) {
  Bytes request = peer_->init_bytes();
  request[17] = 0x30;
  for (uint8_t i = 0; i < 4; ++i) request[20 + i] = 1 + i, request[8 + i] = 5 + i;
  const Effects effects = deliver(request);
  ASSERT_EQ(effects.sent.size(), 1u);
  const auto envelope = parse_envelope(effects.sent[0].bytes);
  ASSERT_TRUE(envelope);
  const auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  ASSERT_TRUE(payloads);
  EXPECT_TRUE(envelope->header.response);
  EXPECT_EQ(envelope->header.message_id, 0x01020304u);
  EXPECT_EQ(envelope->header.responder_spi, 0x0506070800000000u);
  EXPECT_NE((Message{envelope->header, *payloads}.notify(NotifyType::kInvalidMajorVersion)), nullptr);
  EXPECT_TRUE(core_->ike_sas(now_).empty());
  request[19] |= 0x20;
  expect_nothing(deliver(request));  // an answer is never answered
}

// --- Before the peer is authenticated ---

TEST_F(Hostile, GarbageDoesNotEndAHalfOpenSa) {
  open_half();
  const Bytes auth = peer_->auth_request();
  for (size_t i = 28; i < auth.size(); i += 7) {
    Bytes garbage = auth;
    garbage[i] ^= 1;
    expect_nothing(deliver(garbage));
  }
  const Effects effects = deliver(auth);
  EXPECT_EQ(effects.installed, 2u);
}

TEST_F(Hostile, NothingButIkeAuthBeforeIkeAuth) {
  open_half();
  expect_nothing(deliver(peer_->request(ExchangeType::kInformational, {}, 1)));
  expect_nothing(deliver(peer_->request(ExchangeType::kCreateChildSa, peer_->auth_payloads(), 1)));
  EXPECT_EQ(deliver(peer_->auth_request()).installed, 2u);
}

TEST_F(Hostile, AWrongKeyLearnsNothingButThatItFailed) {
  peer_.emplace(random_(), "gw.example.org", "guessed");
  open_half();
  const Effects effects = deliver(peer_->auth_request());
  EXPECT_EQ(effects.installed, 0u);
  ASSERT_EQ(effects.sent.size(), 1u);
  const Message answer = peer_->open(effects.sent[0].bytes);
  ASSERT_EQ(answer.payloads.size(), 1u) << "no identity, no certificate";
  EXPECT_NE(answer.notify(NotifyType::kAuthenticationFailed), nullptr);
  EXPECT_TRUE(answer.notify(NotifyType::kAuthenticationFailed)->data.empty());
  next_id_ = 2;
  expect_nothing(deliver(peer_->request(ExchangeType::kCreateChildSa, peer_->auth_payloads(), 2)));
}

// Somebody in the middle takes an announcement away or puts a worse one in: AUTH covers the message as it was
// sent.
TEST_F(Hostile, ChangedOnTheWayIsNoticed) {
  const Bytes sent = peer_->init_bytes();
  Message changed = peer_->init_request();
  changed.payloads.pop_back();  // SIGNATURE_HASH_ALGORITHMS
  const Effects opened = deliver(encode_clear(changed));
  ASSERT_EQ(opened.sent.size(), 1u);
  peer_->take_init_response(opened.sent[0].bytes);
  const Effects effects = deliver(peer_->auth_request());
  EXPECT_EQ(effects.installed, 0u);
  EXPECT_NE(peer_->open(effects.sent.at(0).bytes).notify(NotifyType::kAuthenticationFailed), nullptr);
}

// --- Before we know whom we initiate with ---

class Initiating : public Hostile {
 protected:
  Initiating() {
    reset("203.0.113.2");
    core_->command(Initiate{"site", ""}, now_).value();
    const Effects effects = outputs();
    request_ = effects.sent.at(0).bytes;
    const auto envelope = parse_envelope(request_);
    decoded_ = {envelope->header, parse_payloads(envelope->first_payload, envelope->body).value()};
  }
  Bytes answer(std::vector<Payload> payloads, uint64_t responder_spi) const {
    Header header = decoded_.header;
    header.responder_spi = responder_spi;
    header.initiator = false;
    header.response = true;
    return encode_clear({header, std::move(payloads)});
  }
  // As the true peer, with `suite`.
  Bytes acceptance(const IkeSuite& suite) const {
    const auto key = crypto::KeyExchange::generate(suite.group).value();
    SecurityAssociation chosen = offer(std::span(&suite, 1));
    return answer(
        {chosen, KeyExchangeData{suite.group, {key.public_value().begin(), key.public_value().end()}},
         Nonce{Bytes(32, 9)}},
        0x1234);
  }
  static bool has_ike_auth(const Effects& effects) {
    return std::ranges::any_of(effects.sent, [](const SendDatagram& each) {
      return each.bytes.at(18) == static_cast<uint8_t>(ExchangeType::kIkeAuth);
    });
  }
  Bytes request_;
  Message decoded_;
};

TEST_F(Initiating, ForgedRefusalsDoNotStopIt) {
  for (const auto type : {NotifyType::kNoProposalChosen, NotifyType::kInvalidSyntax,
                          NotifyType::kAuthenticationFailed, NotifyType::kInvalidMajorVersion})
    EXPECT_FALSE(has_ike_auth(deliver(answer({notify(type)}, 0))));
  expect_nothing(deliver(answer({}, 0x99)));
  now_ += milliseconds(200);
  core_->tick(now_);
  outputs();
  EXPECT_TRUE(has_ike_auth(deliver(acceptance(kRawSuite)))) << "the true answer came soon after";
}

TEST_F(Initiating, ForgedRefusalsDoNotKeepItWaiting) {
  for (int i = 0; i < 30; ++i) {
    deliver(answer({notify(NotifyType::kNoProposalChosen)}, 0));
    now_ += seconds(1);
    core_->tick(now_);
    outputs();
  }
  EXPECT_FALSE(core_->connections(now_).front().last_failure.empty());
}

TEST_F(Initiating, NothingIsTakenThatWasNotOffered) {
  IkeSuite other = kRawSuite;
  other.protection.key_bytes = 16;
  EXPECT_FALSE(has_ike_auth(deliver(acceptance(other))));
  other = kRawSuite;
  other.group = 19;
  EXPECT_FALSE(has_ike_auth(deliver(acceptance(other))));
  EXPECT_TRUE(deliver(answer({notify(NotifyType::kInvalidKePayload, {0, 2})}, 0)).sent.empty()) << "group 2";
  EXPECT_TRUE(has_ike_auth(deliver(acceptance(kRawSuite))));
}

TEST_F(Initiating, AnswersOfOthersAreNotHeard) {
  const Bytes good = acceptance(kRawSuite);
  expect_nothing(deliver(good, kStranger));
  Bytes other_spi = good;
  other_spi[0] ^= 1;
  expect_nothing(deliver(other_spi));
  EXPECT_TRUE(has_ike_auth(deliver(good)));
}

// Whoever sends our own messages back must not get us to talk to ourselves: the pre-shared key would fit.
TEST_F(Initiating, AMirrorIsNoPeer) {
  std::vector<Bytes> flying{request_};
  size_t installed = 0;
  for (int round = 0; round < 20 && !flying.empty(); ++round) {
    std::vector<Bytes> next;
    for (const Bytes& each : flying) {
      Effects effects = deliver(each);
      installed += effects.installed;
      for (SendDatagram& sent : effects.sent) next.push_back(std::move(sent.bytes));
    }
    flying = std::move(next);
  }
  EXPECT_EQ(installed, 0u);
  for (const IkeSaReport& sa : core_->ike_sas(now_)) EXPECT_NE(sa.state, IkeState::kEstablished);
}

// --- A peer with the keys that breaks the rules ---

TEST_F(Hostile, UnknownCriticalPayloadsAreRefusedAndOthersPassedOver) {
  establish();
  const Bytes critical = from_hex("00800008deadbeef"), harmless = from_hex("00000008deadbeef");
  Effects effects = deliver(peer_->request_of(ExchangeType::kInformational, 200, critical, next_id_++));
  ASSERT_EQ(effects.sent.size(), 1u);
  const Message refused = peer_->open(effects.sent[0].bytes);
  ASSERT_NE(refused.notify(NotifyType::kUnsupportedCriticalPayload), nullptr);
  EXPECT_EQ(refused.notify(NotifyType::kUnsupportedCriticalPayload)->data, Bytes{200});
  expect_alive("an unknown critical payload");
  effects = deliver(peer_->request_of(ExchangeType::kInformational, 200, harmless, next_id_++));
  ASSERT_EQ(effects.sent.size(), 1u);
  EXPECT_TRUE(peer_->open(effects.sent[0].bytes).payloads.empty());
  expect_alive("an unknown payload");
}

TEST_F(Hostile, EveryCutOfARekeyRequest) {
  const std::vector<Payload> payloads{Notify{NotifyType::kRekeySa, ProtocolId::kEsp, {0, 0, 0x10, 0}, {}},
                                      offer(std::span(&kRawEsp, 1), Spi{0x2000}, true), Nonce{Bytes(32, 5)},
                                      TrafficSelectors{true, selectors_of("10.1.0.0/24")},
                                      TrafficSelectors{false, selectors_of("10.0.0.0/24")}};
  const Encoded whole = encode_payloads(payloads);
  for (size_t size = 0; size < whole.bytes.size(); size += 3) {
    reset();
    establish();
    const ByteView cut = ByteView(whole.bytes).first(size);
    const Effects effects =
        deliver(peer_->request_of(ExchangeType::kCreateChildSa, whole.first, cut, next_id_++));
    EXPECT_EQ(effects.installed, 0u);
    EXPECT_LE(effects.sent.size(), 1u);
  }
}

TEST_F(Hostile, EveryByteOfARekeyRequest) {
  const std::vector<Payload> payloads{Notify{NotifyType::kRekeySa, ProtocolId::kEsp, {0, 0, 0x10, 0}, {}},
                                      offer(std::span(&kRawEsp, 1), Spi{0x2000}, true), Nonce{Bytes(32, 5)},
                                      TrafficSelectors{true, selectors_of("10.1.0.0/24")},
                                      TrafficSelectors{false, selectors_of("10.0.0.0/24")}};
  const Encoded whole = encode_payloads(payloads);
  reset();
  establish();
  for (size_t i = 0; i < whole.bytes.size(); ++i)
    for (const uint8_t change : {0x01, 0x7f, 0x80, 0xff}) {
      Bytes changed = whole.bytes;
      changed[i] ^= change;
      deliver(peer_->request_of(ExchangeType::kCreateChildSa, whole.first, changed, next_id_++));
      ASSERT_LE(core_->ike_sas(now_).size(), 2u);
      const auto sas = core_->ike_sas(now_);
      if (!sas.empty() && sas[0].state == IkeState::kEstablished && sas[0].children.size() < 8) continue;
      reset();
      establish();
    }
}

TEST_F(Hostile, DeletesOfWhatIsNotThere) {
  establish();
  const std::vector<Delete> deletes{{ProtocolId::kEsp, {Spi{0}, Spi{0xffffffff}, Spi{0x01020304}}},
                                    {ProtocolId::kEsp, std::vector<Spi>(4000, Spi{0x09090909})},
                                    {ProtocolId::kAh, {Spi{0x1000}}}};
  for (const Delete& each : deletes) {
    const Message answer = ask(ExchangeType::kInformational, {each});
    EXPECT_EQ(answer.find<Delete>(), nullptr);
  }
  expect_alive("deletes");
}

TEST_F(Hostile, RekeyOfWhatIsNotThere) {
  establish();
  const Message answer = ask(ExchangeType::kCreateChildSa,
                             {Notify{NotifyType::kRekeySa, ProtocolId::kEsp, {9, 9, 9, 9}, {}},
                              offer(std::span(&kRawEsp, 1), Spi{0x2000}, true), Nonce{Bytes(32, 5)},
                              TrafficSelectors{true, selectors_of("10.1.0.0/24")},
                              TrafficSelectors{false, selectors_of("10.0.0.0/24")}});
  EXPECT_NE(answer.notify(NotifyType::kChildSaNotFound), nullptr);
  expect_alive("a rekey of nothing");
}

// A peer may ask for as many children as it likes; it does not get as many.
TEST_F(Hostile, ChildrenWithoutEnd) {
  establish();
  for (uint32_t i = 0; i < 300; ++i) {
    const Bytes request =
        peer_->request(ExchangeType::kCreateChildSa,
                       {offer(std::span(&kRawEsp, 1), Spi{0x3000 + i}, true), Nonce{Bytes(32, 5)},
                        TrafficSelectors{true, selectors_of("10.1.0.0/24")},
                        TrafficSelectors{false, selectors_of("10.0.0.0/24")}},
                       next_id_);
    const Effects effects = deliver(request);
    if (effects.sent.empty()) break;
    ++next_id_;
    now_ += milliseconds(1);
  }
  const auto sas = core_->ike_sas(now_);
  ASSERT_EQ(sas.size(), 1u);
  EXPECT_LE(sas[0].children.size(), 20u);
}

TEST_F(Hostile, UnwantedSelectorsAreNotInstalled) {
  establish();
  const Message answer = ask(ExchangeType::kCreateChildSa,
                             {offer(std::span(&kRawEsp, 1), Spi{0x4000}, true), Nonce{Bytes(32, 5)},
                              TrafficSelectors{true, selectors_of("0.0.0.0/0")},
                              TrafficSelectors{false, selectors_of("172.16.0.0/12")}});
  EXPECT_NE(answer.notify(NotifyType::kTsUnacceptable), nullptr);
  expect_alive("unwanted selectors");
}

// --- Floods ---

// Microseconds per datagram; printed, since a machine's speed proves nothing.
template <class Make>
double cost_us(Core& core, int count, Make make) {
  std::vector<std::pair<Bytes, Endpoint>> all;
  for (int i = 0; i < count; ++i) all.push_back(make(i));
  const Time now = Time{} + std::chrono::hours(10);
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& [datagram, from] : all) {
    core.receive(kCore, from, datagram, now);
    core.take_outputs();
    core.take_log();
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / count;
}

class Flood : public Hostile {
 protected:
  std::pair<Bytes, Endpoint> init(int i) {
    peer_->initiator_spi = random_() | 1;
    return {peer_->init_bytes(), at(0x0a000000 + static_cast<uint32_t>(i))};
  }
};

TEST_F(Flood, OfInitsIsBoundedByCookiesAndTheTruePeerComesThrough) {
  for (int i = 0; i < 2000; ++i) {
    const auto [datagram, from] = init(i);
    EXPECT_LE(deliver(datagram, from).sent.size(), 1u);
  }
  EXPECT_LE(core_->ike_sas(now_).size(), 32u) << "no state without a cookie";
  EXPECT_GE(core_->counters().cookies_asked, 1900u);
  peer_.emplace(random_(), "gw.example.org", kKey);
  const Bytes asked = deliver(peer_->init_bytes()).sent.at(0).bytes;
  const auto envelope = parse_envelope(asked);
  const Message question{envelope->header, parse_payloads(envelope->first_payload, envelope->body).value()};
  const Notify* cookie = question.notify(NotifyType::kCookie);
  ASSERT_NE(cookie, nullptr);
  const Bytes good = cookie->data;
  Bytes bad = good;
  bad.back() ^= 1;
  deliver(peer_->init_bytes(bad));
  const Effects opened = deliver(peer_->init_bytes(good));
  ASSERT_EQ(opened.sent.size(), 1u);
  peer_->take_init_response(opened.sent[0].bytes);
  EXPECT_EQ(deliver(peer_->auth_request()).installed, 2u);
  now_ += std::chrono::minutes(2);
  core_->tick(now_);
  outputs();
  EXPECT_LE(core_->ike_sas(now_).size(), 1u) << "half-open ones end";
}

// A wrong key costs a key exchange and more; who tries again and again is a half-open peer for a while each
// time, however soon it failed, and does not fill the log.
TEST_F(Flood, OfWrongKeysIsBounded) {
  size_t refused = 0, lines = 0;
  for (int i = 0; i < 200; ++i) {
    peer_.emplace(random_() | 1, "gw.example.org", "guessed");
    const Effects effects = deliver(peer_->init_bytes());
    ASSERT_EQ(effects.sent.size(), 1u);
    if (effects.sent[0].bytes.size() < 150) continue;  // a cookie is asked for
    peer_->take_init_response(effects.sent[0].bytes);
    refused += deliver(peer_->auth_request()).sent.size();
    lines += core_->take_log().size();
  }
  EXPECT_GE(refused, 4u);
  EXPECT_LE(refused, 16u);
  EXPECT_LE(lines, 21u);
  EXPECT_GE(core_->counters().cookies_asked, 180u);
  now_ += std::chrono::minutes(2);
  core_->tick(now_);
  outputs();
  peer_.emplace(random_() | 1, "gw.example.org", kKey);
  establish();
}

// The log is for the operator.
TEST_F(Flood, OfFailuresDoesNotFillTheLog) {
  size_t lines = 0;
  for (uint32_t i = 0; i < 30; ++i) {
    peer_.emplace(random_() | 1, "gw.example.org", "guessed");
    const Endpoint from = at(0x0a000000 + i);
    peer_->take_init_response(deliver(peer_->init_bytes(), from).sent.at(0).bytes);
    for (uint32_t id = 1; id < 20; ++id)
      deliver(peer_->request_of(ExchangeType::kIkeAuth, 200, from_hex("00800008deadbeef"), id), from);
    lines += core_->take_log().size();
  }
  EXPECT_GE(lines, 10u);
  EXPECT_LE(lines, 21u);
}

// A key that is no point of the curve: the exchange fails, but has cost one. Without a limit nobody needs a
// cookie.
TEST_F(Flood, OfInvalidKeysNeedsCookiesToo) {
  for (int i = 0; i < 300; ++i) {
    peer_->initiator_spi = random_() | 1;
    Message message = peer_->init_request();
    std::get<KeyExchangeData>(message.payloads[1]).data = Bytes(32, 0);
    deliver(encode_clear(message), at(0x0a000000 + static_cast<uint32_t>(i)));
  }
  EXPECT_GE(core_->counters().cookies_asked, 200u);
}

TEST_F(Flood, CostsPerDatagram) {
  const int count = 2000;
  const double first = cost_us(*core_, 32, [&](int i) { return init(i); });
  const double cookies = cost_us(*core_, count, [&](int i) { return init(i); });
  const double garbage = cost_us(*core_, count, [&](int) { return std::pair(Bytes(200, 0x41), kStranger); });
  reset();
  const double refused = cost_us(*core_, count, [&](int i) {
    auto [datagram, from] = init(i);
    IkeSuite other = kRawSuite;
    other.prf = crypto::Prf::kHmacSha512;
    Message message = peer_->init_request();
    message.payloads[0] = offer(std::span(&other, 1));
    return std::pair(encode_clear(message), from);
  });
  reset();
  establish();
  const Bytes good = peer_->request(ExchangeType::kInformational, {}, next_id_);
  const double forged = cost_us(*core_, count, [&](int i) {
    Bytes bad = good;
    bad[40 + i % 8] ^= 1;
    return std::pair(bad, kPeer);
  });
  const double unknown = cost_us(*core_, count, [&](int i) {
    Bytes bad = good;
    bad[8 + i % 8] ^= 1;
    return std::pair(bad, kPeer);
  });
  const double replayed = cost_us(*core_, count, [&](int) { return std::pair(good, kPeer); });
  std::printf(
      "us per datagram: key exchange %.1f, cookie asked %.1f, no proposal %.1f, garbage %.2f, unknown SPI "
      "%.2f, "
      "forged %.2f, replayed %.2f\n",
      first, cookies, refused, garbage, unknown, forged, replayed);
  EXPECT_LT(cookies, first) << "a cookie is to be cheaper than what it saves";
  expect_alive("floods");
}

}  // namespace
}  // namespace espalier::ike::test

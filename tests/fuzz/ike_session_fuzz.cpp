// A peer that has the keys and says what it likes, and everything else that happens to an IKE SA: its
// messages are sealed here, with payload headers that are right, so that what the fuzzer changes are the
// payloads, their order and their number, the exchanges, the message ids, and when what comes.
//
// The first byte says where it begins: 0 nothing yet (IKE_SA_INIT in clear), 1 half open, else established
// with a child. Then come steps; see take_step().
#include "tests/fuzz/fuzz_ike.hpp"

namespace {

using namespace espalier;
using namespace espalier::ike;
using namespace espalier::ike::test;

class Input {
 public:
  explicit Input(ByteView bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t first = rest_[0];
    rest_ = rest_.subspan(1);
    return first;
  }
  ByteView bytes(size_t count) {
    const ByteView taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  ByteView rest_;
};

struct Chain {
  uint8_t first = 0;
  Bytes bytes;
};

// Their number; of each its type, flags, length in two bytes, and body.
Chain chain_of(Input& in) {
  Chain chain;
  size_t next_at = 0;
  const size_t count = in.byte() % 32;
  for (size_t i = 0; i < count && !in.at_end(); ++i) {
    const uint8_t type = in.byte(), flags = in.byte();
    const size_t wanted = in.byte() | in.byte() << 8;
    const ByteView body = in.bytes(std::min<size_t>(wanted, 4096));
    const size_t length = body.size() + 4;
    (i == 0 ? chain.first : chain.bytes[next_at]) = type;
    next_at = chain.bytes.size();
    chain.bytes.insert(chain.bytes.end(),
                       {0, flags, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)});
    chain.bytes.insert(chain.bytes.end(), body.begin(), body.end());
  }
  return chain;
}

class Session {
 public:
  // Of what is adopted, without the cost of a key exchange for each input.
  Session(RawPeer& peer, const std::map<uint64_t, Bytes>& states) : peer_(peer) {
    if (!states.empty()) gateway_->adopt(states);
    next_id_ = states.empty() ? 0 : 2;
  }

  void open_half() {
    gateway_->receive(peer_.init_bytes());
    peer_.take_init_response(gateway_->sent().at(0));
    next_id_ = 1;
  }

  void check_reports() const { gateway_->check_reports(); }
  void take_step(Input& in) {
    switch (in.byte() % 8) {
      case 0:
        return take_request(in, next_id_);
      case 1:
        return take_request(in, next_id_ + in.byte() - 4u);
      case 2:
        return take_response(in);
      case 3:
        return take_init(in);
      case 4:
        return take_command(in.byte());
      case 5:
        return take_event(in.byte());
      case 6:
        for (int i = in.byte() % 16; i >= 0 && gateway_->advance(std::chrono::hours(10)); --i) continue;
        return;
      case 7:
        return restart();
    }
  }

 private:
  ExchangeType exchange(Input& in) {
    return static_cast<ExchangeType>(static_cast<uint8_t>(ExchangeType::kIkeSaInit) + in.byte() % 6);
  }
  void take_request(Input& in, uint32_t message_id) {
    if (peer_.responder_spi == 0) return;
    const ExchangeType type = exchange(in);
    const Chain chain = chain_of(in);
    const size_t before = gateway_->sent().size();
    gateway_->receive(peer_.request_of(type, chain.first, chain.bytes, message_id));
    if (message_id == next_id_ && gateway_->sent().size() > before) ++next_id_;
  }
  // To the last request of the gateway's, or to none.
  void take_response(Input& in) {
    if (peer_.responder_spi == 0) return;
    Header header{};
    for (const Bytes& datagram : gateway_->sent())
      if (const auto envelope = parse_envelope(datagram); envelope && !envelope->header.response)
        header = envelope->header;
    const ExchangeType type = header.initiator_spi == 0 ? exchange(in) : header.exchange;
    const Chain chain = chain_of(in);
    gateway_->receive(peer_.request_of(type, chain.first, chain.bytes, header.message_id, true));
  }
  void take_init(Input& in) {
    const Chain chain = chain_of(in);
    Header header{.initiator_spi = 0x99, .exchange = ExchangeType::kIkeSaInit, .initiator = true};
    header.response = in.byte() % 4 == 3;
    Bytes datagram;
    write_header(header, chain.first, kHeaderBytes + chain.bytes.size(), datagram);
    datagram.insert(datagram.end(), chain.bytes.begin(), chain.bytes.end());
    gateway_->receive(datagram);
  }
  void take_command(uint8_t which) {
    const std::string child = which % 2 != 0 ? "tunnel-0" : "";
    if (which / 2 % 3 == 0) return gateway_->command(Rekey{"site", child});
    if (which / 2 % 3 == 1) return gateway_->command(Initiate{"site", child});
    gateway_->command(Terminate{"site", child});
  }
  void take_event(uint8_t which) {
    const auto sas = gateway_->ike_sas();
    const bool has_child = !sas.empty() && !sas.back().children.empty();
    const ChildReport child = has_child ? sas.back().children.back() : ChildReport{};
    const auto side = which % 2 != 0 ? Direction::kIn : Direction::kOut;
    switch (which / 2 % 5) {
      case 0:
      case 1:
        return gateway_->event(Expire{side == Direction::kIn ? child.spi_in : child.spi_out, side,
                                      which / 2 % 5 == 1, (side == Direction::kIn ? kCore : kPeer).address});
      case 2:
        return gateway_->event(
            SaUse{child.spi_in, 1, 100, which % 2 != 0 ? std::optional(milliseconds{5}) : std::nullopt});
      case 3:
        return gateway_->event(MappingChanged{child.spi_in, kPeer});
      case 4:
        return which % 2 != 0 ? gateway_->event(DataplaneLost{}) : gateway_->event(DataplaneReady{});
    }
  }
  void restart() {
    gateway_->check_reports();
    auto next = std::make_unique<Gateway>(gateway_->now);
    require(next->adopt(gateway_->saved()), "what was saved is not adopted");
    gateway_ = std::move(next);
  }

  RawPeer& peer_;
  std::unique_ptr<Gateway> gateway_ = std::make_unique<Gateway>(kStart);
  uint32_t next_id_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 16384) return 0;
  Input in({data + 1, size - 1});
  static Established established;
  static const auto saved = established.gateway.saved();
  const bool fresh = data[0] < 2;
  std::optional<RawPeer> stranger;
  if (fresh) stranger.emplace(0x1234, kPeerName, kKey);
  Session session(fresh ? *stranger : established.peer, fresh ? std::map<uint64_t, Bytes>() : saved);
  if (data[0] == 1) session.open_half();
  for (int steps = 0; steps < 64 && !in.at_end(); ++steps) session.take_step(in);
  session.check_reports();
  return 0;
}

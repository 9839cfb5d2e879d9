// What a new espalier-ike finds in the shared memory: the states that the one before saved, or what became of
// them. Whatever is adopted has to be as good as if it had been agreed on: it is shown, installed, rekeyed,
// its timers run, its peer is answered, and what is saved of it can be adopted again.
//
// The first byte says what becomes of the rest: 0 a state as it is; 1 the body of one, behind the right
// magic, version and checksum; 2..5 changes of a true one, saved idle, while it rekeyed a child, while it
// rekeyed the IKE SA, and the two of a rekeying that was answered. A change is two bytes of offset and the
// new byte.
#include <cstring>

#include "control/shared/crc32c.hpp"
#include "tests/fuzz/fuzz_ike.hpp"

namespace {

using namespace espalier;
using namespace espalier::ike;
using namespace espalier::ike::test;

using States = std::map<uint64_t, Bytes>;

constexpr size_t kPrefixBytes = 12;  // magic, version, checksum of what follows

// --- True states ---

States idle() {
  return Established().gateway.saved();
}

States with_request(const Command& command) {
  Established site;
  site.gateway.command(command);
  require(site.gateway.sent().size() == 3, "nothing is rekeyed");
  return site.gateway.saved();
}

// The peer rekeyed the IKE SA: the old one waits for its delete.
States rekeyed() {
  Established site;
  const auto key = crypto::KeyExchange::generate(kRawSuite.group).value();
  const ByteView value = key.public_value();
  const Bytes spi(8, 0x77);
  site.gateway.receive(site.peer.request(ExchangeType::kCreateChildSa,
                                         {offer(std::span(&kRawSuite, 1), spi), Nonce{Bytes(32, 5)},
                                          KeyExchangeData{kRawSuite.group, {value.begin(), value.end()}}},
                                         2));
  require(site.gateway.saved().size() == 2, "the IKE SA is not rekeyed");
  return site.gateway.saved();
}

const States& true_states(uint8_t which) {
  static const States all[] = {idle(), with_request(Rekey{"site", "tunnel-0"}),
                               with_request(Rekey{"site", ""}), rekeyed()};
  return all[which];
}

// --- What becomes of them ---

void put_checksum(Bytes& state) {
  const uint32_t sum = crc32c(state.data() + kPrefixBytes, state.size() - kPrefixBytes);
  std::memcpy(state.data() + kPrefixBytes - sizeof sum, &sum, sizeof sum);
}

Bytes with_prefix(ByteView body) {
  const Bytes& one = true_states(0).begin()->second;
  Bytes state(one.begin(), one.begin() + kPrefixBytes);
  state.insert(state.end(), body.begin(), body.end());
  put_checksum(state);
  return state;
}

// Offsets count through all states, one behind the other.
States changed(States states, ByteView changes) {
  for (; changes.size() >= 3; changes = changes.subspan(3)) {
    size_t offset = changes[0] | changes[1] << 8;
    for (auto& [id, state] : states) {
      const size_t bytes = state.size() - kPrefixBytes;
      if (offset < bytes) state[kPrefixBytes + offset] = changes[2];
      offset -= std::min(offset, bytes);
      if (offset == 0) break;
    }
  }
  for (auto& [id, state] : states) put_checksum(state);
  return states;
}

States states_of(uint8_t kind, ByteView rest) {
  if (kind == 0) return {{1, {rest.begin(), rest.end()}}};
  if (kind == 1) return {{1, with_prefix(rest)}};
  return changed(true_states((kind - 2) % 4), rest);
}

void require_adoptable(const Gateway& gateway) {
  Gateway next(gateway.now);
  require(next.adopt(gateway.saved()), "what was saved is not adopted");
}

void live(Gateway& gateway) {
  gateway.check_reports();
  gateway.event(DataplaneReady{});
  gateway.receive(Bytes(100, 0x41));
  for (int i = 0; i < 8 && gateway.advance(std::chrono::hours(1)); ++i) continue;
  gateway.command(Rekey{"site", "tunnel-0"});
  gateway.command(Rekey{"site", ""});
  require_adoptable(gateway);
  gateway.check_reports();
  gateway.command(Terminate{"site", ""});
  for (int i = 0; i < 8 && gateway.advance(std::chrono::hours(1)); ++i) continue;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const States states = states_of(data[0], {data + 1, size - 1});
  Gateway gateway(kStart + seconds{1});
  const bool whole = gateway.adopt(states);
  require(whole || data[0] != 2 || size > 3, "a true state is not adopted");
  live(gateway);
  return 0;
}

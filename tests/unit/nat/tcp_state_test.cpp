#include "nat/tcp_state.hpp"

#include <fstream>
#include <sstream>

#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

constexpr auto kThere = FlowDirection::kOriginal;
constexpr auto kBack = FlowDirection::kReply;

TEST(TcpState, OpensAndClosesAsRfc9293Does) {
  TcpTrack t;
  ASSERT_TRUE(begin_tcp(t, kTcpSyn));
  EXPECT_EQ(t.state, TcpState::kSynSent);
  const struct {
    FlowDirection direction;
    int flags;
    TcpState after;
  } life[] = {{kBack, kTcpSyn | kTcpAck, TcpState::kSynRecv},
              {kThere, kTcpAck, TcpState::kEstablished},
              {kBack, kTcpAck | kTcpPsh, TcpState::kEstablished},
              {kThere, kTcpFin | kTcpAck, TcpState::kFinWait},
              {kBack, kTcpAck, TcpState::kCloseWait},
              {kBack, kTcpFin | kTcpAck, TcpState::kLastAck},
              {kThere, kTcpAck, TcpState::kTimeWait}};
  for (const auto& step : life) {
    EXPECT_EQ(advance_tcp(t, step.direction, static_cast<uint8_t>(step.flags)), TcpOutcome::kAdvanced);
    EXPECT_EQ(t.state, step.after);
  }
  EXPECT_EQ(advance_tcp(t, kThere, kTcpSyn), TcpOutcome::kReopened);
}

TEST(TcpState, OnlySynAndAckBeginAConnection) {
  for (int flags = 0; flags < 256; ++flags) {
    TcpTrack t;
    const int essence = flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpAck);
    EXPECT_EQ(begin_tcp(t, static_cast<uint8_t>(flags)), essence == kTcpSyn || essence == kTcpAck) << flags;
  }
}

// A challenge ACK to an ignored SYN does not end the connection; the RST that follows does.
TEST(TcpState, ChallengeAcksAreNotLastAcks) {
  TcpTrack t;
  t.state = TcpState::kLastAck;
  EXPECT_EQ(advance_tcp(t, kThere, kTcpSyn), TcpOutcome::kIgnored);
  EXPECT_EQ(advance_tcp(t, kBack, kTcpAck), TcpOutcome::kIgnored);
  EXPECT_EQ(t.state, TcpState::kLastAck);
  EXPECT_EQ(advance_tcp(t, kBack, kTcpAck), TcpOutcome::kAdvanced);
  EXPECT_EQ(t.state, TcpState::kTimeWait);
}

TEST(TcpState, AnIgnoredSynThatIsAcceptedStartsAnew) {
  TcpTrack t;
  t.state = TcpState::kCloseWait;
  EXPECT_EQ(advance_tcp(t, kThere, kTcpSyn), TcpOutcome::kIgnored);
  EXPECT_EQ(advance_tcp(t, kBack, kTcpSyn | kTcpAck), TcpOutcome::kAdvanced);
  EXPECT_EQ(t.state, TcpState::kSynRecv);
}

TEST(TcpState, InvalidPacketsChangeNothing) {
  for (size_t state = 0; state < kTcpStates; ++state)
    for (int flags = 0; flags < 256; ++flags)
      for (const auto direction : {kThere, kBack}) {
        TcpTrack t;
        t.state = static_cast<TcpState>(state);
        t.ignored_syn = true;
        if (advance_tcp(t, direction, static_cast<uint8_t>(flags)) != TcpOutcome::kInvalid) continue;
        EXPECT_EQ(static_cast<size_t>(t.state), state);
        EXPECT_TRUE(t.ignored_syn);
      }
}

// What a recorded connection's session looks like at its end.
std::string final_state(const SessionTable& table, const Tuple& a_to_b) {
  const auto ref = table.lookup(a_to_b);
  if (!ref) return "none";
  message::SessionRow row;
  uint64_t cursor = ref->index;
  if (table.list(cursor, {&row, 1}, 0) != 1) return "unlisted";
  return std::string(name(static_cast<TcpState>(row.tcp_state))) + (row.original == a_to_b ? " o " : " r ") +
         (row.assured      ? "assured"
          : row.seen_reply ? "replied"
                           : "unreplied");
}

uint8_t flags_of(std::string_view letters) {
  constexpr std::string_view kLetters = "FSRPAU";
  uint8_t flags = 0;
  for (const char letter : letters) flags |= static_cast<uint8_t>(1 << kLetters.find(letter));
  return flags;
}

// Feeds a packet as the conntrack stage does; whether it passes.
bool passes(SessionTable& table, const Tuple& tuple, uint8_t flags, uint64_t now_ms) {
  const PacketFacts facts{.bytes = 40, .tcp_flags = flags};
  if (const auto ref = table.lookup(tuple)) {
    const Verdict verdict = table.update(*ref, facts, now_ms);
    if (verdict != Verdict::kOver) return verdict == Verdict::kAccept;
  }
  const auto begun = begin_session(tuple, facts);
  return begun && table.confirm(*begun, WorkerId(0), now_ms);
}

TEST(TcpState, ConnectionsLiveAsInLinux) {
  std::ifstream file(NAT_TEST_DATA "/linux_tcp.txt");
  int connections = 0;
  uint64_t now_ms = 1000;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    const auto table = make_table(16);
    const Tuple a_to_b = tuple(kProtoTcp, ip(192, 168, 10, 45), 4000, ip(198, 51, 100, 9), 80);
    std::istringstream words(line);
    for (std::string word; words >> word && word != "=";) {
      const bool from_a = word[0] == 'o', passed = word.back() == '+';
      const uint8_t flags = flags_of(std::string_view(word).substr(1, word.size() - 2));
      EXPECT_EQ(passes(*table, from_a ? a_to_b : *inverse(a_to_b), flags, now_ms++), passed)
          << word << ": " << line;
    }
    std::string expected;
    std::getline(words >> std::ws, expected);
    EXPECT_EQ(final_state(*table, a_to_b), expected) << line;
    ++connections;
  }
  EXPECT_EQ(connections, 58);
}

}  // namespace
}  // namespace espalier::nat

// The state of a TCP connection as a router in its middle sees it: nf_conntrack's machine, with its names.
//
// A table says where a packet of some kind, in some direction, takes a connection. Two outcomes are no state:
// "ignored" packets pass and change nothing (perhaps the end hosts know better than we do), "invalid" ones
// do not pass. Connections are picked up in mid-stream, as with nf_conntrack's tcp_loose: an ACK without a
// session starts an established one, so that a restart of the gateway breaks no connection.
//
// Sequence numbers are not followed, neither for data nor, other than in Linux, for RST: a blind RST puts a
// connection into CLOSE (10 seconds). It lives on, with its mapping, if its hosts send more often than that.
#pragma once

#include <array>
#include <string_view>

#include "nat/tuple.hpp"

namespace espalier::nat {

enum class TcpState : uint8_t {
  kNone,
  kSynSent,
  kSynRecv,
  kEstablished,
  kFinWait,
  kCloseWait,
  kLastAck,
  kTimeWait,
  kClose,
  kSynSent2,  // simultaneous open (RFC 9293 section 3.5)
};
inline constexpr size_t kTcpStates = 10;

inline constexpr std::array<std::string_view, kTcpStates> kTcpStateNames{
    "NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
    "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
constexpr std::string_view name(TcpState s) {
  return kTcpStateNames[static_cast<size_t>(s)];
}

// The flags byte of a TCP header (RFC 9293 section 3.1).
enum TcpFlags : uint8_t {
  kTcpFin = 0x01,
  kTcpSyn = 0x02,
  kTcpRst = 0x04,
  kTcpPsh = 0x08,
  kTcpAck = 0x10,
  kTcpUrg = 0x20,
  kTcpEce = 0x40,
  kTcpCwr = 0x80,
};

// What a packet is to the machine; the first that applies of RST, SYN ACK, SYN, FIN, ACK.
enum class TcpPacket : uint8_t { kSyn, kSynAck, kFin, kAck, kRst, kMeaningless };

constexpr TcpPacket classify_tcp(uint8_t flags) {
  const uint8_t essence = flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpAck);
  const bool urgent = flags & kTcpUrg;
  switch (essence) {
    case kTcpSyn:
      return TcpPacket::kSyn;
    case kTcpSyn | kTcpAck:
      return urgent ? TcpPacket::kMeaningless : TcpPacket::kSynAck;
    case kTcpFin | kTcpAck:
      return TcpPacket::kFin;
    case kTcpAck:
      return TcpPacket::kAck;
    case kTcpRst:
    case kTcpRst | kTcpAck:
      return urgent ? TcpPacket::kMeaningless : TcpPacket::kRst;
  }
  return TcpPacket::kMeaningless;  // no flags, FIN without ACK, SYN and FIN, ...: no TCP sends these
}

namespace detail {

// A cell of the table: a state, or one of the two outcomes that are none.
enum Cell : uint8_t { NO, SS, SR, ES, FW, CW, LA, TW, CL, S2, Ignore, Invalid };

inline constexpr auto __ = Ignore;
inline constexpr auto XX = Invalid;

// Rows: kSyn, kSynAck, kFin, kAck, kRst. Columns: the state that the packet finds, in TcpState's order.
// clang-format off
inline constexpr Cell kTcpTable[2][5][kTcpStates] = {
  { // original: from the side that opened the connection
    //         NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
    /* SYN */ {SS, SS, __, __, __, __, __, SS, SS, S2},
    /* S A */ {XX, XX, SR, XX, XX, XX, XX, XX, XX, SR},
    /* FIN */ {XX, XX, FW, FW, LA, LA, LA, TW, CL, XX},
    /* ACK */ {ES, XX, ES, ES, CW, CW, TW, TW, CL, XX},
    /* RST */ {XX, CL, CL, CL, CL, CL, CL, CL, CL, CL},
  },
  { // reply
    //         NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
    /* SYN */ {XX, S2, XX, XX, XX, XX, XX, SS, XX, S2},
    /* S A */ {XX, SR, __, __, __, __, __, __, __, SR},
    /* FIN */ {XX, XX, FW, FW, LA, LA, LA, TW, CL, XX},
    /* ACK */ {XX, __, SR, ES, CW, CW, TW, TW, CL, __},
    /* RST */ {XX, CL, CL, CL, CL, CL, CL, CL, CL, CL},
  },
};
// clang-format on

}  // namespace detail

// A connection's place in the machine, with what the table alone does not know. Fits an atomic word.
struct alignas(4) TcpTrack {
  TcpState state = TcpState::kNone;
  bool simultaneous_open : 1 = false;
  bool closing : 1 = false;                       // one side has sent its FIN
  bool ignored_syn : 1 = false;                   // the last packet was a SYN that was ignored
  bool was_reset : 1 = false;                     // the last packet was a RST
  FlowDirection last = FlowDirection::kOriginal;  // direction of the last packet that was not invalid
  uint8_t reserved = 0;
};
static_assert(sizeof(TcpTrack) == 4);

enum class TcpOutcome : uint8_t {
  kAdvanced,  // `track` has the new state
  kIgnored,   // pass it, change nothing
  kInvalid,   // do not pass it
  kReopened,  // a SYN on a connection that is over: the session ends, the packet starts a new one
};

namespace detail {

// The table's cell for a packet, corrected by what came before it.
constexpr Cell next_cell(const TcpTrack& track, FlowDirection direction, TcpPacket packet) {
  const bool reply = direction == FlowDirection::kReply;
  const Cell next = kTcpTable[reply][static_cast<size_t>(packet)][static_cast<size_t>(track.state)];
  const bool answers_ignored_syn = track.ignored_syn && track.last != direction;
  // A connection is opened anew by whoever closed or reset it. If the other side did, the SYN may be stale.
  const bool reopens = next == SS && track.state >= TcpState::kTimeWait;
  if (reopens && !track.closing && !(track.was_reset && track.last == direction)) return Ignore;
  // The ignored SYN was right after all: both hosts have started anew.
  if (next == Ignore && packet == TcpPacket::kSynAck && answers_ignored_syn) return SR;
  // A challenge ACK (RFC 5961 section 4) answers the ignored SYN, it does not acknowledge the FIN before it.
  if (track.state == TcpState::kLastAck && packet == TcpPacket::kAck && answers_ignored_syn) return Ignore;
  if (next == SR && packet == TcpPacket::kAck && track.simultaneous_open) return ES;
  return next;
}

}  // namespace detail

// Feeds one packet to a connection.
constexpr TcpOutcome advance_tcp(TcpTrack& track, FlowDirection direction, uint8_t flags) {
  const TcpPacket packet = classify_tcp(flags);
  if (packet == TcpPacket::kMeaningless) return TcpOutcome::kInvalid;
  const detail::Cell next = detail::next_cell(track, direction, packet);
  if (next == detail::Invalid) return TcpOutcome::kInvalid;
  if (next == detail::SS && track.state >= TcpState::kTimeWait) return TcpOutcome::kReopened;
  const bool starts_anew = next == detail::SR && track.ignored_syn;
  track.ignored_syn = next == detail::Ignore && packet == TcpPacket::kSyn;
  track.was_reset = packet == TcpPacket::kRst;
  track.last = direction;
  if (next == detail::Ignore) return TcpOutcome::kIgnored;
  if (starts_anew) track.closing = track.simultaneous_open = false;
  if (next == detail::S2) track.simultaneous_open = true;
  if (next == detail::FW) track.closing = true;
  track.state = static_cast<TcpState>(next);
  return TcpOutcome::kAdvanced;
}

// Starts a connection with its first packet; false if no connection can start with it.
constexpr bool begin_tcp(TcpTrack& track, uint8_t flags) {
  track = {};
  return advance_tcp(track, FlowDirection::kOriginal, flags) == TcpOutcome::kAdvanced;
}

}  // namespace espalier::nat

#include "dataplane/story/narrator.hpp"

#include "control/shared/text.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/story/decision_words.hpp"
#include "dataplane/story/words.hpp"

namespace espalier::dataplane::story {
namespace {

constexpr size_t kMostStageChars = 31, kMostTextChars = 239;  // message::TextRow

BurstStage function(size_t stage) {
  return kEveryPacket[stage].run;
}

std::string ethernet_text(std::span<const uint8_t> frame) {
  if (frame.size() < sizeof(EthernetHeader))
    return fmt::format("{} bytes, less than an Ethernet header", frame.size());
  const auto& ethernet = *reinterpret_cast<const EthernetHeader*>(frame.data());
  std::string vlan;
  if (ethernet.type.host() == kEtherTypeVlan && frame.size() >= kMaxL2Bytes)
    vlan = fmt::format(", VLAN {}", reinterpret_cast<const VlanTag*>(frame.data() + sizeof ethernet)->id());
  return fmt::format("{} > {}{}", text(ethernet.source), text(ethernet.destination), vlan);
}

size_t l2_bytes(std::span<const uint8_t> frame) {
  if (frame.size() < sizeof(EthernetHeader)) return frame.size();
  const bool tagged = reinterpret_cast<const EthernetHeader*>(frame.data())->type.host() == kEtherTypeVlan;
  return tagged ? std::min<size_t>(kMaxL2Bytes, frame.size()) : sizeof(EthernetHeader);
}

// The ESP header of a packet that is ESP by its record, bare or in UDP; null: it is too short.
const EspHeader* esp_header(rte_mbuf* mbuf) {
  const uint8_t* esp = esp_start(mbuf);
  const uint8_t* end = rte_pktmbuf_mtod(mbuf, uint8_t*) + mbuf->data_len;
  return esp + sizeof(EspHeader) <= end ? reinterpret_cast<const EspHeader*>(esp) : nullptr;
}

std::string arriving_esp(const Context& ctx, rte_mbuf* mbuf) {
  const EspHeader* esp = esp_header(mbuf);
  if (!esp) return "ESP";
  const Sa* sa = ctx.sad->find(Spi{esp->spi.host()}, packet(mbuf).tuple.destination);
  if (!sa || sa->direction() != Direction::kIn)
    return fmt::format("SPI {:#x} to {}", esp->spi.host(), to_text(packet(mbuf).tuple.destination));
  return fmt::format("{}, number {} (highest so far {}, window {})", text(*sa), esp->sequence.host(),
                     sa->window().highest(), sa->window().size());
}

// The SAs that the packet is about to be encrypted with, the innermost first.
std::string departing_esp(const Context& ctx, const Packet& p) {
  const Sa* first = p.sa == kNoSa ? nullptr : ctx.sad->at(p.sa);
  if (!first) return {};
  std::string list = text(*first);
  for (size_t at = p.template_at + 1u; at < p.templates; ++at)
    if (const SaIndex next = ctx.tables->policy_sas->at(p.policy, at); next != kNoSa)
      if (const Sa* sa = ctx.sad->at(next)) list += ", then " + text(*sa);
  return list;
}

std::string made_esp(rte_mbuf* mbuf) {
  const EspHeader* esp = esp_header(mbuf);
  return fmt::format("number {}, {} bytes", esp ? esp->sequence.host() : 0, packet(mbuf).ip_bytes);
}

std::string dropped_text(DropReason reason, std::string_view why) {
  return fmt::format("dropped ({}): {}", info(reason).name, why.empty() ? info(reason).help : why);
}

bool is_of_route(DropReason reason) {
  return reason == DropReason::kNoRoute || reason == DropReason::kRouteBlackhole ||
         reason == DropReason::kRouteUnreachable || reason == DropReason::kRouteProhibit;
}

}  // namespace

std::string_view Narrator::name(InterfaceIndex interface) const {
  if (!ctx_ || !ctx_->is_interface(interface)) return "the gateway itself";
  return ctx_->interface(interface).name.view();
}

void Narrator::say(const Packet& p, std::string_view stage, std::string_view text) {
  const std::string of_answer = p.story & kAnswer ? fmt::format("answer: {}", stage) : std::string();
  if (!of_answer.empty()) stage = of_answer;
  listener_.say(story_of(p.story), stage.substr(0, kMostStageChars), text.substr(0, kMostTextChars));
}

// What the gateway used up was delivered, if its way led to the gateway.
void Narrator::say_dropped(const Packet& p, DropReason reason) {
  const std::string why = std::exchange(why_[p.story], {});
  if (info(reason).drop) {
    leaving_[p.story].clear();
    return say(p, "result", dropped_text(reason, why));
  }
  if (!leaving_[p.story].empty()) return say_leaving(p);
  say(p, "result", info(reason).help);
}

void Narrator::say_leaving(const Packet& p) {
  if (!leaving_[p.story].empty()) say(p, "result", std::exchange(leaving_[p.story], {}));
}

const Narrator::Before* Narrator::before(const rte_mbuf* mbuf) const {
  for (const Before& each : before_)
    if (each.mbuf == mbuf) return &each;
  return nullptr;
}

void Narrator::received(const Context& ctx, MbufSpan frames) {
  ctx_ = &ctx;
  for (rte_mbuf* mbuf : frames) {
    const Packet& p = packet(mbuf);
    if (p.story == 0) continue;
    for (const uint8_t part : {p.story, answer_story(p.story)}) leaving_[part].clear(), why_[part].clear();
    say(p, "received", fmt::format("{} bytes, {}", mbuf->pkt_len, ethernet_text(bytes(mbuf))));
  }
}

void Narrator::entering(const Context& ctx, size_t stage, MbufSpan burst) {
  ctx_ = &ctx;
  before_.clear();
  for (rte_mbuf* mbuf : burst)
    if (packet(mbuf).story != 0 && function(stage) != parse) look_ahead(ctx, function(stage), mbuf);
}

void Narrator::look_ahead(const Context& ctx, BurstStage stage, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const bool is_own = (p.flags & kFromGateway) && p.path == kClear;
  if (stage == flow_lookup && is_own) say(p, "packet", text(p.tuple));
  Before now{.mbuf = mbuf, .record = p, .text = {}};
  const bool decrypts = stage == esp_input ? !ctx.tables->esp_through_nat : p.service == LocalService::kEsp;
  if ((stage == esp_input || stage == local_input) && decrypts && is_esp(ctx, mbuf))
    now.text = arriving_esp(ctx, mbuf);
  if (stage == esp_output) now.text = departing_esp(ctx, p);
  before_.push_back(std::move(now));
}

void Narrator::passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) {
  for (rte_mbuf* mbuf : kept)
    if (packet(mbuf).story != 0) tell_kept(stage, mbuf);
  for (rte_mbuf* mbuf : stopped)
    if (packet(mbuf).story != 0) tell_stopped(ctx, stage, mbuf);
}

// A fragment that passed, or the datagram that it completed.
void Narrator::tell_whole(std::string_view stage, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const Before* was = before(mbuf);
  if (was && !(was->record.flags & kFragment)) return;
  if (p.flags & kFragment)
    return say(p, stage, "a fragment that nobody here needs whole: it passes as it is");
  say(p, stage,
      was ? "a datagram in one fragment: its fragment header is taken off"
          : fmt::format("the last fragment: the datagram is whole now, {} bytes", p.ip_bytes));
  say(p, "packet", text(p.tuple));
}

void Narrator::tell_kept(size_t stage, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const BurstStage run = function(stage);
  const std::string_view where = kEveryPacket[stage].name;
  const Before* was = before(mbuf);
  if (run == parse) {
    say(p, where, fmt::format("in by {}, {} bytes", name(p.in), p.ip_bytes));
    say(p, "packet", p.flags & kFragment ? wire_text(bytes(mbuf)) : text(p.tuple));
  } else if (run == reassemble) {
    tell_whole(where, mbuf);
  } else if (run == esp_input && was && !was->text.empty() && p.depth != was->record.depth) {
    say(p, where, was->text + ": authentic");
    say(p, "packet", text(p.tuple));
  } else if (run == esp_output && was && !was->text.empty()) {
    say(p, where, fmt::format("{}: {}", was->text, made_esp(mbuf)));
  }
}

void Narrator::tell_stopped(const Context& ctx, size_t stage, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const Before* was = before(mbuf);
  const std::string_view where = kEveryPacket[stage].name;
  switch (p.exit) {
    case Exit::kAgain:
      return tell_again(stage, mbuf);
    case Exit::kToMain:
      return tell_punted(p);
    case Exit::kToWorker:
      return say(p, "result", fmt::format("handed to worker {}, which goes on with it", p.to_worker.value));
    case Exit::kHeld:
      return function(stage) == reassemble
                 ? say(p, "result", "a fragment: waits for the others of its datagram, up to 30 seconds")
                 : say(p, where, fmt::format("cut into fragments of at most {} bytes", output_limit(p)));
    case Exit::kDrop:
      break;
  }
  if (function(stage) == flow_lookup) return;  // told by decided()
  if (p.reason == DropReason::kUsedFragment)
    return say(p, "result", "a fragment: joins those of its datagram that wait");
  std::string why(info(p.reason).help);
  if (function(stage) == esp_output && is_of_route(p.reason) && was)
    if (const Sa* sa = ctx.sad->at(was->record.sa))
      why = why_[p.story] =
          "the ESP packet has " + no_way(ctx.tables->outer_route(*sa).route.verdict, sa->destination());
  say(p, where, was && !was->text.empty() ? was->text + ": " + why : why);
}

// To the main lcore.
void Narrator::tell_punted(const Packet& p) {
  switch (p.reason) {
    case DropReason::kUsedArp:
      return say(p, "result", "ARP, for the gateway's neighbour table");
    case DropReason::kUsedNd:
      return say(p, "result", "neighbour discovery, for the gateway's neighbour table");
    case DropReason::kNeighborUnresolved:
      say(p, "transmit",
          fmt::format("{} by {} has no MAC address yet: it is asked for, and the packet waits",
                      to_text(p.next_hop), name(p.out)));
      return say_leaving(p);
    default:
      return say_dropped(p, p.reason);
  }
}

// It is another packet now.
void Narrator::tell_again(size_t stage, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const Before* was = before(mbuf);
  const std::string_view where = kEveryPacket[stage].name;
  if (function(stage) == tunnel_output)
    say(p, where, fmt::format("{}: GRE is put around it, {} bytes", name(p.in), p.ip_bytes));
  else if (function(stage) == esp_output && was)
    say(p, where,
        fmt::format("{}: {}; it takes the way of the gateway's own packets, as NAT may change it", was->text,
                    made_esp(mbuf)));
  else if (was && was->record.service == LocalService::kEsp)
    say(p, where, was->text + ": authentic");
  else
    say(p, where, fmt::format("GRE is taken off: it came by {}", name(p.in)));
  say(p, "packet", text(p.tuple));
}

void Narrator::decided(const Context& ctx, rte_mbuf* mbuf, const Decision& d, size_t stopped_at) {
  const Packet& p = packet(mbuf);
  if (p.story == 0) return;
  const DecisionWords words(ctx, mbuf, d);
  const bool goes_on = stopped_at == kFirstPacket.size();
  for (size_t i = 0; i < kFirstPacket.size() && i <= stopped_at; ++i)
    if (is_on_the_way(kFirstPacket[i], d.way))
      say(p, kFirstPacket[i].name, words.say(kFirstPacket[i].decide, i == stopped_at));
  if (!goes_on) {
    const std::string answer = words.answer();
    return answer.empty() ? void() : say(p, "answer", answer);
  }
  const bool made_around_it = p.path == kMadeHere || p.path == kEncryptedHere;
  if (!made_around_it || leaving_[p.story].empty()) leaving_[p.story] = words.leaving();
}

void Narrator::sent(rte_mbuf* frame, InterfaceIndex out) {
  const Packet& p = packet(frame);
  if (p.story == 0) return;
  const auto whole = bytes(frame);
  say(p, "transmit",
      fmt::format("by {}, {}: {}", name(out), ethernet_text(whole),
                  wire_text(whole.subspan(l2_bytes(whole)))));
  say_leaving(p);
}

void Narrator::ended(rte_mbuf* mbuf, DropReason reason) {
  const Packet& p = packet(mbuf);
  const bool goes_on = p.exit == Exit::kHeld || reason == DropReason::kUsedFragment;  // in another packet
  if (p.story != 0 && !goes_on) say_dropped(p, reason);
}

}  // namespace espalier::dataplane::story

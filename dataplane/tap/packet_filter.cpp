#include "dataplane/tap/packet_filter.hpp"

#include <pcap/bpf.h>

namespace espalier::dataplane {
namespace {

using message::TapInstruction;

static_assert(sizeof(TapInstruction) == sizeof(bpf_insn) &&
              offsetof(TapInstruction, code) == offsetof(bpf_insn, code) &&
              offsetof(TapInstruction, jump_true) == offsetof(bpf_insn, jt) &&
              offsetof(TapInstruction, jump_false) == offsetof(bpf_insn, jf) &&
              offsetof(TapInstruction, k) == offsetof(bpf_insn, k));

const bpf_insn* instructions(const std::vector<TapInstruction>& program) {
  return reinterpret_cast<const bpf_insn*>(program.data());
}

}  // namespace

Result<PacketFilter> PacketFilter::create(std::vector<TapInstruction> program) {
  if (!program.empty() && !::bpf_validate(instructions(program), static_cast<int>(program.size())))
    return fail("the filter is no valid BPF program");
  PacketFilter filter;
  filter.program_ = std::move(program);
  return filter;
}

bool PacketFilter::matches(std::span<const uint8_t> bytes, uint32_t packet_bytes) const {
  return program_.empty() || ::bpf_filter(instructions(program_), bytes.data(), packet_bytes,
                                          static_cast<u_int>(bytes.size())) != 0;
}

}  // namespace espalier::dataplane

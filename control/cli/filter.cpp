#include "control/cli/filter.hpp"

#include <pcap/pcap.h>

#include <memory>

namespace espalier::cli {
namespace {

struct Program : bpf_program {
  Program() : bpf_program{} {}
  ~Program() { ::pcap_freecode(this); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
};

Result<std::string> compile(int link, const std::string& expression) {
  constexpr int kSnapBytes = 65535;
  const std::unique_ptr<pcap_t, decltype(&::pcap_close)> pcap(::pcap_open_dead(link, kSnapBytes),
                                                              &::pcap_close);
  if (!pcap) return fail("libpcap: out of memory");
  Program program;
  if (::pcap_compile(pcap.get(), &program, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0)
    return fail("the filter '{}': {}", expression, ::pcap_geterr(pcap.get()));
  std::string text;
  for (u_int i = 0; i < program.bf_len; ++i) {
    const bpf_insn& step = program.bf_insns[i];
    text += fmt::format("{}{} {} {} {}", i == 0 ? "" : ",", step.code, step.jt, step.jf, step.k);
  }
  return text;
}

}  // namespace

Result<Filter> compile_filter(const std::string& expression) {
  if (expression.empty()) return Filter{.ethernet = {}, .ip = {}, .speaks_of_frames = false};
  Filter filter{.ethernet = TRY(compile(DLT_EN10MB, expression)), .ip = {}, .speaks_of_frames = false};
  auto ip = compile(DLT_RAW, expression);
  filter.speaks_of_frames = !ip.has_value();
  filter.ip = ip ? std::move(*ip) : fmt::format("{} 0 0 0", BPF_RET | BPF_K);
  return filter;
}

}  // namespace espalier::cli

// "show policy": the running configuration's policies with the packets that each decided.
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/totals.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

Json policy_row(const statistics::Segment* segment, const PolicyRecord& policy) {
  const Selector& selector = policy.selector;
  Json json{{"name", policy.name.view()},
            {"direction", word(policy.direction)},
            {"priority", policy.priority},
            {"action", word(policy.action)},
            {"source", to_text(selector.source)},
            {"destination", to_text(selector.destination)},
            {"protocol", config::protocol_name(selector.protocol)}};
  const bool icmp = selector.protocol == kProtoIcmp;
  json[icmp ? "icmp_type" : "source_port"] = to_text(selector.source_port);
  json[icmp ? "icmp_code" : "destination_port"] = to_text(selector.destination_port);
  if (policy.templates != 0)
    json["template"] = {{"source", to_text(policy.tmpl.source)},
                        {"destination", to_text(policy.tmpl.destination)},
                        {"reqid", policy.tmpl.reqid.value},
                        {"mode", "tunnel"}};
  const size_t index = policy.index.value;
  if (segment != nullptr && index < statistics::kMaxPolicies)
    add_totals(
        json, "", *segment, [=](const auto& block) -> auto& { return block.policies[index]; });
  return json;
}

}  // namespace

Result<Json> show_policy(Context& context, Request& request) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  const auto segment = statistics_of(context);
  return page_of("policies", context.applier.running().policies, page,
                 [&](const auto& policy) { return policy_row(segment ? *segment : nullptr, policy); });
}

}  // namespace espalier::daemon::commands

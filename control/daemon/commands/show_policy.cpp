// "show policy": the running configuration's policies with the packets that each decided.
#include <span>

#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/totals.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

Json template_json(const PolicyTemplate& t) {
  Json json{{"source", to_text(t.source)},
            {"destination", to_text(t.destination)},
            {"reqid", t.reqid.value},
            {"mode", word(t.mode)},
            {"level", word(t.level)}};
  if (t.spi.value != 0) json["spi"] = t.spi.value;
  return json;
}

// "template" is the first, the innermost.
void add_templates(Json& json, const PolicyRecord& policy) {
  if (policy.templates == 0) return;
  Json list = Json::array();
  for (const PolicyTemplate& t : std::span(policy.tmpl, policy.templates)) list.push_back(template_json(t));
  json["template"] = list.at(0);
  json["templates"] = std::move(list);
}

Json policy_row(const config::Tables& tables, const statistics::Segment* segment,
                const PolicyRecord& policy) {
  const Selector& selector = policy.selector;
  Json json{{"name", policy.name.view()},
            {"direction", word(policy.direction)},
            {"priority", policy.priority},
            {"action", word(policy.action)},
            {"source", to_text(selector.source)},
            {"destination", to_text(selector.destination)},
            {"protocol", config::protocol_name(selector.protocol)}};
  const bool icmp = config::is_icmp(selector.protocol);
  json[icmp ? "icmp_type" : "source_port"] = to_text(selector.source_port);
  json[icmp ? "icmp_code" : "destination_port"] = to_text(selector.destination_port);
  if (policy.interface != kNoInterface) json["interface"] = interface_name(tables, policy.interface);
  if (policy.vti != kNoInterface) json["vti"] = interface_name(tables, policy.vti);
  add_templates(json, policy);
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
  const auto& tables = context.applier.running();
  return page_of("policies", tables.policies, page, [&](const auto& policy) {
    return policy_row(tables, segment ? *segment : nullptr, policy);
  });
}

}  // namespace espalier::daemon::commands

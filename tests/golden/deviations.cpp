#include "tests/golden/deviations.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace espalier::test {
namespace {

using nlohmann::json;

DifferenceValue parse_value(const json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_string()) return from_hex(value.get<std::string>());
  return value.get<NamedCounts>();
}

bool same_place(const Deviation& a, const Deviation& b) {
  return a.scenario == b.scenario && a.step == b.step && a.field == b.field;
}

Result<std::vector<Deviation>> check(std::vector<Deviation> entries) {
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
    if (entry->reason < 1 || entry->reason > kLastReason) return fail("{}: no such reason", describe(*entry));
    if (std::any_of(entries.begin(), entry,
                    [&](const Deviation& other) { return same_place(other, *entry); }))
      return fail("{}: stands there twice", describe(*entry));
  }
  return entries;
}

}  // namespace

std::string describe(const Deviation& deviation) {
  return fmt::format("{} step {}, {}: ours {} (reason {})", deviation.scenario, deviation.step,
                     deviation.field, describe(deviation.ours), deviation.reason);
}

Result<std::vector<Deviation>> load_deviations(const std::filesystem::path& file) {
  std::ifstream input(file);
  if (!input) return fail("{}: cannot be opened", file.string());
  try {
    std::vector<Deviation> entries;
    for (const json& entry : json::parse(input))
      entries.push_back({entry.at("scenario"), entry.at("step"), entry.at("field"),
                         parse_value(entry.at("ours")), entry.at("reason")});
    return check(std::move(entries));
  } catch (const std::exception& error) {
    return fail("{}: {}", file.string(), error.what());
  }
}

std::vector<Deviation> deviations_of(const std::vector<Deviation>& all, const std::string& scenario) {
  std::vector<Deviation> found;
  std::copy_if(all.begin(), all.end(), std::back_inserter(found),
               [&](const Deviation& each) { return each.scenario == scenario; });
  return found;
}

Judgement judge(const std::vector<Difference>& differences, const std::vector<Deviation>& allowed) {
  Judgement judgement;
  std::vector<bool> used(allowed.size());
  for (const Difference& each : differences) {
    const auto match = std::find_if(allowed.begin(), allowed.end(), [&](const Deviation& entry) {
      return entry.step == each.step && entry.field == each.field && entry.ours == each.ours;
    });
    if (match == allowed.end()) {
      judgement.unexplained.push_back(each);
    } else {
      used[static_cast<size_t>(match - allowed.begin())] = true;
      ++judgement.explained;
    }
  }
  for (size_t i = 0; i < allowed.size(); ++i)
    if (!used[i]) judgement.unused.push_back(allowed[i]);
  return judgement;
}

}  // namespace espalier::test

// Documents of espalier-ike, which somebody may have taken over: whatever they hold, reading them throws
// nothing, and writing them again (which recurses) does not end our stack. Any thread.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier::daemon {

// Null where it is no object, or is nested deeper than anything that espalier-ike has to say.
nlohmann::json parse_untrusted(std::string_view text);
// Empty where there is no such member, or it is no text.
std::string text_at(const nlohmann::json& object, const char* key);
// The texts of an object in the place of a member; whatever else is in it is left out.
std::map<std::string, std::string> texts_at(const nlohmann::json& object, const char* key);
// The objects of a list; whatever else is in it, or in its place, is left out.
nlohmann::json rows_at(nlohmann::json& object, const char* key);

}  // namespace espalier::daemon

#include "control/cli/command_line.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "control/config/diagnostics.hpp"

namespace espalier::cli {
namespace {

using Words = std::vector<std::string>;

// What stands for all commands, taken out of the words.
struct Global {
  Invocation invocation;
  bool help = false;
  bool version = false;
  Words words;
};

Result<Global> take_global(const Words& arguments) {
  Global global;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--json") {
      global.invocation.json = true;
    } else if (word == "--help" || word == "-h") {
      global.help = true;
    } else if (word == "--version") {
      global.version = true;
    } else if (word == "--socket") {
      global.invocation.socket = i + 1 < arguments.size() ? arguments[++i] : "";
    } else if (word.starts_with("--socket=")) {
      global.invocation.socket = word.substr(std::string_view("--socket=").size());
    } else {
      global.words.push_back(word);
    }
  }
  if (global.invocation.socket.empty()) return fail("--socket needs a path");
  return global;
}

Words split(std::string_view text) {
  std::istringstream stream{std::string(text)};
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

bool begins_with(const Words& words, const Words& beginning) {
  return words.size() >= beginning.size() && std::equal(beginning.begin(), beginning.end(), words.begin());
}

// The command whose name the words begin with; takes the name off them.
const Command* take_command(Words& words) {
  for (const Command& command : commands()) {
    const Words name = split(command.name);
    if (!begins_with(words, name)) continue;
    words.erase(words.begin(), words.begin() + static_cast<ptrdiff_t>(name.size()));
    return &command;
  }
  return nullptr;
}

po::options_description options_of(const Command& command) {
  po::options_description options("Options");
  if (command.describe != nullptr) command.describe(options);
  return options;
}

std::string overview() {
  std::string text =
      "usage: espalier [--socket PATH] [--json] COMMAND ...\n\n"
      "Asks espalierd about the gateway, or tells it what to do.\n\n";
  for (const Command& c : commands())
    text += fmt::format("  {:<24}{}\n",
                        fmt::format("{}{}{}", c.name, c.operands.empty() ? "" : " ", c.operands), c.summary);
  return text +
         "\n  --socket PATH           default: /run/espalier/control.sock\n"
         "  --json                  one JSON document instead of tables (docs/socket.md)\n"
         "  --help                  after a command: its options, with an example\n\n"
         "Exit status: 0 done, 1 refused or failed (one line on stderr says why), 2 wrong usage.\n"
         "Begin with: espalier check FILE, espalier show interfaces, espalier show drops, espalier explain "
         "--help\n";
}

std::string help_of(const Command& command) {
  std::ostringstream text;
  text << "usage: espalier " << command.name << (command.operands.empty() ? "" : " ") << command.operands
       << (command.describe == nullptr ? "" : " [options]") << "\n\n"
       << command.help << "\n";
  if (command.describe != nullptr) text << "\n" << options_of(command);
  text << "\nexample: " << command.example << "\n";
  return text.str();
}

Message usage(std::string_view what, std::string_view command) {
  const std::string see = command.empty() ? "espalier --help" : fmt::format("espalier {} --help", command);
  return {kUsage, fmt::format("espalier: {}; see {}\n", what, see), {}};
}

// Commands of later versions: refused by name rather than as typing errors.
constexpr std::string_view kLater[] = {"top", "metrics", "import vyos"};
constexpr std::string_view kLaterWaysBack[] = {"apply --confirm", "confirm", "rollback"};

std::optional<Message> refuse_missing(const Global& global) {
  Words words = global.words;
  const bool confirm = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--confirm" || word.starts_with("--confirm=");
  });
  if (words.front() == "apply" && confirm) words = {"apply", "--confirm"};
  std::string text;
  for (const std::string_view name : kLater)
    if (begins_with(words, split(name))) text = fmt::format("{} is not in this version", name);
  for (const std::string_view name : kLaterWaysBack)
    if (begins_with(words, split(name)))
      text = fmt::format("{} is not in this version; to go back, apply the earlier file", name);
  if (text.empty()) return std::nullopt;
  return Message{kRefused, fmt::format("espalier: {}\n", text),
                 global.invocation.json ? refusal_document({text}).dump(2) + "\n" : ""};
}

// The words that begin commands are answered with how those go on; with --help that is no error.
Message no_command(const Words& words, bool help) {
  if (words.front().starts_with('-'))
    return usage(fmt::format("unrecognised option '{}'", words.front()), "");
  Words longer;
  for (const Command& command : commands())
    if (begins_with(split(command.name), words)) longer.emplace_back(command.name);
  const std::string typed = fmt::format("{}", fmt::join(words, " "));
  if (longer.empty()) return usage(fmt::format("no command {}", config::quoted(typed)), "");
  if (help) return {kDone, overview(), {}};
  return usage(fmt::format("{} goes on: {}", typed, fmt::join(longer, ", ")), "");
}

// The words of a filter with or without a FILE behind them, or as many as are named; those in brackets may be absent.
void add_operands(const Command& command, po::options_description& options,
                  po::positional_options_description& operands) {
  if (command.operands.starts_with("[FILTER]")) {
    auto* words = po::value<Words>();
    command.operands.ends_with("[FILTER]") ? words->default_value({}, "") : words->required();
    options.add_options()("words", words);
    operands.add("words", -1);
    return;
  }
  for (std::string& name : split(command.operands)) {
    auto* value = po::value<std::string>();
    if (name.front() == '[')
      name = name.substr(1, name.size() - 2);
    else
      value->required();
    options.add_options()(name.c_str(), value);
    operands.add(name.c_str(), 1);
  }
}

std::variant<Parsed, Message> parse_arguments(const Command& command, const Words& words,
                                              Invocation invocation) {
  auto options = options_of(command);
  po::positional_options_description operands;
  add_operands(command, options, operands);
  try {
    po::store(po::command_line_parser(words).options(options).positional(operands).run(), invocation.values);
    po::notify(invocation.values);
  } catch (const po::required_option& error) {
    const std::string missing = error.get_option_name();
    const std::string operand = missing == "--words" ? "FILE" : missing.substr(2);
    return usage(command.operands.empty() ? error.what() : fmt::format("{} is missing", operand), command.name);
  } catch (const po::too_many_positional_options_error&) {
    return usage("too many arguments", command.name);
  } catch (const po::error& error) {
    return usage(error.what(), command.name);
  }
  return Parsed{&command, std::move(invocation)};
}

}  // namespace

std::variant<Parsed, Message> parse(const Words& arguments) {
  auto global = take_global(arguments);
  if (!global) return usage(global.error().text, "");
  if (global->version) return Message{kDone, "espalier " ESPALIER_VERSION "\n", {}};
  Words& words = global->words;
  if (words.empty()) return Message{global->help ? kDone : kUsage, overview(), {}};
  if (auto refusal = refuse_missing(*global)) return *refusal;
  const Command* command = take_command(words);
  if (command == nullptr) return no_command(words, global->help);
  if (global->help) return Message{kDone, help_of(*command), {}};
  return parse_arguments(*command, words, std::move(global->invocation));
}

}  // namespace espalier::cli

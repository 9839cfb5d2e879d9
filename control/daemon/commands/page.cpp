#include "control/daemon/commands/page.hpp"

namespace espalier::daemon::commands {
namespace {

constexpr milliseconds kPatience{5000};
constexpr uint32_t kMaxRows = 4096;

}  // namespace

Result<Page> Page::from(Request& request) {
  Page page;
  page.cursor = TRY(request.number("cursor", 0, UINT64_MAX)).value_or(0);
  page.limit = static_cast<uint32_t>(TRY(request.number("limit", 1, kMaxRows)).value_or(page.limit));
  return page;
}

void ask(Context& context, std::function<message::Slot(uint64_t)> message, const Reply& reply,
         std::function<Json(const DataplaneLink::Answer&)> on_answer) {
  const auto source = [message = std::move(message)](size_t position,
                                                     uint64_t id) -> std::optional<message::Slot> {
    if (position != 0) return std::nullopt;
    return message(id);
  };
  ask_all(context, source, reply, std::move(on_answer));
}

void ask_all(Context& context, DataplaneLink::Source messages, const Reply& reply,
             std::function<Json(const DataplaneLink::Answer&)> on_answer) {
  const auto done = [reply, on_answer = std::move(on_answer)](const Result<DataplaneLink::Answer>& answer) {
    if (!answer) return reply(error_reply(answer.error()));
    if (!answer->ack.ok) return reply(error_reply({std::string(answer->ack.text.view())}));
    reply(ok_reply(on_answer(*answer)));
  };
  context.supervisor.link().request(std::move(messages), kPatience, done);
}

}  // namespace espalier::daemon::commands

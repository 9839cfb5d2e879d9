#include "ike/sa/context.hpp"

#include "control/shared/text.hpp"
#include "crypto/random.hpp"

namespace espalier::ike {
namespace {

// strongSwan's: 4 s growing by 1.8; five retransmissions, lost after 165 s.
std::vector<milliseconds> default_retransmissions() {
  std::vector<milliseconds> waits;
  double wait = 4000;
  for (int i = 0; i < 6; ++i, wait *= 1.8) waits.emplace_back(static_cast<int64_t>(wait));
  return waits;
}

CoreOptions completed(CoreOptions options) {
  if (options.retransmissions.empty()) options.retransmissions = default_retransmissions();
  return options;
}

}  // namespace

Context::Context(CoreOptions given) : options(completed(std::move(given))) {}

bool Context::may_log_stranger() {
  constexpr seconds kInterval{10};
  constexpr uint32_t kLines = 20;
  if (now - strangers_since_ >= kInterval) {
    if (strangers_ > kLines)
      log(LogLevel::kWarning, Subsystem::kNetwork, "", "", "{} more such messages were not logged",
          strangers_ - kLines);
    strangers_since_ = now;
    strangers_ = 0;
  }
  return ++strangers_ <= kLines;
}

milliseconds Context::spread(milliseconds whole) {
  if (whole <= milliseconds{0}) return milliseconds{0};
  return milliseconds{static_cast<int64_t>(random() % (static_cast<uint64_t>(whole.count()) + 1))};
}

std::string to_text(const Endpoint& endpoint) {
  return fmt::format("{}[{}]", to_text(endpoint.address), endpoint.port);
}

Result<Bytes> make_nonce() {
  Bytes nonce(32);
  if (auto filled = crypto::fill_random(nonce); !filled) return fail("nonce: {}", filled.error());
  return nonce;
}

}  // namespace espalier::ike

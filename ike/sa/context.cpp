#include "ike/sa/context.hpp"

#include "control/shared/text.hpp"
#include "crypto/random.hpp"

namespace espalier::ike {
namespace {

// A lost message costs half a second, as with libreswan; a peer has two minutes for a restart, and is met
// soon after it.
std::vector<milliseconds> default_retransmissions() {
  std::vector<milliseconds> waits(12, seconds{16});
  for (size_t i = 0; i < 5; ++i) waits[i] = milliseconds{500 << i};
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

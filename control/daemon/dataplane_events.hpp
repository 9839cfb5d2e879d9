// What the dataplane tells without being asked: a protected packet that found no SA, an SA that reached a
// limit, a peer whose NAT gave it another address. Each is counted and, a few a second, logged; what expired
// is remembered, so that `show ipsec sa` can say why an SA is gone. Owner: espalierd's thread.
#pragma once

#include <functional>
#include <set>
#include <tuple>

#include "control/config/compiler.hpp"
#include "control/shared/event_loop.hpp"
#include "control/shared/message_decode.hpp"

namespace espalier::daemon {

class DataplaneEvents {
 public:
  // `running`: the configuration whose policies and interfaces the events name by index.
  explicit DataplaneEvents(std::function<const config::Tables&()> running) : running_(std::move(running)) {}

  // Takes an event of the dataplane; what is none is ignored by the caller's check (is_event).
  static bool is_event(const message::FromDataplane& message);
  void take(const message::FromDataplane& event, Clock::time_point now = Clock::now());

  struct Counts {
    uint64_t acquires = 0;
    uint64_t soft_expires = 0;
    uint64_t hard_expires = 0;
    uint64_t mappings = 0;
  };
  const Counts& counts() const { return counts_; }
  // Whether the dataplane said that this SA reached a hard limit.
  bool has_expired(const SaRecord& sa) const;

 private:
  // So many lines a second of one kind; the next line after a pause says how many were left out.
  class LineLimit {
   public:
    bool take(Clock::time_point now);
    std::string note();  // "", or " (7 more were not logged)"

   private:
    Clock::time_point second_began_{};
    uint32_t lines_ = 0;
    uint64_t left_out_ = 0;
  };
  using SaName = std::tuple<Direction, Spi, std::string>;

  void take(const message::Acquire& event, Clock::time_point now);
  void take(const message::Expire& event, Clock::time_point now);
  void take(const message::Mapping& event, Clock::time_point now);

  std::function<const config::Tables&()> running_;
  Counts counts_;
  LineLimit acquire_lines_, expire_lines_, mapping_lines_;
  std::set<SaName> expired_;
};

}  // namespace espalier::daemon

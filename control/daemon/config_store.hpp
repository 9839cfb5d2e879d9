// Which configuration counts when espalierd starts, and how an applied one survives a restart.
//
// `apply` leaves its file in STATE_DIR/applied.conf: the text with a first line in front that holds the
// SHA-256 of the --config file at that moment. As long as the --config file is the same, the applied one is
// the configuration; once the operator changed the file, the file is.
#pragma once

#include <string>

#include "control/config/config.hpp"

namespace espalier::daemon {

class ConfigStore {
 public:
  ConfigStore(std::string config_file, const std::string& state_dir)
      : config_file_(std::move(config_file)), applied_file_(applied_file(state_dir)) {}
  static std::string applied_file(const std::string& state_dir) { return state_dir + "/applied.conf"; }

  struct Choice {
    config::Source source;
    std::string why;  // for the log
  };
  // The configuration to start with.
  Result<Choice> choose() const;
  Result<config::Source> read_config_file() const { return config::read_source(config_file_); }
  const std::string& config_file() const { return config_file_; }

  // Writes `text` beside applied.conf and syncs it, mode 0600. commit() makes it the applied configuration;
  // before that a crash leaves the earlier one.
  Result<void> prepare(std::string_view text) const;
  Result<void> commit() const;
  // From now on the --config file counts.
  Result<void> forget_applied() const;

 private:
  std::string config_file_;
  std::string applied_file_;
};

}  // namespace espalier::daemon

// espalierd's command line.
#pragma once

#include <string>
#include <variant>

namespace espalier::daemon {

struct Options {
  std::string config_file = "/etc/espalier/espalier.conf";
  std::string runtime_dir = "/run/espalier";
  std::string state_dir = "/var/lib/espalier";
  std::string dataplane_program;  // default: beside espalierd, in its build directory, or by PATH
  std::string ike_program;        // likewise
  std::string ike_user;           // that it becomes
  bool foreground = false;
};

// What main does instead of running: print and exit.
struct Exit {
  int status = 0;
  std::string text;
};

std::variant<Options, Exit> parse_options(int argc, const char* const* argv);

}  // namespace espalier::daemon

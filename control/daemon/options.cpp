#include "control/daemon/options.hpp"

#include <fmt/format.h>
#include <pwd.h>

#include <boost/program_options.hpp>
#include <filesystem>
#include <sstream>

namespace espalier::daemon {
namespace {

namespace po = boost::program_options;

constexpr int kUsageStatus = 2;

po::options_description describe(Options& options) {
  po::options_description description("Options");
  description.add_options()("help,h", "this text")("version", "the version of this program")  //
      ("config", po::value(&options.config_file)->default_value(options.config_file)->value_name("FILE"),
       "the configuration; `espalier check FILE` tells what is wrong with it")  //
      ("runtime-dir", po::value(&options.runtime_dir)->default_value(options.runtime_dir)->value_name("DIR"),
       "sockets, locks and SA cells; belongs on a memory file system")  //
      ("state-dir", po::value(&options.state_dir)->default_value(options.state_dir)->value_name("DIR"),
       "what outlives a reboot: used sequence numbers, the applied configuration")  //
      ("dataplane", po::value(&options.dataplane_program)->value_name("FILE"),
       "the program espalier-dataplane; default: the one beside espalierd or of its build directory, else "
       "that of "
       "PATH")  //
      ("ike", po::value(&options.ike_program)->value_name("FILE"),
       "the program espalier-ike; default: as that of the dataplane")  //
      ("ike-user", po::value(&options.ike_user)->value_name("NAME"),
       "the user that espalier-ike runs as; default: espalier-ike where there is such a user, else nobody")  //
      ("foreground", po::bool_switch(&options.foreground), "stay in the foreground, as systemd wants it");
  return description;
}

// Beside us where we are installed, in ../../FOLDER in a build directory; else execvp looks in PATH.
std::string default_program(const std::string& name, const std::string& folder) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return name;
  for (const std::string& place : {name, fmt::format("../../{}/{}", folder, name)}) {
    const auto program = (self.parent_path() / place).lexically_normal();
    if (std::filesystem::exists(program, error)) return program;
  }
  return name;
}

std::string help_text(const po::options_description& description) {
  std::ostringstream text;
  text << "usage: espalierd [options]\n\n"
          "Starts and supervises the Espalier gateway. SIGHUP applies the configuration file again, SIGTERM\n"
          "stops the gateway. `espalier show status` asks it how it is.\n\n"
       << description << "\nexample: espalierd --config /etc/espalier/espalier.conf --foreground\n";
  return text.str();
}

}  // namespace

std::variant<Options, Exit> parse_options(int argc, const char* const* argv) {
  Options options;
  const auto description = describe(options);
  try {
    po::variables_map values;
    // An empty positional description refuses stray words.
    po::store(po::command_line_parser(argc, argv).options(description).positional({}).run(), values);
    po::notify(values);
    if (values.count("version") != 0) return Exit{0, "espalierd " ESPALIER_VERSION "\n"};
    if (values.count("help") != 0) return Exit{0, help_text(description)};
  } catch (const po::error& error) {
    return Exit{kUsageStatus, fmt::format("espalierd: {}; see espalierd --help\n", error.what())};
  }
  if (options.dataplane_program.empty())
    options.dataplane_program = default_program("espalier-dataplane", "dataplane");
  if (options.ike_program.empty()) options.ike_program = default_program("espalier-ike", "ike/daemon");
  if (options.ike_user.empty()) options.ike_user = ::getpwnam("espalier-ike") != nullptr ? "espalier-ike" : "nobody";
  return options;
}

}  // namespace espalier::daemon

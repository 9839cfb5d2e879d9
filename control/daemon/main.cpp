// espalierd: starts and supervises the gateway. `espalierd --help` says how, docs/socket.md what it can be
// asked.
#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "control/daemon/background.hpp"
#include "control/daemon/daemon.hpp"
#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

// Relative paths would change their meaning when we leave for the background.
Options with_absolute_paths(Options options) {
  for (std::string* path : {&options.config_file, &options.runtime_dir, &options.state_dir})
    *path = std::filesystem::absolute(*path);
  for (std::string* program : {&options.dataplane_program, &options.ike_program})
    if (program->find('/') != std::string::npos) *program = std::filesystem::absolute(*program);
  return options;
}

Result<void> run(const Options& options) {
  ::prctl(PR_SET_DUMPABLE, 0);  // keys pass through our memory
  ::signal(SIGPIPE, SIG_IGN);   // the log's reader may end before we do
  TRY(make_directory(options.runtime_dir,
                     0755));  // the operators' group passes to the socket; files have own modes
  TRY(make_directory(options.state_dir, 0700));
  const Fd lock = TRY(take_instance_lock(options.runtime_dir));
  ConfigStore store(options.config_file, options.state_dir);
  auto tables = TRY(load_initial(store));
  if (!options.foreground) TRY(go_to_background());
  TRY(write_pid(lock));
  auto loop = TRY(EventLoop::create());
  const auto daemon = TRY(Daemon::create(loop, options, std::move(tables), std::move(store)));
  daemon->start();
  loop.run();
  return {};
}

int main(int argc, char** argv) {
  const auto parsed = parse_options(argc, argv);
  if (const auto* exit = std::get_if<Exit>(&parsed)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  const auto done = run(with_absolute_paths(std::get<Options>(parsed)));
  if (!done) log::proc().error("{}", done.error().text);
  return done ? 0 : 1;
}

}  // namespace
}  // namespace espalier::daemon

int main(int argc, char** argv) {
  return espalier::daemon::main(argc, argv);
}

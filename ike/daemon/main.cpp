// espalier-ike: negotiates keys. Started by espalierd, which tells it everything else over
// RUNTIME_DIR/ike.sock.
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <string_view>

#include "crypto/prepare.hpp"
#include "crypto/random.hpp"
#include "ike/daemon/sandbox.hpp"
#include "ike/daemon/shell.hpp"

namespace espalier::ike {
namespace {

constexpr const char* kUsage =
    "usage: espalier-ike --runtime-dir DIR [--user NAME]\n\n"
    "Negotiates the gateway's keys by IKEv2. espalierd starts it and talks to it over DIR/ike.sock. It runs "
    "as user\n"
    "NAME (nobody), without capabilities, and can call the kernel for little.\n";

struct Options {
  std::string runtime_dir;
  std::string user = "nobody";
};

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    if (key == "--runtime-dir")
      options.runtime_dir = argv[i + 1];
    else if (key == "--user")
      options.user = argv[i + 1];
    else
      return std::nullopt;
  }
  if (argc % 2 == 0 || options.runtime_dir.empty()) return std::nullopt;
  return options;
}

// Without random numbers no key is safe: there is nothing to go on with.
uint64_t random_number() {
  uint64_t number = 0;
  if (!crypto::fill_random({reinterpret_cast<uint8_t*>(&number), sizeof number})) std::abort();
  return number;
}

CoreOptions core_options() {
  CoreOptions options;
  options.random = random_number;
  options.wall_clock = [] { return std::chrono::system_clock::now(); };
  return options;
}

Result<Fd> open_signals() {
  ::signal(SIGPIPE, SIG_IGN);  // the log's reader may end before we do
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return fail("signalfd: {}", errno_text());
  return signals;
}

Result<void> run(const Options& options) {
  if (const auto ready = crypto::prepare(); !ready) return fail("OpenSSL: {}", ready.error());
  Log().info(Subsystem::kIke, "starting");  // reads the time zone
  auto loop = TRY(EventLoop::create());
  const Fd signals = TRY(open_signals());
  Fd listener = TRY(listen_unix(options.runtime_dir + "/ike.sock", SOCK_SEQPACKET));
  if (!TRY(drop_privileges(options.user)))
    Log().warning(Subsystem::kCrypto,
                  "memory with keys may be swapped out: the limit of locked memory cannot be lifted");
  TRY(confine_system_calls());
  const auto shell = TRY(Shell::create(loop, std::move(listener), core_options()));
  TRY(loop.watch(signals.get(), [&](uint32_t) {
    loop.forget(signals.get());
    shell->stop([&loop] { loop.stop(); });
  }));
  loop.run();
  return {};
}

int main(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) return std::fputs(kUsage, stderr), 2;
  const auto done = run(*options);
  if (!done) Log().error(Subsystem::kIke, "{}", done.error().text);
  return done ? 0 : 1;
}

}  // namespace
}  // namespace espalier::ike

int main(int argc, char** argv) {
  return espalier::ike::main(argc, argv);
}

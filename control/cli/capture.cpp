// capture: packets of the running gateway into a pcapng file.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "control/cli/pcapng.hpp"
#include "control/cli/tap_session.hpp"
#include "control/shared/base64.hpp"

namespace espalier::cli {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

int leave_open(std::FILE*) {
  return 0;
}

// For the owner's eyes only, whatever it was before: it will hold what tunnels hide. A symbolic link at its
// place is not followed.
Result<File> open_file(const std::string& name) {
  if (name == "-") return File(stdout, leave_open);
  Fd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail("{}: {}", name, errno == ELOOP ? "is a symbolic link" : errno_text());
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail("{}: {}", name, errno_text());
  if (S_ISREG(status.st_mode) && ::fchmod(fd.get(), 0600) != 0) return fail("{}: {}", name, errno_text());
  File file(::fdopen(fd.get(), "wb"), std::fclose);
  if (!file) return fail("{}: {}", name, errno_text());
  fd.release();
  return file;
}

std::string tunnel_text(const Json& row) {
  if (!row.contains("spi")) return {};
  return fmt::format("tunnel {}, SPI {:#010x}", text_of(row, "tunnel"), number_of(row, "spi"));
}

// "drop: esp_replay: HELP; tunnel B, SPI 0x00001001"
std::string comment_of(const Json& row) {
  const std::string tunnel = tunnel_text(row);
  if (!row.contains("reason")) return tunnel;
  return fmt::format("drop: {}: {}{}{}", text_of(row, "reason"), text_of(row, "help"),
                     tunnel.empty() ? "" : "; ", tunnel);
}

std::string description_of(const std::string& point, const std::string& interface) {
  if (point == "rx") return fmt::format("frames that {} received", interface);
  if (point == "tx") return fmt::format("frames that {} sent", interface);
  if (point == "plain") return fmt::format("what is inside of tunnels, in or out by {}", interface);
  return fmt::format("dropped, came in by {}", interface);
}

CapturedPacket::Way way_of(const Json& row, const std::string& point) {
  if (point == "rx" || text_of(row, "direction") == "in") return CapturedPacket::Way::kIn;
  if (point == "tx" || text_of(row, "direction") == "out") return CapturedPacket::Way::kOut;
  return CapturedPacket::Way::kUnknown;
}

Result<void> write_packet(PcapngWriter& writer, const Json& row) {
  const auto bytes = bytes_of_base64(text_of(row, "data"));
  if (!bytes) return fail("espalierd's answer is not understood; are both of the same version?");
  const std::string point = text_of(row, "point"), interface = text_of(row, "interface");
  const bool ethernet = text_of(row, "link") == "ethernet";
  const char* note = point == "drop" && ethernet ? " (frames)" : "";
  return writer.write({.interface = fmt::format("{} {}{}", interface, point, note),
                       .description = description_of(point, interface),
                       .link = ethernet ? LinkType::kEthernet : LinkType::kRawIp,
                       .time_ns = number_of(row, "time_s") * 1'000'000'000 + number_of(row, "time_ns"),
                       .packet_bytes = static_cast<uint32_t>(number_of(row, "packet_bytes")),
                       .way = way_of(row, point),
                       .comment = comment_of(row),
                       .bytes = *bytes});
}

struct Written {
  uint64_t packets = 0;
  uint64_t lost = 0;
};

// Until `count` packets are written, or Ctrl-C. `written` is right also where an error ends it.
Result<void> write_all(TapSession& session, std::FILE* file, uint64_t count, Written& written) {
  PcapngWriter writer(file);
  TRY(writer.begin("espalier capture"));
  const auto take = [&](const Json& batch) -> Result<bool> {
    for (const Json& row : rows_of(batch, "packets")) {
      if (written.packets == count) break;
      TRY(write_packet(writer, row));
      ++written.packets;
    }
    TRY(writer.flush());
    written.lost = number_of(batch, "lost");
    return written.packets < count;
  };
  return session.run(take);
}

Json request_of(const po::variables_map& values) {
  Json request{{"command", "capture start"}};
  if (values.count("point") != 0) request["points"] = values["point"].as<std::string>();
  if (values.count("tunnel") != 0) request["tunnel"] = values["tunnel"].as<std::string>();
  if (values.count("snap-bytes") != 0) request["snap_bytes"] = values["snap-bytes"].as<uint32_t>();
  return request;
}

int usage(const char* what) {
  std::fputs(fmt::format("espalier: {}; see espalier capture --help\n", what).c_str(), stderr);
  return kUsage;
}

Result<Written> capture(const Invocation& invocation, const Filter& filter, const std::string& name,
                        uint64_t count) {
  auto session = TRY(TapSession::start(invocation, request_of(invocation.values), filter));
  auto file = open_file(name);
  if (!file) {
    // Nothing is to be read: ends the dataplane's part.
    const auto ended = session.run([](const Json&) -> Result<bool> { return false; });
    return std::unexpected(ended ? file.error() : ended.error());
  }
  Written written;
  const auto done = write_all(session, file->get(), count, written);
  std::fputs(fmt::format("{} packets captured, {} lost\n", written.packets, written.lost).c_str(), stderr);
  if (!done) return std::unexpected(Error(done.error()).with_context("the capture ended"));
  return written;
}

}  // namespace

void describe_capture(po::options_description& options) {
  options.add_options()  //
      ("point", po::value<std::string>()->value_name("P"),
       "rx, plain, tx, drop, or several with commas between them; default: all")  //
      ("tunnel", po::value<std::string>()->value_name("T"),
       "only packets of the SA of this name or SPI (0x...) and of its other direction: their ESP at rx and "
       "tx, what "
       "is inside at plain, and what was dropped of either")                                          //
      ("count", po::value<uint64_t>()->value_name("N"), "end after N packets; default: with Ctrl-C")  //
      ("snap-bytes", po::value<uint32_t>()->value_name("N"), "of each packet at most; default: all of it");
}

int run_capture(const Invocation& invocation) {
  const auto words = invocation.values["words"].as<std::vector<std::string>>();
  const std::string name = words.back();
  const uint64_t count =
      invocation.values.count("count") != 0 ? invocation.values["count"].as<uint64_t>() : UINT64_MAX;
  if (count == 0) return usage("--count 0 captures nothing");
  if (name == "-" && invocation.json) return usage("--json and the capture would both be on stdout");
  if (name == "-" && ::isatty(STDOUT_FILENO)) return usage("- would write binary data to the terminal");
  const auto filter = compile_filter(joined({words.begin(), words.end() - 1}));
  if (!filter) return refuse(invocation, filter.error());
  if (filter->speaks_of_frames)
    std::fputs("the filter speaks of Ethernet: packets at plain, and drops of IP packets, match nothing\n",
               stderr);
  const auto written = capture(invocation, *filter, name, count);
  if (!written) return refuse(invocation, written.error());
  if (!invocation.json) return kDone;
  return print_json({{"ok", true}, {"file", name}, {"packets", written->packets}, {"lost", written->lost}});
}

}  // namespace espalier::cli

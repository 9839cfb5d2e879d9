#include "control/config/config.hpp"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config/capabilities.hpp"
#include "control/config/lint.hpp"
#include "control/config/parse.hpp"
#include "control/config/scanner.hpp"
#include "control/config/validate.hpp"

namespace espalier::config {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Result<Secret> read_all(int fd, size_t bytes) {
  // One byte more than the file had: if it is filled, the file has grown meanwhile.
  std::vector<uint8_t> buffer(bytes + 1);
  size_t filled = 0;
  while (filled < buffer.size()) {
    const ssize_t got = read(fd, buffer.data() + filled, buffer.size() - filled);
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail("cannot be read: {}", strerror(errno));
    filled += static_cast<size_t>(got);
  }
  if (filled > bytes) return fail("changes while it is read: try again");
  buffer.resize(filled);
  return Secret(std::move(buffer));
}

// Reads, and keeps going while no stage has found an error.
std::optional<Model> read_model(std::string_view text, Diagnostics& diagnostics) {
  const std::optional<Node> tree = parse_tree(text, diagnostics);
  if (!tree) return std::nullopt;
  Model model = parse_model(*tree, diagnostics);
  if (diagnostics.has_errors()) return std::nullopt;
  validate(model, Topology(model), diagnostics);
  if (diagnostics.has_errors()) return std::nullopt;
  return model;
}

// The model with all that is to be said about it; `severity` is what a limitation of this version counts as.
std::optional<Model> examine(const Source& source, Severity severity, Diagnostics& diagnostics) {
  std::optional<Model> model = read_model(source.text.text(), diagnostics);
  if (!model) return std::nullopt;
  lint(*model, Topology(*model), source.mode, diagnostics);
  report_limitations(*model, severity, diagnostics);
  return model;
}

}  // namespace

Result<Source> read_source(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return fail("{}: cannot be opened: {}", path, strerror(errno));
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return fail("{}: cannot be examined: {}", path, strerror(errno));
  if (!S_ISREG(status.st_mode)) return fail("{}: is not a regular file", path);
  if (static_cast<uint64_t>(status.st_size) > kMaxTextBytes)
    return fail("{}: is larger than {} MiB", path, kMaxTextBytes >> 20);
  auto text = read_all(file.get(), static_cast<size_t>(status.st_size));
  if (!text) return std::unexpected(std::move(text).error().with_context(path));
  return Source{path, *std::move(text), status.st_mode};
}

ParseOutcome parse(std::string_view text, const std::string& file) {
  Diagnostics diagnostics(file);
  ParseOutcome outcome;
  outcome.model = read_model(text, diagnostics);
  outcome.diagnostics = std::move(diagnostics).take_sorted();
  return outcome;
}

std::vector<Diagnostic> check(const Source& source) {
  Diagnostics diagnostics(source.file);
  examine(source, Severity::kWarning, diagnostics);
  return std::move(diagnostics).take_sorted();
}

CompileOutcome load(const Source& source) {
  Diagnostics diagnostics(source.file);
  const std::optional<Model> model = examine(source, Severity::kError, diagnostics);
  CompileOutcome outcome;
  if (model && !diagnostics.has_errors()) outcome = compile(*model, source.file);
  outcome.diagnostics = std::move(diagnostics).take_sorted();
  return outcome;
}

}  // namespace espalier::config

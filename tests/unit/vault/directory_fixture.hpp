// Processes that come and go over one pair of files of SA cells and numbers, and what they ask for.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/shared/sa_directory.hpp"
#include "tests/unit/vault/support.hpp"

namespace espalier::test {

inline constexpr CellGeometry kGeometry{.capacity = 8, .window_words = 4096};

class Directory : public testing::Test {
 protected:
  // Everything that a process has; made anew for each "process".
  struct Process {
    explicit Process(SaCells opened)
        : cells(std::move(opened)), reserver(cells), directory(must(SaDirectory::rebuild(cells, reserver))) {}
    SaCells cells;
    SequenceReserver reserver;
    SaDirectory directory;
  };
  std::unique_ptr<Process> start(CellGeometry geometry = kGeometry) {
    return std::make_unique<Process>(must(SaCells::open(runtime_.path(), state_.path(), geometry)));
  }
  // What is left after a power failure: the disk, and a memory file system that is empty.
  void reboot() { std::filesystem::remove(cells_path()); }
  std::string cells_path() const { return runtime_.path() + "/sa-cells"; }
  std::string numbers_path() const { return state_.path() + "/sa-numbers"; }
  void flip(const std::string& path, size_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    ASSERT_TRUE(file.flush());
  }

  test::TemporaryDirectory runtime_;
  test::TemporaryDirectory state_;
};

inline CellRequest wants(const SaIdentity& identity, uint32_t replay_window = 0) {
  return {.identity = identity, .replay_window = replay_window};
}
inline CellRequest behind(uint64_t last_sequence, CellRequest request) {
  request.last_sequence = last_sequence;
  return request;
}
inline CellRequest with_esn(CellRequest request) {
  request.esn = true;
  return request;
}

inline const SaIdentity kOutKey = identity_of(1, Direction::kOut);
inline const SaIdentity kInKey = identity_of(2, Direction::kIn);

}  // namespace espalier::test

// Any bytes as frames on any port: no crash, nothing between the protected networks in clear. The first byte
// chooses port and queue and how the bytes become frames: as they are, or behind a correct Ethernet header; a
// length byte in front of each of several frames lets fragments and answers meet.
#include "tests/fuzz/fuzz_gateway.hpp"

using namespace espalier;

namespace {

void inject(test::Testbed& bed, uint8_t how, test::ByteView bytes) {
  const bool lan = how & 1;
  test::Bytes frame;
  if (how & 4) {
    const MacAddress& to = lan ? test::kLanMac : test::kWanMac;
    frame.assign(to.begin(), to.end());
    frame.insert(frame.end(), {2, 0, 0, 0, 0xff, 1, 8, static_cast<uint8_t>(how & 8 ? 6 : 0)});
  }
  frame.insert(frame.end(), bytes.begin(), bytes.end());
  if (frame.empty() || frame.size() > 1514) return;
  bed.inject(lan ? "lan0" : "wan0", how >> 1 & 1, frame);
  bed.run_until_idle();
  test::check_outputs(bed, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  test::Testbed& bed = test::fuzz_gateway();
  size_t at = 0;
  for (int frames = 0; frames < 8 && at + 2 < size; ++frames) {
    const uint8_t how = data[at];
    const size_t wanted = data[at + 1] * 8u;
    const size_t length = std::min(wanted, size - at - 2);
    inject(bed, how, test::ByteView(data + at + 2, length));
    at += 2 + length;
  }
  bed.advance_time(std::chrono::milliseconds(50));
  return 0;
}

// Any bytes as the plaintext of authentic ESP: what a peer with the right keys can send. The first byte
// chooses the padding length field, the next header and whether the ESP packet itself is damaged. No crash,
// and what goes back out by the WAN is never clear between the protected networks.
#include "tests/fuzz/fuzz_gateway.hpp"
#include "tests/support/esp_codec.hpp"
#include "tests/support/packet_builder.hpp"

using namespace espalier;

namespace {

const test::EspKey kKey{.spi = 0x3001, .key = test::Bytes(20, 0x51)};

constexpr MacAddress kPeerMac{2, 0, 0, 0, 0xff, 1};

test::Bytes outer_frame(test::ByteView esp) {
  return test::ethernet(test::kWanMac, kPeerMac,
                        test::ip(kProtoEsp, "203.0.113.2", "203.0.113.1", esp).bytes());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 1400) return 0;
  static uint64_t sequence = 0;
  test::Testbed& bed = test::fuzz_gateway();
  test::SealOptions options;
  options.next_header = data[0] & 1 ? data[1] : static_cast<uint8_t>(kProtoIpip);
  if (data[0] & 2) options.padding = test::Bytes(data[1], 1);
  test::Bytes esp = test::seal_esp(kKey, ++sequence, test::ByteView(data + 2, size - 2), options);
  if (data[0] & 4) esp[data[1] % esp.size()] ^= 1;
  const test::Bytes frame = outer_frame(esp);
  if (frame.size() > 1514) return 0;
  bed.inject("wan0", data[0] >> 3 & 1, frame);
  bed.run_until_idle();
  test::check_outputs(bed, true);
  return 0;
}

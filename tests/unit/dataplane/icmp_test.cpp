// ICMP against what Linux sent (tests/golden/recordings), and byte by byte where no recording has it.
#include "dataplane/icmp.hpp"

#include <gtest/gtest.h>

#include "tests/support/packet_builder.hpp"
#include "tests/support/pcap_file.hpp"
#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
const auto* const kEal = testing::AddGlobalTestEnvironment(new EalEnvironment(256));
constexpr std::string_view kHost = "192.168.10.45", kGateway = "192.168.10.1";

// The IP packets of one step of a recording ("01-forward", "in-lan0").
std::vector<Bytes> recorded(const std::string& scenario, const std::string& file, uint32_t step) {
  const auto frames = test::read_pcap(std::string(GOLDEN_RECORDINGS) + "/" + scenario + "/" + file + ".pcap");
  if (!frames) throw std::runtime_error(frames.error().text);
  std::vector<Bytes> packets;
  for (const auto& frame : *frames) {
    if (frame.seconds != step || test::get16(frame.frame, 12) != kEtherTypeIpv4) continue;
    const auto ip = test::ByteView(frame.frame).subspan(14);
    packets.push_back(test::copy(ip.first(test::get16(ip, 2))));
  }
  return packets;
}

class IcmpTest : public testing::Test {
 protected:
  Bytes error_about(const Bytes& packet, IcmpAnswer answer, uint16_t id, SecurityPath path = kClear) {
    rte_mbuf* about = pool_.make(packet, path);
    EXPECT_TRUE(may_answer_with_icmp_error(about));
    rte_mbuf* error = make_icmp_error(about, answer, test::parse_address(kGateway), id, pool_.get());
    const Bytes bytes = bytes_of(error);
    record_ = dataplane::packet(error);
    EXPECT_EQ(bytes_of(about), packet);
    EXPECT_EQ(error->pkt_len, error->data_len);
    rte_pktmbuf_free(about);
    rte_pktmbuf_free(error);
    return bytes;
  }
  bool may_answer(const Bytes& packet) {
    rte_mbuf* about = pool_.make(packet);
    const bool may = may_answer_with_icmp_error(about);
    rte_pktmbuf_free(about);
    return may;
  }
  // The reply, or nothing; then the request must be as it was.
  std::optional<Bytes> reply_to(const Bytes& request, uint16_t id) {
    rte_mbuf* mbuf = pool_.make(request, SecurityPath(9));
    std::optional<Bytes> reply;
    if (turn_echo_into_reply(mbuf, id)) {
      reply = bytes_of(mbuf);
      record_ = dataplane::packet(mbuf);
    } else {
      EXPECT_EQ(bytes_of(mbuf), request);
    }
    rte_pktmbuf_free(mbuf);
    return reply;
  }

  TestPool pool_{8, 4096};
  dataplane::Packet record_;
};

// --- Errors ---

TEST_F(IcmpTest, ErrorsAreThoseThatLinuxSent) {
  struct Case {
    const char* scenario;
    uint32_t step;
    IcmpAnswer answer;
    const char* what;
  };
  const Case cases[] = {
      {"01-forward", 3, {kIcmpTimeExceeded, 0, 0}, "ttl1"},
      {"01-forward", 6, {kIcmpUnreachable, kIcmpHostUnreachable, 0}, "unreachable-route"},
      {"01-forward", 7, {kIcmpUnreachable, kIcmpAdminProhibited, 0}, "prohibit-route"},
      {"16-pmtu", 2, {kIcmpUnreachable, kIcmpFragmentationNeeded, 1446}, "too big: cut to 576 bytes"},
  };
  for (const Case& c : cases) {
    const auto sent = recorded(c.scenario, "in-lan0", c.step);
    const auto answered = recorded(c.scenario, "out-lan0", c.step);
    ASSERT_EQ(sent.size(), 1u) << c.what;
    ASSERT_EQ(answered.size(), 1u) << c.what;
    EXPECT_EQ(error_about(sent[0], c.answer, test::get16(answered[0], 4)), answered[0]) << c.what;
  }
}

// As Linux 6.1 answered such packets: precedence 6, the rest of the TOS kept but for its lowest bit.
TEST_F(IcmpTest, ErrorsKeepPartOfTheTos) {
  const std::pair<uint8_t, uint8_t> seen[] = {{0x00, 0xc0}, {0x02, 0xc2}, {0x12, 0xd2},
                                              {0x1e, 0xde}, {0x2b, 0xca}, {0xff, 0xde}};
  for (const auto& [sent, answered] : seen) {
    const Bytes packet = test::udp("192.168.10.45:4000", "198.51.100.9:5000").tos(sent).ttl(1).bytes();
    EXPECT_EQ(error_about(packet, {kIcmpTimeExceeded, 0, 0}, 1).at(1), answered) << int{sent};
  }
}

TEST_F(IcmpTest, TheRecordOfAnErrorIsReadyForTheWayOut) {
  const Bytes packet = test::udp("192.168.10.45:4000", "198.51.100.9:5000").bytes();
  error_about(packet, {kIcmpUnreachable, kIcmpFragmentationNeeded, 1400}, 1);
  EXPECT_EQ(record_.flags, kFromGateway | kIcmpError);
  EXPECT_EQ(record_.tuple.source, test::parse_address(kGateway));
  EXPECT_EQ(record_.tuple.destination, test::parse_address(kHost));
  EXPECT_EQ(record_.tuple.source_port.host(), 0);
  EXPECT_EQ(record_.tuple.destination_port.host(), 3 << 8 | 4);
  EXPECT_EQ(record_.tuple.protocol, kProtoIcmp);
  EXPECT_EQ(record_.in, kNoInterface);
  EXPECT_EQ(record_.path, kClear);
  EXPECT_EQ(record_.l4_offset, 20);
  EXPECT_EQ(record_.ip_bytes, 28 + packet.size());
  error_about(packet, {kIcmpTimeExceeded, 0, 0}, 1, SecurityPath(4));
  EXPECT_EQ(record_.flags, kFromGateway | kIcmpError | kAboutDecrypted);
}

TEST_F(IcmpTest, NothingBehindThePacketIsQuoted) {
  Bytes padded = test::udp("192.168.10.45:1", "198.51.100.9:2").payload(4).bytes();
  const Bytes packet = padded;
  padded.resize(46, 0xee);
  const Bytes error = error_about(padded, {kIcmpTimeExceeded, 0, 0}, 1);
  EXPECT_EQ(Bytes(error.begin() + 28, error.end()), packet);
}

TEST_F(IcmpTest, ExactlyAsMuchIsQuotedAsFits) {
  for (const size_t total : {547, 548, 549}) {
    const Bytes packet = test::udp("192.168.10.45:1", "198.51.100.9:2").payload(total - 28).bytes();
    const Bytes error = error_about(packet, {kIcmpTimeExceeded, 0, 0}, 1);
    EXPECT_EQ(error.size(), std::min<size_t>(576, 28 + total));
    EXPECT_EQ(test::internet_checksum(test::ByteView(error).subspan(20)), 0);
  }
}

TEST_F(IcmpTest, WithoutBuffersThereIsNoError) {
  TestPool one(1, 2048);
  rte_mbuf* about = one.make(test::udp("192.168.10.45:1", "198.51.100.9:2").bytes());
  EXPECT_EQ(make_icmp_error(about, {3, 1, 0}, test::parse_address(kGateway), 1, one.get()), nullptr);
  rte_pktmbuf_free(about);
}

TEST_F(IcmpTest, AboutSomePacketsNoErrorMayBeSent) {
  EXPECT_TRUE(may_answer(test::udp("10.0.0.1:1", "10.0.0.2:2").bytes()));
  EXPECT_TRUE(may_answer(test::udp("240.0.0.1:1", "10.0.0.2:2").bytes()));
  for (const std::string source : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "255.255.255.255"})
    EXPECT_FALSE(may_answer(test::udp(source + ":1", "10.0.0.2:2").bytes())) << source;
  for (const std::string destination : {"224.0.0.5", "255.255.255.255"})
    EXPECT_FALSE(may_answer(test::udp("10.0.0.1:1", destination + ":2").bytes())) << destination;

  const auto parts = test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600);
  EXPECT_TRUE(may_answer(parts[0]));
  EXPECT_FALSE(may_answer(parts[1]));
}

TEST_F(IcmpTest, ErrorsAndUnknownIcmpTypesAreNotAnswered) {
  for (unsigned type = 0; type < 256; ++type) {
    const bool is_known_query =
        (type <= 18 && type != 3 && type != 4 && type != 5 && type != 11 && type != 12);
    const Bytes packet =
        test::icmp(static_cast<uint8_t>(type), 0, 0, "10.0.0.1", "10.0.0.2", test::counting_bytes(8)).bytes();
    EXPECT_EQ(may_answer(packet), is_known_query) << "type " << type;
  }
  Bytes no_type = test::ip(kProtoIcmp, "10.0.0.1", "10.0.0.2", {}).bytes();
  no_type.push_back(8);  // frame padding
  EXPECT_FALSE(may_answer(no_type));
}

// --- Echo ---

TEST_F(IcmpTest, TheReplyIsTheOneThatLinuxSent) {
  const auto request = recorded("01-forward", "in-lan0", 4);  // ttl1-to-self
  const auto reply = recorded("01-forward", "out-lan0", 4);
  ASSERT_EQ(request.size(), 1u);
  ASSERT_EQ(reply.size(), 1u);
  EXPECT_EQ(reply_to(request[0], test::get16(reply[0], 4)), reply[0]);
  EXPECT_EQ(record_.flags, kFromGateway);
  EXPECT_EQ(record_.tuple.source, test::parse_address(kGateway));
  EXPECT_EQ(record_.tuple.source_port.host(), 7);
  EXPECT_EQ(record_.tuple.destination_port.host(), 0);
  EXPECT_EQ(record_.path, kClear) << "the reply to a decrypted request is a new packet";
  EXPECT_EQ(record_.in, kNoInterface);
}

TEST_F(IcmpTest, RepliesHaveNoOptionsNoDfAndNoPadding) {
  Bytes request = test::echo_request(kHost, kGateway, 9, 3)
                      .tos(0x2a)
                      .ttl(1)
                      .df()
                      .options(test::from_hex("94040000"))
                      .payload(33)
                      .bytes();
  const Bytes expected = test::echo_reply(kGateway, kHost, 9, 3).id(5).tos(0x2a).payload(33).bytes();
  EXPECT_EQ(reply_to(request, 5), expected);
  EXPECT_EQ(record_.ip_bytes, expected.size());
  request.resize(request.size() + 9, 0xee);
  EXPECT_EQ(reply_to(request, 5), expected);
}

TEST_F(IcmpTest, OnlyGoodEchoRequestsAreAnswered) {
  EXPECT_FALSE(reply_to(test::echo_reply(kHost, kGateway).bytes(), 1));
  EXPECT_FALSE(reply_to(test::echo_request(kHost, kGateway).bad_checksum().bytes(), 1));
  EXPECT_FALSE(reply_to(test::udp("192.168.10.45:8", "192.168.10.1:9").bytes(), 1));
  EXPECT_FALSE(reply_to(test::ip(kProtoIcmp, kHost, kGateway, test::from_hex("0800f7ff000000")).bytes(), 1));
  const auto parts = test::fragments(test::echo_request(kHost, kGateway).payload(1000).bytes(), 600);
  EXPECT_FALSE(reply_to(parts[0], 1));
  EXPECT_FALSE(reply_to(parts[1], 1));
  // The checksum is right for these two, but they are not the whole.
  Bytes cut_off = test::echo_request(kHost, kGateway).payload(Bytes(16, 0)).bytes();
  cut_off.resize(cut_off.size() - 2);
  EXPECT_FALSE(reply_to(cut_off, 1));
  Bytes first_fragment = test::echo_request(kHost, kGateway).bytes();
  test::put16(first_fragment, 6, 0x2000);
  EXPECT_FALSE(reply_to(first_fragment, 1));
  EXPECT_TRUE(reply_to(test::echo_request(kHost, kGateway).payload(0).bytes(), 1));
}

// --- Quotes ---

TEST_F(IcmpTest, QuotesAreReadAsPacketsAre) {
  Quote quote;
  ASSERT_TRUE(parse_quote(test::tcp("10.0.0.1:33", "10.0.0.2:80").options(test::from_hex("01010101")).bytes(),
                          quote));
  EXPECT_EQ(quote.tuple.source, test::parse_address("10.0.0.1"));
  EXPECT_EQ(quote.tuple.destination, test::parse_address("10.0.0.2"));
  EXPECT_EQ(quote.tuple.source_port.host(), 33);
  EXPECT_EQ(quote.tuple.destination_port.host(), 80);
  EXPECT_EQ(quote.tuple.protocol, kProtoTcp);
  EXPECT_EQ(quote.l4_offset, 24);
  EXPECT_FALSE(quote.is_fragment);

  ASSERT_TRUE(parse_quote(test::echo_request("10.0.0.1", "10.0.0.2", 0x1234).bytes(), quote));
  EXPECT_EQ(quote.tuple.source_port.host(), 0x1234);
  EXPECT_EQ(quote.tuple.destination_port.host(), 8 << 8);
  EXPECT_EQ(quote.l4_offset, 20);

  const Bytes esp = test::ip(kProtoEsp, "10.0.0.1", "10.0.0.2", test::from_hex("0000200100000005aa")).bytes();
  ASSERT_TRUE(parse_quote(esp, quote));
  EXPECT_EQ(quote.tuple.protocol, kProtoEsp);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  EXPECT_EQ(test::get32(esp, quote.l4_offset), 0x2001u);

  const auto parts = test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600);
  ASSERT_TRUE(parse_quote(parts[0], quote));
  EXPECT_FALSE(quote.is_fragment);
  EXPECT_EQ(quote.tuple.source_port.host(), 1);
  ASSERT_TRUE(parse_quote(parts[1], quote));
  EXPECT_TRUE(quote.is_fragment);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  EXPECT_EQ(quote.tuple.destination_port.host(), 0);
}

TEST_F(IcmpTest, ShortAndForeignQuotesAreRefused) {
  const Bytes packet = test::udp("10.0.0.1:1", "10.0.0.2:2").options(test::from_hex("01010101")).bytes();
  Quote quote;
  for (size_t length = 0; length <= 33; ++length) {
    const Bytes quoted(packet.begin(), packet.begin() + static_cast<long>(length));  // its end is the heap's
    EXPECT_EQ(parse_quote(quoted, quote), length >= 32) << length;
  }
  Bytes foreign = packet;
  foreign[0] = 0x66;
  EXPECT_FALSE(parse_quote(foreign, quote)) << "not IPv4";
  foreign[0] = 0x44;
  EXPECT_FALSE(parse_quote(foreign, quote)) << "a header of 16 bytes";
}

// --- Rate limit ---

TEST(IcmpRateLimit, LetsTheConfiguredRateThroughAndABurst) {
  IcmpRateLimit limit;
  unsigned at_once = 0, later = 0;
  for (int i = 0; i < 1000; ++i) at_once += limit.take(1000, 5000);
  EXPECT_EQ(at_once, 50u);
  for (uint64_t now_ms = 5001; now_ms <= 6000; ++now_ms)
    for (int i = 0; i < 3; ++i) later += limit.take(1000, now_ms);
  EXPECT_EQ(later, 1000u);
}

TEST(IcmpRateLimit, SmallRatesComeOneByOne) {
  IcmpRateLimit limit;
  unsigned taken = 0;
  for (uint64_t now_ms = 0; now_ms < 10'000; ++now_ms) taken += limit.take(3, now_ms);
  EXPECT_EQ(taken, 30u);
}

TEST(IcmpRateLimit, APauseOfAnyLengthFillsTheBucketOnce) {
  IcmpRateLimit limit;
  for (const uint64_t now_ms : {uint64_t{0}, uint64_t{334}, uint64_t{10'000}, UINT64_MAX}) {
    EXPECT_TRUE(limit.take(3, now_ms)) << now_ms;
    EXPECT_FALSE(limit.take(3, now_ms)) << now_ms;
  }
}

TEST(IcmpRateLimit, ZeroIsNoLimit) {
  IcmpRateLimit limit;
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(limit.take(0, 0));
  EXPECT_EQ(IcmpRateLimit::share(0, 4), 0u);
  EXPECT_EQ(IcmpRateLimit::share(1000, 4), 250u);
  EXPECT_EQ(IcmpRateLimit::share(3, 4), 1u);
}

}  // namespace
}  // namespace espalier::dataplane

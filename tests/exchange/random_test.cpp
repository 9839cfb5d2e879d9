// Random schedules: rekeyings, deletes, expiries, traffic, deaths and bad weather in any order, from a seed
// that a failure names. While it goes on, an outbound SA in use is always known to the peer (as long as
// nobody deletes it on purpose); afterwards, in good weather, exactly what is configured is up.
//
// ESPALIER_SEEDS=FIRST-LAST plays others.
#include <cstdlib>

#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

constexpr size_t kChildren = 2;

struct Weather {
  bool deaths = false, deletes = false, both_initiate = false;
  double loss = 0;
};

class Story : public Lab {
 public:
  Story(uint64_t seed, const Weather& weather) : Lab(seed), weather_(weather), random_(seed * 7919) {
    left_config.children = right_config.children = kChildren;
    const auto persistent = [](ConnectionConfig& c) {
      c.dpd_interval = seconds{10};
      c.dpd_action = DpdAction::kRestart;
      c.close_action = CloseAction::kStart;
      c.lifetime = seconds{120};
      for (ChildConfig& child : c.children) child.lifetime = seconds{60};
    };
    left_config.change = right_config.change = persistent;
    for (auto* side : {&left, &right}) {
      side->options.retransmissions = {milliseconds{500}, seconds{1}, seconds{2},
                                       seconds{4},        seconds{8}, seconds{8}};
      Side& other = side == &left ? right : left;
      side->use = [side, &other](Spi spi) { return use_of(*side, other, spi); };
    }
  }
  void TestBody() override {}

  void play() {
    configure(ConnectionType::kInitiate,
              weather_.both_initiate ? ConnectionType::kInitiate : ConnectionType::kRespond);
    left.restart();
    right.restart();
    const auto up = [&] {
      return left.live_children().size() == kChildren && right.live_children().size() == kChildren;
    };
    ASSERT_TRUE(net.run_until(up, seconds{120})) << story();
    settle(seconds{30});
    net.conditions = {.loss = weather_.loss,
                      .duplicate = 0.1,
                      .corrupt = weather_.loss / 4,
                      .delay = milliseconds{10},
                      .jitter = milliseconds{static_cast<int64_t>(random_() % 100)}};
    if (!weather_.deletes && weather_.loss == 0) watch();
    for (int i = 0; i < 40 && !HasFailure(); ++i) {
      act();
      settle(milliseconds{random_() % 3000});
      revive();
    }
    net.after_each = {};
    net.conditions = {};
    revive();
    quiet_ = true;
    settle(seconds{90});
    expect_up();
  }
  std::vector<Bytes> sent() const {
    std::vector<Bytes> all;
    for (const Datagram& datagram : net.sent) all.push_back(datagram.bytes);
    return all;
  }

 private:
  static SaUse use_of(const Side& side, const Side& other, Spi spi) {
    const auto own =
        std::ranges::find_if(side.sas(), [&](const auto& each) { return each.second.record.spi == spi; });
    if (own == side.sas().end()) return {.spi = spi, .packets = 0, .bytes = 0, .idle = {}};
    const auto newest = other.outbound(own->second.record.reqid);
    const bool used = !newest.empty() && newest.front()->record.spi == spi;
    return {.spi = spi,
            .packets = used,
            .bytes = used,
            .idle = used ? std::optional(milliseconds{0}) : std::nullopt};
  }
  void watch() {
    net.after_each = [this] {
      for (size_t child = 0; child < kChildren; ++child) {
        EXPECT_TRUE(carries(left, right, child)) << "left sends into nothing" << story();
        EXPECT_TRUE(carries(right, left, child)) << "right sends into nothing" << story();
      }
      if (HasFailure()) net.after_each = {};
    };
  }
  Side& any_side() { return random_() % 2 ? left : right; }
  void act() {
    Side& side = any_side();
    if (side.died()) return;
    const std::string peer = &side == &left ? "right" : "left";
    const std::string child = fmt_child(random_() % kChildren);
    switch (random_() % (weather_.deletes ? 10 : 7)) {
      case 0:
      case 1:
        return void(side.command(Rekey{peer, child}));
      case 2:
        return void(side.command(Rekey{peer, ""}));
      case 3:
        for (Side* each : {&left, &right})
          if (!each->died()) (void)each->command(Rekey{each == &left ? "right" : "left", child});
        return;
      case 4:
        for (Side* each : {&left, &right})
          if (!each->died()) (void)each->command(Rekey{each == &left ? "right" : "left", ""});
        return;
      case 5:
        for (const ChildReport& report : side.live_children())
          side.event(Expire{.spi = report.spi_in, .direction = Direction::kIn, .hard = false});
        return;
      case 6:
        if (weather_.deaths) side.die_after(random_() % 30);
        return;
      case 7:
        return void(side.command(Terminate{peer, child}));
      case 8:
        return void(side.command(Terminate{peer, ""}));
      default:
        for (const ChildReport& report : side.live_children())
          side.event(Expire{.spi = report.spi_in, .direction = Direction::kIn, .hard = true});
    }
  }
  static std::string fmt_child(uint64_t child) { return "tunnel-" + std::to_string(child); }
  // espalierd starts a process again at once; who is dead for ten seconds of a lifetime of sixty may lose it.
  void revive() {
    for (Side* side : {&left, &right})
      if (side->died()) side->restart();
    if (!weather_.deletes) return;
    for (Side* side : {&left, &right})  // who terminated does not come back alone
      if (!side->died())
        for (size_t child = 0; child < kChildren; ++child)
          if (side->outbound(reqid_of(child)).empty()) side->event(Acquire{reqid_of(child), {}});
  }
  void expect_up() {
    revive();
    const auto settled = [&] {
      return left.core().ike_sas(net.now).size() == 1 && right.core().ike_sas(net.now).size() == 1 &&
             left.sas().size() == 2 * kChildren && right.sas().size() == 2 * kChildren;
    };
    for (int i = 0; i < 6 && !settled(); ++i) {
      revive();
      settle(seconds{20});
    }
    EXPECT_TRUE(net.run_until(settled, seconds{60})) << "never settled";
    for (const Side* side : {&left, &right}) {
      EXPECT_EQ(side->live_children().size(), kChildren) << side->name << story();
      EXPECT_EQ(side->states().size(), 1u);
    }
    expect_pairs();
    expect_no_orphans();
    for (size_t child = 0; child < kChildren; ++child)
      EXPECT_TRUE(carries(left, right, child) && carries(right, left, child)) << story();
    const auto l = left.established(), r = right.established();
    ASSERT_TRUE(l.size() == 1 && r.size() == 1) << story();
    EXPECT_EQ(l[0].initiator_spi, r[0].initiator_spi);
    EXPECT_EQ(l[0].responder_spi, r[0].responder_spi);
  }

  Weather weather_;
  std::mt19937_64 random_;
  bool quiet_ = false;
};

#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kSchedules = 15;  // the same take ten times as long
#else
constexpr uint64_t kSchedules = 60;
#endif

std::pair<uint64_t, uint64_t> seeds() {
  const char* given = std::getenv("ESPALIER_SEEDS");
  uint64_t first = 1, last = kSchedules;
  if (given && std::sscanf(given, "%lu-%lu", &first, &last) < 2) last = first;
  return {first, last};
}

void play_all(const Weather& weather) {
  const auto [first, last] = seeds();
  for (uint64_t seed = first; seed <= last; ++seed) {
    Story story(seed, weather);
    story.play();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

TEST(RandomSchedules, RekeyingsWithoutLoss) {
  play_all({});
}
TEST(RandomSchedules, RekeyingsAndDeaths) {
  play_all({.deaths = true});
}
TEST(RandomSchedules, Loss) {
  play_all({.loss = 0.1});
}
TEST(RandomSchedules, LossAndDeaths) {
  play_all({.deaths = true, .loss = 0.1});
}
TEST(RandomSchedules, DeletesToo) {
  play_all({.deletes = true, .loss = 0.05});
}
TEST(RandomSchedules, Everything) {
  play_all({.deaths = true, .deletes = true, .both_initiate = true, .loss = 0.1});
}

// So that a failure can be looked at.
TEST(RandomSchedules, ASeedIsTheSameScheduleAgain) {
  const auto sent = [] {
    Story story(1, {.deaths = true, .deletes = true, .both_initiate = true, .loss = 0.1});
    story.play();
    return story.sent();
  };
  EXPECT_EQ(sent(), sent());
}

}  // namespace
}  // namespace espalier::ike::exchange

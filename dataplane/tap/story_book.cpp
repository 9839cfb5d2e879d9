#include "dataplane/tap/story_book.hpp"

#include <algorithm>
#include <vector>

namespace espalier::dataplane {

using std::chrono::milliseconds;

bool StoryBook::may_begin(Clock::time_point now) {
  if (now - second_began_ >= milliseconds(1000)) second_began_ = now, begun_this_second_ = 0;
  return begun_this_second_ < kMostPerSecond;
}

uint8_t StoryBook::begin(InterfaceIndex in) {
  const auto now = Clock::now();
  const std::lock_guard lock(begin_mutex_);
  if (!may_begin(now)) return 0;
  for (size_t i = 0; i < stories_.size(); ++i) {
    Story& story = stories_[next_];
    next_ = static_cast<uint8_t>((next_ + 1) % stories_.size());
    const std::lock_guard story_lock(story.mutex);
    if (story.is_told || now < story.free_from) continue;
    ++begun_this_second_;
    story.is_told = true;
    story.has_end = false;
    story.last_line = now;
    story.text.clear();
    story.seen = {.point = message::TapPoint::kStory,
                  .link = message::TapLink::kText,
                  .interface = in,
                  .time_ns = wall_clock_ns()};
    return static_cast<uint8_t>(&story - stories_.data() + 1);
  }
  return 0;
}

void StoryBook::add(uint8_t number, std::string_view stage, std::string_view text) {
  if (number == 0 || number > stories_.size()) return;
  Story& story = stories_[number - 1];
  const std::lock_guard lock(story.mutex);
  if (!story.is_told || story.text.size() + stage.size() + text.size() + 2 > kMostBytes) return;
  story.last_line = Clock::now();
  story.text.append(stage).append(1, '\t').append(text).append(1, '\n');
}

void StoryBook::expect(uint8_t number, bool end) {
  if (number == 0 || number > stories_.size()) return;
  Story& story = stories_[number - 1];
  const std::lock_guard lock(story.mutex);
  story.has_end = end;
}

void StoryBook::collect(PacketTap& tap, uint16_t thread) {
  const auto now = Clock::now();
  std::vector<std::pair<Sighting, std::string>> over;
  for (Story& story : stories_) {
    const std::lock_guard lock(story.mutex);
    const milliseconds quiet(story.has_end ? kQuietMs : kPatienceMs);
    if (!story.is_told || now - story.last_line < quiet) continue;
    story.is_told = false;
    story.free_from = now + milliseconds(story.has_end ? kPatienceMs / 4 : kForgetMs);
    over.emplace_back(story.seen, std::move(story.text));
  }
  std::ranges::sort(over, {}, [](const auto& one) { return one.first.time_ns; });
  for (const auto& [seen, text] : over) tap.take(thread, text, seen);
}

}  // namespace espalier::dataplane

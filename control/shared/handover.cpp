#include "control/shared/handover.hpp"

#include <poll.h>
#include <sys/socket.h>

namespace espalier::handover {
namespace {

constexpr size_t kSegmentFds = 4;
constexpr size_t kChannelFds = 3;

template <class Message>
std::span<const std::byte> bytes_of(const Message& message) {
  return std::as_bytes(std::span(&message, 1));
}

// A Hello or Welcome whose magic, protocol, size and number of descriptors are right.
template <class Message>
Result<Message> decode(std::span<const std::byte> buffer, const Datagram& datagram, size_t base_fds) {
  Message message;
  if (datagram.bytes != sizeof message) return fail("handover: a message of {} bytes", datagram.bytes);
  std::memcpy(&message, buffer.data(), sizeof message);
  if (message.magic != kMagic) return fail("handover: wrong magic number");
  if (message.protocol != kProtocol)
    return fail("handover: protocol {} there, {} here", message.protocol, kProtocol);
  if (message.has_segments > 1) return fail("handover: has_segments is {}", message.has_segments);
  const size_t expected = base_fds + message.has_segments * kSegmentFds;
  if (datagram.fds.size() != expected)
    return fail("handover: {} descriptors instead of {}", datagram.fds.size(), expected);
  return message;
}

SegmentFds take_segments(std::vector<Fd>& fds) {
  return {std::move(fds[0]), std::move(fds[1]), std::move(fds[2]), std::move(fds[3])};
}

// Of the last three.
ChannelFds take_channel(std::vector<Fd>& fds) {
  return {std::move(fds[fds.size() - 3]), std::move(fds[fds.size() - 2]), std::move(fds.back())};
}

void append(std::vector<int>& to, const SegmentFds& from) {
  to.insert(to.end(), {from.vault.get(), from.cells.get(), from.numbers.get(), from.statistics.get()});
}

bool closed_by_peer(const Fd& socket) {
  char byte;
  const ssize_t got = ::recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

bool is_readable(const Fd& fd) {
  pollfd event{.fd = fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&event, 1, 0) == 1;
}

}  // namespace

Result<DataplaneEndpoint> DataplaneEndpoint::listen(const std::string& runtime_dir) {
  return DataplaneEndpoint(TRY(listen_unix(runtime_dir + "/" + kSocketName, SOCK_SEQPACKET)));
}

Result<std::optional<DataplaneEndpoint::Adoption>> DataplaneEndpoint::poll(const State& state) {
  notice_hangup();
  // Before the Welcome is looked for: who called after an espalierd had sent one and died must not be told
  // that we have no segments.
  const bool has_caller = is_readable(listener_);
  if (greeted_) {
    auto adoption = read_welcome(state);
    if (!adoption) greeted_.reset();
    if (!adoption || *adoption) return adoption;
  }
  if (has_caller) TRY(accept_and_greet(state));
  return std::nullopt;
}

void DataplaneEndpoint::notice_hangup() {
  if (current_ && closed_by_peer(current_)) current_.reset();
}

// The newest caller is the one that counts: an espalierd that died before its Welcome leaves no trace.
Result<void> DataplaneEndpoint::accept_and_greet(const State& state) {
  Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer) return {};
  if (auto pid = authenticate_peer(peer); !pid) return std::unexpected(std::move(pid).error());
  std::vector<int> fds;
  if (state.segments != nullptr) append(fds, *state.segments);
  Hello hello;
  hello.has_segments = state.segments != nullptr;
  hello.layouts = state.layouts;
  hello.incarnation = state.incarnation;
  hello.generation = state.generation;
  TRY(send_with_fds(peer, bytes_of(hello), fds));
  greeted_ = std::move(peer);
  greeted_owns_segments_ = state.segments == nullptr;
  return {};
}

Result<std::optional<DataplaneEndpoint::Adoption>> DataplaneEndpoint::read_welcome(const State& state) {
  std::byte buffer[sizeof(Welcome)];
  auto datagram = TRY(receive_with_fds(greeted_, buffer));
  if (!datagram) return std::nullopt;
  if (datagram->bytes == 0) return fail("handover: espalierd went away before it answered");
  const Welcome welcome = TRY(decode<Welcome>(buffer, *datagram, kChannelFds));
  if (welcome.layouts != state.layouts)
    return fail("handover: {}", describe_difference(state.layouts, welcome.layouts));
  if ((welcome.has_segments != 0) != greeted_owns_segments_)
    return fail("handover: {} segments that we {}", welcome.has_segments ? "brings" : "lacks",
                welcome.has_segments ? "have already" : "do not have");
  std::vector<Fd>& fds = datagram->fds;
  auto channel = TRY(Channel::attach(take_channel(fds)));
  std::optional<SegmentFds> segments;
  if (welcome.has_segments != 0) segments = take_segments(fds);
  current_ = std::move(greeted_);
  return Adoption{std::move(segments), std::move(channel)};
}

Result<std::optional<Channel>> DataplaneEndpoint::take_ike_channel() {
  if (!current_) return std::nullopt;
  const auto taken = [&]() -> Result<std::optional<Channel>> {
    std::byte buffer[sizeof(IkeChannel)];
    auto datagram = TRY(receive_with_fds(current_, buffer));
    if (!datagram || datagram->bytes == 0) return std::nullopt;  // notice_hangup() sees the end
    const IkeChannel message = TRY(decode<IkeChannel>(buffer, *datagram, kChannelFds));
    if (message.has_segments != 0) return fail("handover: segments with an IKE channel");
    return TRY(Channel::attach(take_channel(datagram->fds)));
  };
  auto channel = taken();
  if (!channel) current_.reset();
  return channel;
}

Result<std::optional<DaemonConnection>> DaemonConnection::connect(const std::string& runtime_dir) {
  auto socket = TRY(connect_unix(runtime_dir + "/" + kSocketName, SOCK_SEQPACKET));
  if (!socket) return std::nullopt;
  return TRY(adopt(std::move(*socket)));
}

Result<DaemonConnection> DaemonConnection::adopt(Fd socket) {
  const pid_t pid = TRY(authenticate_peer(socket));
  return DaemonConnection(std::move(socket), pid);
}

Result<std::optional<DaemonConnection::Offer>> DaemonConnection::receive_hello() {
  std::byte buffer[sizeof(Hello)];
  auto datagram = TRY(receive_with_fds(socket_, buffer));
  if (!datagram) return std::nullopt;
  if (datagram->bytes == 0) return fail("handover: the dataplane went away before it said hello");
  Offer offer{TRY(decode<Hello>(buffer, *datagram, 0)), std::nullopt};
  if (offer.hello.has_segments != 0) offer.segments = take_segments(datagram->fds);
  return offer;
}

Result<void> DaemonConnection::send_welcome(const Layouts& layouts, const SegmentFds* segments,
                                            const Channel& channel) {
  Welcome welcome;
  welcome.has_segments = segments != nullptr;
  welcome.layouts = layouts;
  std::vector<int> fds;
  if (segments != nullptr) append(fds, *segments);
  for (const int fd : channel.descriptors()) fds.push_back(fd);
  return send_with_fds(socket_, bytes_of(welcome), fds);
}

Result<void> DaemonConnection::send_ike_channel(const Channel& channel) {
  return send_with_fds(socket_, bytes_of(IkeChannel{}), channel.descriptors());
}

bool DaemonConnection::hung_up() {
  return closed_by_peer(socket_);
}

std::string describe_difference(const Layouts& here, const Layouts& there) {
  std::string text;
  const auto compare = [&text](const char* what, uint32_t ours, uint32_t theirs) {
    if (ours == theirs) return;
    text += fmt::format("{}{} layout {} here, {} there", text.empty() ? "" : "; ", what, ours, theirs);
  };
  compare("vault", here.vault, there.vault);
  compare("cells", here.cells, there.cells);
  compare("numbers", here.numbers, there.numbers);
  compare("statistics", here.statistics, there.statistics);
  compare("messages", here.messages, there.messages);
  return text;
}

}  // namespace espalier::handover

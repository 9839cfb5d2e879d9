#include "control/shared/letter.hpp"

#include <algorithm>

namespace espalier {
namespace {

constexpr uint64_t kMagic = 0x7265'7474'656c'656b;
constexpr uint32_t kProtocol = 1;

struct Header {
  uint64_t magic = kMagic;
  uint32_t protocol = kProtocol;
  Letter::Kind kind{};
  uint64_t id = 0;
  uint64_t text_bytes = 0;
  uint32_t fds = 0;  // beside the memfd
  uint32_t reserved = 0;
};

Result<Header> decode(std::span<const std::byte> bytes, const Datagram& datagram) {
  Header header;
  if (datagram.bytes != sizeof header) return fail("a letter's header of {} bytes", datagram.bytes);
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) return fail("a letter with a wrong magic number");
  if (header.protocol != kProtocol) return fail("protocol {} there, {} here", header.protocol, kProtocol);
  if (header.kind < Letter::Kind::kHello || header.kind > Letter::Kind::kWantChannel)
    return fail("a letter of unknown kind {}", static_cast<uint32_t>(header.kind));
  if (header.fds > Letter::kMostFds || datagram.fds.size() != header.fds + 1)
    return fail("a letter with {} descriptors instead of {}", datagram.fds.size(), header.fds + 1);
  return header;
}

}  // namespace

Result<Letter> Letter::write(Kind kind, uint64_t id, std::string_view text, std::span<const uint8_t> secrets,
                             std::vector<Fd> fds) {
  const size_t bytes = text.size() + secrets.size();
  if (bytes > kMostBytes) return fail("a letter of {} bytes; {} are possible", bytes, kMostBytes);
  if (fds.size() > kMostFds) return fail("a letter with {} descriptors", fds.size());
  Segment body = TRY(Segment::create("espalier-letter", bytes + kPadding, Segment::Secrecy::kSecret));
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(body.data()));
  std::copy(secrets.begin(), secrets.end(), reinterpret_cast<uint8_t*>(body.data()) + text.size());
  return Letter(kind, id, text.size(), std::move(body), std::move(fds));
}

void Letter::wipe() {
  ::explicit_bzero(body_.data(), body_.bytes());
}

Result<bool> Letter::send(const Fd& socket) const {
  Header header;
  header.kind = kind_;
  header.id = id_;
  header.text_bytes = text_bytes_;
  header.fds = static_cast<uint32_t>(fds_.size());
  std::vector<int> descriptors{body_.fd().get()};
  for (const Fd& fd : fds_) descriptors.push_back(fd.get());
  return try_send_with_fds(socket, std::as_bytes(std::span(&header, 1)), descriptors);
}

Result<std::optional<Letter>> Letter::receive(const Fd& socket) {
  std::byte bytes[sizeof(Header)];
  auto datagram = TRY(receive_with_fds(socket, bytes));
  if (!datagram) return std::nullopt;
  if (datagram->bytes == 0) return fail("{}", kClosed);
  const Header header = TRY(decode(bytes, *datagram));
  Segment body = TRY(Segment::attach(std::move(datagram->fds.front()), {kPadding, kMostBytes + kPadding},
                                     Segment::Secrecy::kSecret));
  if (header.text_bytes > body.bytes() - kPadding)
    return fail("a letter whose memory of {} bytes does not fit its text of {}", body.bytes(),
                header.text_bytes);
  datagram->fds.erase(datagram->fds.begin());
  return Letter(header.kind, header.id, header.text_bytes, std::move(body), std::move(datagram->fds));
}

}  // namespace espalier

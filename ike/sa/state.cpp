#include "ike/sa/state.hpp"

#include "control/shared/crc32c.hpp"
#include "control/shared/record_check.hpp"
#include "crypto/key_exchange.hpp"
#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/engine.hpp"

namespace espalier::ike {
namespace {

constexpr uint32_t kMagic = 0x45494b45;  // "EKIE"
constexpr uint32_t kVersion = 4;
constexpr size_t kPrefixBytes = 12;

template <class Archive>
void visit(Archive& archive, IkeSuite& suite) {
  archive(suite.protection.cipher);
  archive(suite.protection.integrity);
  archive(suite.protection.key_bytes);
  archive(suite.protection.icv_bytes);
  archive(suite.prf);
  archive(suite.group);
}

template <class Archive>
void visit(Archive& archive, Endpoint& endpoint) {
  archive(endpoint.address);
  archive(endpoint.port);
}

template <class Archive>
void visit(Archive& archive, IkeFacts& facts) {
  visit(archive, facts.connection);
  archive(facts.initiator);
  archive(facts.initiator_spi);
  archive(facts.responder_spi);
  visit(archive, facts.local);
  visit(archive, facts.remote);
  for (bool* flag : {&facts.nat.supported, &facts.nat.local, &facts.nat.remote, &facts.plan.float_port,
                     &facts.plan.encapsulate, &facts.plan.keepalive, &facts.plan.follow_peer,
                     &facts.fragmentation, &facts.rekeyed_by_us})
    archive(*flag);
  visit(archive, facts.suite);
  visit(archive, facts.local_id);
  visit(archive, facts.remote_id);
  for (Time* time : {&facts.created, &facts.established, &facts.rekey_at, &facts.expires_at})
    visit(archive, *time);
  archive(facts.predecessor);
  visit(archive, facts.lowest_nonce);
}

template <class Archive>
void visit(Archive& archive, IkeKeys& keys) {
  for (crypto::Secret* secret : {&keys.d, &keys.ai, &keys.ar, &keys.ei, &keys.er}) visit(archive, *secret);
}

void save_task(Writer& writer, Task& task) {
  TaskKind kind = task.kind();
  writer(kind);
  task.archive(writer);
}

std::unique_ptr<Task> load_task(Reader& reader) {
  TaskKind kind{};
  reader(kind);
  auto task = reader.ok() ? make_task(kind) : nullptr;
  task ? task->archive(reader) : reader.fail();
  return task;
}

void save_tasks(Writer& writer, IkeSa& sa) {
  bool running = sa.current() != nullptr && sa.window.pending().has_value();
  writer(running);
  if (running) save_task(writer, *sa.current());
  writer.count(sa.queue().size());
  for (const auto& task : sa.queue()) save_task(writer, *task);
}

void load_tasks(Reader& reader, IkeSa& sa) {
  bool running = false;
  reader(running);
  if (running) sa.adopt_current(load_task(reader));
  const uint32_t queued = reader.count(0);
  for (uint32_t i = 0; i < queued && reader.ok(); ++i)
    if (auto task = load_task(reader)) sa.enqueue(std::move(task));
}

// --- Children ---

void save_children(Writer& writer, IkeSa& sa) {
  writer.count(sa.children.size());
  for (const auto& child : sa.children) {
    std::string name = child->config->name;
    ike::visit(writer, name);
    ike::visit(writer, *child);
  }
}

// put_keys() relies on the lengths.
bool fits(const DirectionKeys& keys, const EspAlgorithm& algorithm) {
  return keys.cipher.size() == algorithm.key_bytes && keys.salt.size() == algorithm.salt_bytes() &&
         keys.integrity.size() == algorithm.auth_key_bytes();
}

// What was read, whether it could have been saved.
bool is_possible(const ChildSa& child) {
  const EspSuite& suite = child.suite;
  return child.state <= ChildState::kDeleting && child.outbound <= ChildSa::Outbound::kRemoved &&
         suite.esn <= EsnChoice::kBoth && !record_check::check(suite.algorithm) &&
         fits(child.keys.in, suite.algorithm) && fits(child.keys.out, suite.algorithm) &&
         child.spi_in.value != 0 && child.spi_out.value != 0;
}

Result<void> load_children(Reader& reader, IkeSa& sa) {
  const uint32_t children = reader.count(0);
  for (uint32_t i = 0; i < children && reader.ok(); ++i) {
    std::string name;
    auto child = std::make_unique<ChildSa>();
    ike::visit(reader, name);
    ike::visit(reader, *child);
    if (!reader.ok() || !is_possible(*child)) return fail("it is damaged");
    child->config = child_config(sa.config, name);
    if (!child->config) return fail("child {} is not configured any more", name);
    sa.children.push_back(std::move(child));
  }
  return {};
}

bool is_possible(const IkeSa& sa, const IkeKeys& keys) {
  const IkeFacts& facts = sa.facts;
  return sa.phase >= IkePhase::kEstablished && sa.phase < IkePhase::kClosed && facts.initiator_spi != 0 &&
         facts.responder_spi != 0 && facts.predecessor != sa.local_spi() &&
         facts.suite.prf <= crypto::Prf::kHmacSha512 && keys.d.size() == crypto::prf_bytes(facts.suite.prf) &&
         crypto::KeyExchange::is_supported(facts.suite.group);
}

Result<ByteView> checked(ByteView bytes) {
  uint32_t prefix[3];
  static_assert(sizeof prefix == kPrefixBytes);
  if (bytes.size() < sizeof prefix) return fail("too short");
  std::memcpy(prefix, bytes.data(), sizeof prefix);
  if (prefix[0] != kMagic) return fail("it is none");
  if (prefix[1] != kVersion) return fail("version {} instead of {}", prefix[1], kVersion);
  const ByteView body = bytes.subspan(sizeof prefix);
  if (prefix[2] != crc32c(body.data(), body.size())) return fail("it is damaged");
  return body;
}

}  // namespace

crypto::Secret save_state(IkeSa& sa) {
  Writer writer;
  visit(writer, sa.facts);
  writer(sa.phase);
  uint64_t counter = sa.next_counter();
  writer(counter);
  visit(writer, const_cast<IkeKeys&>(sa.keys()));
  ike::visit(writer, sa.last_heard);
  visit(writer, sa.window);
  save_children(writer, sa);
  save_tasks(writer, sa);
  const ByteView body = writer.view();
  crypto::Secret state(kPrefixBytes + body.size());
  const uint32_t prefix[] = {kMagic, kVersion, crc32c(body.data(), body.size())};
  std::memcpy(state.span().data(), prefix, sizeof prefix);
  std::memcpy(state.span().data() + sizeof prefix, body.data(), body.size());
  return state;
}

Result<std::unique_ptr<IkeSa>> load_state(Engine& engine, ByteView bytes) {
  Reader reader(TRY(checked(bytes)));
  IkeFacts facts;
  visit(reader, facts);
  auto sa = std::make_unique<IkeSa>(engine, std::move(facts));
  reader(sa->phase);
  uint64_t counter = 0;
  IkeKeys keys;
  reader(counter);
  visit(reader, keys);
  ike::visit(reader, sa->last_heard);
  visit(reader, sa->window);
  if (!reader.ok() || !is_possible(*sa, keys)) return fail("it is damaged");
  if (const Connection* connection = engine.connection(sa->facts.connection))
    sa->config = connection->config();
  if (!sa->config) return fail("peer {} is not configured any more", sa->facts.connection);
  if (auto set = sa->set_keys(std::move(keys), counter); !set) return std::unexpected(set.error());
  if (auto loaded = load_children(reader, *sa); !loaded) return std::unexpected(loaded.error());
  load_tasks(reader, *sa);
  if (!reader.ok() || !reader.at_end()) return fail("it is damaged");
  return sa;
}

}  // namespace espalier::ike

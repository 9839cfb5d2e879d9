// An exchange that we begin, as a class of its own (folder tasks/): it makes the request and takes the
// response. An IKE SA has a queue of them and runs one at a time (window 1, RFC 7296 section 2.3). What
// answers a peer's request stands beside each task as a function answer_...().
//
// A task that is under way when this process dies goes on in the next: archive() keeps what the response
// needs.
#pragma once

#include <memory>

#include "ike/sa/archive.hpp"

namespace espalier::ike {

class IkeSa;

// Why an SA went; decides what becomes of it (connection.hpp).
enum class Down : uint8_t { kFailed, kPeerDeleted, kPeerLost, kExpired, kOperator, kReplaced };

enum class TaskKind : uint8_t {
  kIkeInit,
  kIkeAuth,
  kChildCreate,
  kChildRekey,
  kIkeRekey,
  kChildDelete,
  kIkeDelete,
  kLiveness,
};

struct Request {
  ExchangeType exchange = ExchangeType::kInformational;
  std::vector<Payload> payloads;
};

class Task {
 public:
  enum class Verdict : uint8_t {
    kDone,
    kAgain,  // request() once more: another group, a cookie
    kWait,   // it was no answer to trust: the same request goes on
  };
  virtual ~Task() = default;
  virtual TaskKind kind() const = 0;
  // Nothing: there is nothing to do any more.
  virtual std::optional<Request> request(IkeSa& sa) = 0;
  virtual Verdict response(IkeSa& sa, const Message& message) = 0;

  // What it means that no response came.
  virtual Down lost() const { return Down::kPeerLost; }

  virtual void archive(Writer& writer) = 0;
  virtual void archive(Reader& reader) = 0;
};

// Empty, for state.cpp to fill. Null: no task of an established IKE SA.
std::unique_ptr<Task> make_task(TaskKind kind);

}  // namespace espalier::ike

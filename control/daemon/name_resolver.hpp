// Host names to addresses, off the loop: the system's resolver blocks for seconds where a server does not
// answer.
//
// A few threads of its own do the asking; each answer comes back in the loop's thread. At the end of the
// process they are left alone. Owner: espalierd's thread.
#pragma once

#include <memory>
#include <vector>

#include "control/shared/event_loop.hpp"
#include "control/shared/types.hpp"

namespace espalier::daemon {

class NameResolver {
 public:
  // Addresses in the order of the system (RFC 6724), or why there are none.
  using Done = std::function<void(Result<std::vector<IpAddress>>)>;

  // What blocks; called in the resolver's threads.
  using LookUp = std::function<Result<std::vector<IpAddress>>(const std::string& name)>;
  static Result<std::vector<IpAddress>> ask_system(const std::string& name);

  static Result<std::unique_ptr<NameResolver>> create(EventLoop& loop, LookUp look_up = ask_system);
  ~NameResolver();
  NameResolver(const NameResolver&) = delete;
  NameResolver& operator=(const NameResolver&) = delete;

  // `done` is called once, later; never when the resolver is destroyed before.
  void resolve(std::string name, Done done);

 private:
  struct Shared;  // with the threads
  NameResolver(EventLoop& loop, std::shared_ptr<Shared> shared) : loop_(loop), shared_(std::move(shared)) {}
  void on_answers();

  EventLoop& loop_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace espalier::daemon

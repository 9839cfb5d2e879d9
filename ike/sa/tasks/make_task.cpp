#include "ike/sa/tasks/child_create.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/child_rekey.hpp"
#include "ike/sa/tasks/ike_delete.hpp"
#include "ike/sa/tasks/ike_rekey.hpp"
#include "ike/sa/tasks/liveness.hpp"

namespace espalier::ike {

std::unique_ptr<Task> make_task(TaskKind kind) {
  switch (kind) {
    case TaskKind::kChildCreate:
      return std::make_unique<ChildCreate>();
    case TaskKind::kChildRekey:
      return std::make_unique<ChildRekey>();
    case TaskKind::kIkeRekey:
      return std::make_unique<IkeRekey>();
    case TaskKind::kChildDelete:
      return std::make_unique<ChildDelete>();
    case TaskKind::kIkeDelete:
      return std::make_unique<IkeDelete>();
    case TaskKind::kLiveness:
      return std::make_unique<Liveness>();
    case TaskKind::kIkeInit:
    case TaskKind::kIkeAuth:
      break;
  }
  return nullptr;
}

}  // namespace espalier::ike

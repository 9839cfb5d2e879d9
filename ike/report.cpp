#include "ike/report.hpp"

namespace espalier::ike {

const char* name_of(IkeState state) {
  switch (state) {
    case IkeState::kConnecting:
      return "connecting";
    case IkeState::kEstablished:
      return "established";
    case IkeState::kRekeying:
      return "rekeying";
    case IkeState::kRekeyed:
      return "rekeyed";
    case IkeState::kDeleting:
      break;
  }
  return "deleting";
}

const char* name_of(ChildState state) {
  switch (state) {
    case ChildState::kCreating:
      return "creating";
    case ChildState::kInstalled:
      return "installed";
    case ChildState::kRekeying:
      return "rekeying";
    case ChildState::kRekeyed:
      return "rekeyed";
    case ChildState::kDeleting:
      break;
  }
  return "deleting";
}

}  // namespace espalier::ike

# Sourced by the scripts of this folder: where the checkout is, and how progress is told.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
usage() {  # prints the comment at the head of the calling script
  awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0" >&2
  exit 2
}
# The sources that are ours, from the checkout's root; new files count before they are committed.
our_sources() { git -C "$root" ls-files --cached --others --exclude-standard -- '*.cpp' '*.hpp' | while read -r f; do
  [ ! -f "$root/$f" ] || printf '%s\n' "$f"; done; }
# clang-format 14 or, where the system has another, still one: formats differ between versions.
find_clang_format() {
  local program
  for program in clang-format-14 clang-format; do
    if "$program" --version 2>/dev/null | grep -q 'version 14\.'; then echo "$program"; return; fi
  done
  die "clang-format 14 is missing; scripts/install-packages installs it where Debian has it"
}
# The names of the tests for AddressSanitizer: all but the units of the control plane and of the tests themselves (what
# parses bytes from outside there is a fuzz target), those of tables that hold what was checked already, those that
# ThreadSanitizer runs, and one that dies at every instruction of the code as it is released.
memory_tests='^(?!cli/|config/|daemon/|support|random/|golden/(comparator|translate)|dataplane/(neighbor_linux|spd|tables)|nat/(session_table_concurrency|tuple_hash)|vault/(crash|race))'
# The names of the tests in which threads or processes meet (rings, tables, windows, workers), for ThreadSanitizer.
concurrency_tests='concurrency|race|ring|handover|worker'

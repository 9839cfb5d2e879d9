"""Our gateway against real peers: brings up every row, sends real traffic, and prints what was seen. See scripts/interop."""
import argparse
import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from labs.network import LabError  # noqa: E402
from peers import bed as beds  # noqa: E402
from peers import credentials, packages, rows_examples, rows_rekey, rows_special, rows_vyos  # noqa: E402

PREFIX = "esp-ike"
BATCH = {"udp": 12, "native": 12, "kernel": 10, "libreswan": 4, "openiked": 1}  # rows of one bed: few, so that the last ones end together


def all_rows():
    return [row for module in (rows_examples, rows_rekey, rows_special, rows_vyos) for row in module.rows()]


def chosen_rows(args):
    rows = [row for row in all_rows() if not args.only or any(part in row.name for part in args.only)]
    return [row for row in rows if row.quick] if args.quick else rows


def batches_of(rows):
    """Rows that can share a running peer behind one another; the batches that take longest first."""
    batches = []
    for peer in ("libreswan", "kernel", "openiked", "native", "udp"):
        of_peer = sorted((row for row in rows if row.peer == peer), key=lambda row: (-row.timeout_s, str(row.peer_options)))
        count = -(-len(of_peer) // BATCH[peer])
        batches += [of_peer[number::count] if peer == "native" else of_peer[number * BATCH[peer]:(number + 1) * BATCH[peer]]
                    for number in range(count)]
    return batches


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    passed: bool | None  # None: skipped
    seconds: float
    seen: str

    def line(self):
        case, peer, role = self.name.split("/")
        verdict = {True: "ok", False: "FAIL", None: "skip"}[self.passed]
        return f"{case:22} {peer:10} {role:10} {verdict:5} {self.seconds:6.1f} s  {self.seen[:300]}"


def give_up(*_):
    raise TimeoutError("the row took too long")


def judge_wire(row, seen, sas_seen):
    """Nothing in clear, ESP where it must be, in UDP or not as it must be; a word about it."""
    if seen.clear:
        raise LabError(f"in clear on the wire: {seen.clear[:3]}")
    if not row.esp:
        if seen.esp:
            raise LabError(f"{seen.esp} ESP packets without SAs")
        return f"{seen.kinds['ike']} IKE, no ESP"
    wanted, other = ("esp-in-udp", "esp") if row.wants_udp else ("esp", "esp-in-udp")
    if not seen.kinds[wanted] or seen.kinds[other]:
        raise LabError(f"{wanted} was expected on the wire, {dict(seen.kinds)} was seen")
    silent = [sa for sa in sas_seen if not seen.spis[sa.spi]]
    if silent:
        raise LabError(f"no packet on the wire for {', '.join(map(str, silent))}")
    return f"{seen.esp} {wanted}"


def play(bed, row, keep):
    """What was seen; fails by an exception."""
    try:
        bed.open_row(row)
        said = row.check(bed)
        found = bed.peer.sas() if row.esp else set()
    except BaseException:
        bed.close_row(keep)
        raise
    seen = bed.close_row(keep)
    return ", ".join(filter(None, (said, "+".join(sorted({sa.suite for sa in found})), judge_wire(row, seen, found))))


def run_row(bed, row, keep, us):
    begin = time.monotonic()
    if us != "espalier" and row.no_stand_in:
        return Result(row.name, None, 0, row.no_stand_in)
    signal.alarm(row.timeout_s)
    try:
        passed, seen = True, play(bed, row, keep)
    except Exception as error:  # noqa: BLE001: whatever it is, the row failed
        passed, seen = False, f"{type(error).__name__}: {error}"
        if keep:
            (keep / f"{row.name.replace('/', '_')}.traceback").write_text(traceback.format_exc())
        signal.alarm(60)
        bed.stop_peer()  # the next row begins with a new one
    finally:
        signal.alarm(0)
    return Result(row.name, passed, time.monotonic() - begin, " ".join(seen.split()))


def run_batch(work):
    names, folder, keys, us, keep = work
    rows = {row.name: row for row in all_rows()}  # their checks cannot be sent to another process
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = []
    try:
        with beds.Bed(PREFIX, folder, keys, us) as bed:
            for name in names:
                results.append(run_row(bed, rows[name], keep, us))
                print(results[-1].line(), flush=True)
    except Exception:  # noqa: BLE001: of the bed itself; the rows that are left count as failed
        traceback.print_exc()
        results += [Result(name, False, 0, "its bed broke down") for name in names[len(results):]]
    return results


def run_all(rows, args):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ike-"))
    try:
        keys = credentials.make(folder / "credentials")
        for implementation in beds.implementations(rows, args.us):
            packages.root_of(implementation)
        work = [([row.name for row in batch], folder, keys, args.us, args.keep) for batch in batches_of(rows)]
        with multiprocessing.get_context("fork").Pool(min(args.jobs, len(work)), maxtasksperchild=1) as pool:
            results = [result for batch in pool.imap_unordered(run_batch, work) for result in batch]
            pool.close()  # the end of `with` sends SIGTERM, which an idle process with a handler may sleep through
            pool.join()
        return results
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def print_table(results, seconds):
    order = {name: number for number, name in enumerate(row.name for row in all_rows())}
    print()
    for result in sorted(results, key=lambda one: order[one.name]):
        print(result.line())
    counts = [sum(result.passed is verdict for result in results) for verdict in (True, False, None)]
    print(f"interop: {len(results)} rows in {seconds:.0f} s")
    print(f"{counts[0]} passed, {counts[1]} failed" + (f", {counts[2]} skipped" if counts[2] else ""))
    if os.environ.get("COUNTS"):
        with open(os.environ["COUNTS"], "a") as file:
            print("interop", *counts, file=file)
    return counts


def main():
    parser = argparse.ArgumentParser(prog="interop", description="Our gateway against real IKE peers, with real traffic.")
    parser.add_argument("--quick", action="store_true", help="a selection that takes less than five minutes")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows with this in CASE/PEER/ROLE")
    parser.add_argument("--list", action="store_true", help="print the rows' names")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="keep each row's logs and capture in DIR")
    parser.add_argument("--jobs", type=int, default=2, help="how many rows run at the same time (default: 2)")
    parser.add_argument("--us", choices=("espalier", "strongswan"), default="espalier",
                        help="strongswan: it stands in our place, to test the rows themselves")
    args = parser.parse_args()
    rows = chosen_rows(args)
    if args.list:
        print("\n".join(row.name for row in rows))
        return 0
    if not rows:
        sys.exit("interop: no row has such a name")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the beds are taken down
    begin = time.monotonic()
    passed, failed, _ = print_table(run_all(rows, args), time.monotonic() - begin)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())

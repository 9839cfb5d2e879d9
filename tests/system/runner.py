"""Finds and runs the system tests: functions named test_* in the files test_*.py of this folder.

A test takes a folder of its own for its files, builds its lab in it and fails by an exception. Its docstring describes it.
The folder stays when it failed. One with the attribute `on_request` runs only when it is named. With COUNTS=FILE in the
environment a line "system PASSED FAILED SKIPPED" is appended to FILE for scripts/test.
"""
import argparse
import contextlib
import importlib
import inspect
import io
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "scripts")]

TIMEOUT_S = 180  # of a test that does not set another by its attribute `timeout_s`


def tests():
    """(name, function) of every test, in the order of files and lines."""
    for file in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(file.stem)
        functions = [value for name, value in vars(module).items()
                     if name.startswith("test_") and inspect.isfunction(value) and value.__module__ == file.stem]
        for function in sorted(functions, key=lambda one: one.__code__.co_firstlineno):
            yield f"{file.stem.removeprefix('test_')}/{function.__name__.removeprefix('test_')}", function


def give_up(*_):
    raise TimeoutError("the test took too long")


def run_one(name, function, folder):
    """Whether it passed."""
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder.mkdir()
    begin = time.monotonic()
    signal.alarm(getattr(function, "timeout_s", TIMEOUT_S))
    try:
        function(folder)
        passed = True
    except Exception:  # noqa: BLE001: whatever it is, the test failed
        traceback.print_exc(file=sys.stdout)
        passed = False
    finally:
        signal.alarm(0)
    print(f"{'ok  ' if passed else 'FAIL'} {name} ({time.monotonic() - begin:.1f} s)", flush=True)
    if passed:
        shutil.rmtree(folder)
    else:
        print(f"     its files: {folder}")
    return passed


def run_quietly(arguments):
    """(whether it passed, what it printed): of a test beside which others run."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        passed = run_one(*arguments)
    return passed, output.getvalue()


def run_all(chosen, parent, jobs):
    """Whether each passed; names of networks hold the process's number, so that tests may run side by side."""
    # Numbers, not names: the path of a UNIX socket has room for 107 bytes.
    work = [(*test, parent / str(number)) for number, test in enumerate(chosen)]
    if jobs == 1:
        return [run_one(*each) for each in work]
    results = []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for passed, output in pool.imap_unordered(run_quietly, work):
            print(output, end="", flush=True)
            results.append(passed)
        pool.close()  # the end of `with` sends SIGTERM, which an idle process with a handler may sleep through
        pool.join()
    return results


def is_chosen(name, function, args):
    if any(part in name for part in args.but):
        return False
    if args.names:
        return any(part in name for part in args.names)
    return not getattr(function, "on_request", False)


def main():
    parser = argparse.ArgumentParser(description="Runs the system tests.")
    parser.add_argument("--list", action="store_true", help="print their names")
    parser.add_argument("--build", default="release", help="the kind of build whose programs are tested")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at the same time (default: 1)")
    parser.add_argument("--but", action="append", default=[], metavar="NAME", help="leave out tests with this in their names")
    parser.add_argument("names", nargs="*", help="names, or parts of them, of the tests to run; all without one")
    args = parser.parse_args()
    chosen = [(name, function) for name, function in tests() if is_chosen(name, function, args)]
    if args.list:
        for name, function in chosen:
            print(f"{name}: {(inspect.getdoc(function) or '').splitlines()[0]}")
        return 0
    os.environ["ESPALIER_BUILD"] = str(HERE.parent.parent / f"build-{args.build}")
    parent = pathlib.Path(tempfile.mkdtemp(prefix="espalier-system-"))
    results = run_all(chosen, parent, args.jobs)
    if all(results):
        shutil.rmtree(parent)
    passed, failed = results.count(True), results.count(False)
    print(f"system: {passed} passed, {failed} failed")
    if os.environ.get("COUNTS"):
        with open(os.environ["COUNTS"], "a") as file:
            print("system", passed, failed, 0, file=file)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())

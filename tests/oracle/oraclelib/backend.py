"""Boot a guest kernel with a job and fetch its results: User Mode Linux or QEMU."""

import json
import os
import signal
import struct
import subprocess
import tempfile
import zlib

from . import initramfs

BOOT_TIMEOUT = 120
SCENARIO_TIMEOUT = {"uml": 30, "qemu": 90}
SETTLE = {"uml": 0.02, "qemu": 0.15}
UML_KERNEL = "/usr/bin/linux.uml"
QEMU = "/usr/bin/qemu-system-x86_64"
RESULT_DISK_SIZE = 64 << 20


class BackendError(Exception):
    """The guest did not deliver results."""


def cache_folder(tool_folder):
    return os.environ.get("ORACLE_CACHE") or os.path.join(tool_folder, "cache")


def choose(scenario):
    """Return the fastest backend that has all that a scenario needs."""
    return "qemu" if scenario.get("needs") else "uml"


def missing(kind, tool_folder):
    """Return what a backend lacks on this machine, as text for people; "" if it can run."""
    needed = [UML_KERNEL] if kind == "uml" else [QEMU, os.path.join(cache_folder(tool_folder), "root.cpio")]
    absent = [path for path in needed if not os.path.exists(path)]
    return f"there is no {' and no '.join(absent)}: run setup" if absent else ""


def run(kind, scenarios, tool_folder, ftrace=()):
    """Run scenarios in one guest; return its results."""
    with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
        options = {"settle": SETTLE[kind], "ftrace": list(ftrace)}
        with open(os.path.join(folder, "job.json"), "w", encoding="utf-8") as target:
            json.dump({"scenarios": scenarios, "options": options}, target)
        limit = BOOT_TIMEOUT + SCENARIO_TIMEOUT[kind] * len(scenarios)
        boot = {"uml": _run_uml, "qemu": _run_qemu}[kind]
        results = boot(folder, tool_folder, limit)
    if "error" in results:
        raise BackendError(results["error"])
    return results


def _execute(command, limit, log_path, environment=None):
    """Run a guest to its end; on a time-out end the process group that was started here."""
    with open(log_path, "wb") as log:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True, env=environment)
        try:
            guest.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
            raise BackendError(f"the guest ran past {limit} s\n{_tail(log_path)}") from None
        except BaseException:
            os.killpg(guest.pid, signal.SIGKILL)
            raise


def _tail(path):
    with open(path, encoding="utf-8", errors="replace") as source:
        return source.read()[-3000:]


def _run_uml(folder, tool_folder, limit):
    log = os.path.join(folder, "console.log")
    command = [
        UML_KERNEL, "mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
        f"init={os.path.join(tool_folder, 'oraclelib', 'guest.py')}", "quiet",
        "con=null", "con0=null,fd:1", "ssl=null", f"uml_dir={folder}/uml",
        "oracle.kind=uml", f"oracle.job={folder}",
    ]
    _execute(command, limit, log, {**os.environ, "TMPDIR": folder})
    try:
        with open(os.path.join(folder, "result.z"), "rb") as source:
            return json.loads(zlib.decompress(source.read()))
    except FileNotFoundError:
        raise BackendError(f"no results from UML\n{_tail(log)}") from None


def _run_qemu(folder, tool_folder, limit):
    cache = cache_folder(tool_folder)
    log, disk = os.path.join(folder, "console.log"), os.path.join(folder, "result.img")
    initrd = os.path.join(folder, "initrd")
    root = os.path.join(cache, "root.cpio")
    initramfs.build_job(initrd, root, tool_folder, os.path.join(folder, "job.json"))
    with open(disk, "wb") as target:
        target.truncate(RESULT_DISK_SIZE)
    command = [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", "768",
        "-kernel", os.path.join(cache, "vmlinuz"), "-initrd", initrd,
        "-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on "
                   "oracle.kind=qemu",
        "-drive", f"file={disk},format=raw,if=virtio", "-serial", "stdio",
    ]
    _execute(command, limit, log)
    with open(disk, "rb") as source:
        size = struct.unpack("<Q", source.read(8))[0]
        if not size:
            raise BackendError(f"no results from QEMU\n{_tail(log)}")
        return json.loads(zlib.decompress(source.read(size)))

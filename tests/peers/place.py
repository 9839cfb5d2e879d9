"""Where a peer's daemon runs: beside its own files in a namespace, or in a User Mode Linux (guest.py).

Both have start(script), run(command), is_alive(), stop(). A script is lines of shell that end in the daemon, and sees
the peer's root (packages.py) as / and the daemon's folder under its name.
"""
import os
import shlex
import signal
import subprocess

from labs.network import wait_until

MOUNTS = """mount --make-rprivate / 2>/dev/null
for each in /dev /proc /sys; do mount --rbind $each ROOT$each; done
mount -t tmpfs tmpfs ROOT/run
mkdir -p ROOTFOLDER && mount --bind FOLDER ROOTFOLDER
"""


def write_script(path, text):
    path.write_text(text)
    path.chmod(0o700)
    return path


class Finished:
    """What a command said, and its exit status."""

    def __init__(self, status, text):
        self.status, self.text = status, text


class NamespacePlace:
    """The namespace's own network stack; without kernel ESP the daemon brings its own."""

    def __init__(self, lab, side, root, folder):
        self.lab, self.side, self.root, self.folder = lab, side, root, folder
        self.machine = lab.machine_of(side)
        self.process = None

    def start(self, script):
        self.lab.dress(self.side)
        inner = write_script(self.folder / "daemon", "#!/bin/sh\n" + script)
        outer = write_script(self.folder / "start", "#!/bin/sh\n" + self._enter(inner))
        with open(self.folder / "out", "ab") as out:
            self.process = self.machine.start("unshare", "--mount", outer, stdout=out, stderr=out, start_new_session=True)

    def _enter(self, inner):
        mounts = MOUNTS.replace("ROOT", str(self.root)).replace("FOLDER", str(self.folder))
        return f"{mounts}exec chroot {shlex.quote(str(self.root))} /bin/sh {inner}\n"

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def run(self, *command, timeout=60):
        words = ["nsenter", "--target", self.process.pid, "--mount", "--net", "chroot", self.root]
        done = subprocess.run([str(word) for word in [*words, *command]], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        return Finished(done.returncode, done.stdout)

    def stop(self):
        if self.is_alive():
            end_session(self.process)
        self.lab.undress(self.side)


def end_session(process):
    """Ends a process that leads a session, and all of its children."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(4)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return
    wait_until(f"process {process.pid} ends", lambda: process.poll() is not None, 4)

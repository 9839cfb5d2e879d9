"""One Espalier in a namespace: its daemon, its command line and its processes."""
import json
import os
import pathlib
import signal
import subprocess
import time

from labs.configuration import text_of
from labs.network import LabError, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


COMMAND_LINE = "control/cli/espalier"


class Refused(LabError):
    """The command line ended with a status other than 0."""

    def __init__(self, command, done):
        super().__init__(f"espalier {' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
        self.status, self.text = done.returncode, done.stderr.strip()


class Espalier:
    """A gateway. `directory` holds its configuration, runtime and state files and its log."""

    def __init__(self, machine, directory, build=None, environment=None):
        self.machine = machine
        self.directory = pathlib.Path(directory)
        self.build = pathlib.Path(build or os.environ.get("ESPALIER_BUILD", ROOT / "build-release"))
        own = self.build / COMMAND_LINE
        self.command_line = own if own.exists() else ROOT / "build-release" / COMMAND_LINE  # not every build has one
        self.environment = environment or {}
        self.configuration = self.directory / "espalier.conf"
        self.runtime = self.directory / "run"
        self.state = self.directory / "state"
        self.log = self.directory / "espalierd.log"
        self.daemon = None
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.runtime, self.state):
            folder.mkdir(mode=0o700, exist_ok=True)

    # -- the daemon

    def write(self, settings, name=None):
        """Writes settings (a dict, or text) into a file that only root reads, and returns its path."""
        path = self.directory / name if name else self.configuration
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(settings if isinstance(settings, str) else text_of(settings))
        return path

    def start(self, settings=None, wait=True):
        if settings is not None:
            self.write(settings)
        with open(self.log, "ab") as log:
            self.daemon = self.machine.start(
                self.build / "control/daemon/espalierd", "--config", self.configuration, "--runtime-dir", self.runtime,
                "--state-dir", self.state, "--foreground", stdout=log, stderr=log, env=os.environ | self.environment)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=20):
        """Until the dataplane answers and every link is up but those of VTIs, which wait for their SAs."""
        def ready():
            if self.daemon and self.daemon.poll() is not None:
                raise LabError(f"espalierd ended with status {self.daemon.returncode}:\n{self.log_tail()}")
            done = self.run("show", "interfaces", "--json")
            return done.returncode == 0 and self.links_up(json.loads(done.stdout))
        wait_until(f"{self.machine.name} is ready, see {self.log}", ready, timeout)

    @staticmethod
    def links_up(document):
        rows = document["interfaces"]
        return bool(rows) and all(row["link_up"] for row in rows if row["kind"] != "vti")

    def stop(self):
        """Ends espalierd as an operator would; its dataplane goes with it."""
        if self.daemon:
            self.machine.stop(self.daemon, signal.SIGTERM)
            self.daemon = None

    def log_tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # -- its processes

    def pid_of(self, program):
        """The process id of one of our programs in this machine, or None."""
        for pid in self.machine.pids():
            try:
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")).split(" ")[0] == program:
                    return pid
            except OSError:
                continue
        return None

    def kill(self, program):
        """kill -9, as a crash would end it; returns its process id."""
        pid = self.pid_of(program)
        if pid is None:
            raise LabError(f"{program} does not run in {self.machine.name}")
        os.kill(pid, signal.SIGKILL)
        if program == "espalierd" and self.daemon:
            self.daemon.wait(10)
        return pid

    # -- its command line

    def run(self, *command, timeout=20):
        return subprocess.run(
            [self.command_line, "--socket", self.runtime / "control.sock", *map(str, command)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout)

    def text(self, *command):
        """The output of a command that must succeed."""
        done = self.run(*command)
        if done.returncode != 0:
            raise Refused(list(map(str, command)), done)
        return done.stdout

    def ask(self, *command):
        """The JSON document that a command prints."""
        return json.loads(self.text(*command, "--json"))

    def apply(self, settings, name="next.conf"):
        return self.text("apply", self.write(settings, name))

    def drops(self):
        """Drop reason -> count, over all interfaces."""
        totals = {}
        for row in self.ask("show", "drops")["drops"]:
            totals[row["reason"]] = totals.get(row["reason"], 0) + row["packets"]
        return totals

    def wait_drops(self, reason, at_least, timeout=5):
        wait_until(f"{at_least} drops of {reason}, there are {self.drops()}",
                   lambda: self.drops().get(reason, 0) >= at_least, timeout)

    def settle(self, seconds=0.3):
        """Time for counters of the last packets to arrive where they are read."""
        time.sleep(seconds)

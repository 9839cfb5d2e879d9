"""FRR's routing daemons in one machine of a lab, with sockets and files in a folder of their own."""
import json
import pathlib
import shutil
import signal
import tempfile

from labs.network import LabError, run, wait_until

DAEMONS = pathlib.Path("/usr/lib/frr")


class Frr:
    """zebra and the daemons that `configurations` names ({"ospfd": text of its configuration}); they end with the machine."""

    def __init__(self, machine, configurations):
        self.machine = machine
        # Not in the lab's folder: that is for root only, and the daemons run as the user frr. Removed with this object.
        self.folder = tempfile.TemporaryDirectory(prefix="espalier-frr-")
        self.directory = pathlib.Path(self.folder.name)
        shutil.chown(self.directory, "frr", "frr")
        (self.directory / "vtysh.conf").touch()
        self.processes = {}
        for daemon, text in ({"zebra": ""} | configurations).items():
            self._start(daemon, text)

    def _start(self, daemon, text):
        file = self.directory / f"{daemon}.conf"
        file.write_text(text)
        with open(file.with_suffix(".log"), "w") as log:
            # -P 0: no telnet port.
            self.processes[daemon] = self.machine.start(
                DAEMONS / daemon, "-f", file, "-i", file.with_suffix(".pid"), "-z", self.directory / "zserv.sock",
                "--vty_socket", self.directory, "-P", "0", "--log", "stdout", stdout=log, stderr=log)
        try:
            wait_until(f"{daemon} answers", lambda: self._vtysh(daemon, "show version", check=False).returncode == 0)
        except LabError as problem:
            raise LabError(f"{problem}:\n{self.log(daemon)}")

    def _vtysh(self, daemon, command, check=True):
        return run("vtysh", "--vty_socket", self.directory, "--config_dir", self.directory, "-d", daemon, "-c", command, check=check)

    def log(self, daemon):
        return (self.directory / f"{daemon}.log").read_text(errors="replace")

    def tell(self, daemon, *commands):
        """What `show` commands print, for people."""
        return "".join(f"{daemon}# {command}\n{self._vtysh(daemon, command, check=False).stdout}" for command in commands)

    def ask(self, daemon, command):
        """The JSON document that a `show ... json` command of a daemon prints."""
        return json.loads(self._vtysh(daemon, f"{command} json").stdout)

    def ospf_states(self):
        """Neighbour's router id -> state, such as "Full/-"."""
        neighbors = self.ask("ospfd", "show ip ospf neighbor")["neighbors"]
        return {name: row["nbrState"] if "nbrState" in row else row["state"] for name, rows in neighbors.items() for row in rows}

    def bgp_states(self):
        """Peer's address -> state, such as "Established"."""
        peers = self.ask("bgpd", "show bgp ipv4 unicast summary").get("peers", {})
        return {name: row["state"] for name, row in peers.items()}

    def stop(self):
        """Ends the daemons as their own script does: routes are taken out of the kernel."""
        for daemon in reversed(self.processes):
            self.machine.stop(self.processes[daemon], signal.SIGTERM)

"""Our gateway as a side of a row, with the same operations as a peer."""
import pathlib
import shutil

from labs.espalier import Espalier
from labs.network import LabError, wait_until
from peers import sas

PEER, TUNNEL = "site", "tunnel-0"


class EspalierGateway:
    def __init__(self, lab, folder, credentials):
        self.credentials = credentials
        self.gateway = Espalier(lab.us, folder)
        self.folder = pathlib.Path(folder)

    def start(self, configuration):
        for file in self.credentials.iterdir():
            shutil.copy(file, self.folder)
        self.gateway.start(configuration)

    def stop(self):
        self.gateway.stop()

    def commands(self):
        """For people: what to look at it with."""
        socket = self.gateway.runtime / "control.sock"
        return [f"{self.gateway.command_line} --socket {socket} show connections", f"less {self.gateway.log}"]

    def initiate(self, timeout=20):
        """Waits for the tunnel that its connection-type brings up."""
        try:
            wait_until("our tunnel is up", self.sas, timeout, pause=0.1)
        except LabError as error:
            raise LabError(f"{error}; {self.failure() or 'no failure is told'}") from None

    def initiate_child(self, child):
        """Its connections initiate by themselves."""

    def sas(self):
        return sas.of_espalier(self.gateway.ask("show", "ipsec", "sa")["sas"])

    def _established(self):
        return [row for row in self.gateway.ask("show", "ike", "sa")["sas"] if row["state"] == "established"]

    def ike_sas(self):
        return [row["initiator_spi"] for row in self._established()]

    def role(self):
        return self._established()[0]["role"]

    def failure(self):
        """What `show connections` tells of the last failure, for the operator."""
        rows = self.gateway.ask("show", "connections")["connections"]
        return "; ".join(sorted({row["last_failure"]["text"] for row in rows if "last_failure" in row}))

    def rekey_child(self):
        self.gateway.text("rekey", PEER, TUNNEL)

    def rekey_ike(self):
        self.gateway.text("rekey", PEER)

    def terminate_child(self):
        self.gateway.text("terminate", PEER, TUNNEL)

    def terminate_ike(self):
        self.gateway.text("terminate", PEER)

    def attempt(self):
        """Begins now, whatever comes of it: failure() tells."""
        self.gateway.run("initiate", PEER)

    def log(self):
        return self.gateway.log.read_text(errors="replace")

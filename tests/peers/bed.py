"""What a row works with: the lab, one gateway of ours (or what stands in for it), one real peer, and the wire between.

A bed serves many rows, one after the other. A peer that runs already is given the next row's configuration where it
can take it, because a guest takes seconds to start.
"""
import contextlib
import dataclasses
import pathlib
import re
import shutil
import tempfile

from labs import traffic
from labs.network import LabError, wait_until
from peers import lab as labs_of_peers
from peers import packages, sas
from peers.espalier_gateway import EspalierGateway
from peers.guest import GuestPlace
from peers.libreswan import Libreswan
from peers.openiked import OpenIked
from peers.place import NamespacePlace
from peers.strongswan import StrongSwan
from peers.wire import Wire

EXAMPLES = pathlib.Path(__file__).with_name("examples")
HOST_US, HOST_GW = (labs_of_peers.bare(side.host) for side in (labs_of_peers.US, labs_of_peers.GW))
HOST_US6, HOST_GW6 = (labs_of_peers.bare(side.host6) for side in (labs_of_peers.US, labs_of_peers.GW))
ECHO_PORT = 5201


@dataclasses.dataclass(frozen=True)
class Kind:
    """A peer's implementation (packages.py) and the path of its packets (strongswan.py)."""
    implementation: str
    path: str
    description: str


KINDS = {
    "udp": Kind("strongswan-bookworm", "udp", "strongSwan 5.9.8, its own ESP, in UDP only"),
    "native": Kind("strongswan-trixie", "raw", "strongSwan 6.0, its own ESP"),
    "kernel": Kind("strongswan-bookworm", "kernel", "strongSwan 5.9.8, Linux's ESP"),
    "libreswan": Kind("libreswan-trixie", "kernel", "libreswan 5, Linux's ESP"),
    "openiked": Kind("openiked-trixie", "kernel", "OpenIKED 7, Linux's ESP"),
}
STAND_IN = Kind("strongswan-trixie", "raw", "in our place")
STAND_IN_KERNEL = Kind("strongswan-bookworm", "kernel", "in our place")


def family_of(kind):
    return kind.implementation.partition("-")[0]


def implementations(rows, us):
    """What has to be unpacked for the rows."""
    wanted = {KINDS[row.peer].implementation for row in rows}
    return sorted(wanted | ({STAND_IN.implementation, STAND_IN_KERNEL.implementation} if us != "espalier" else set()))


@dataclasses.dataclass(frozen=True)
class PeerOptions:
    """What a running peer cannot change."""
    settings: str = ""   # of strongSwan's charon section
    routes: tuple = ()   # prefixes into the tunnel device of libipsec
    extra: tuple = ()    # lines of shell for a guest's network


def edited(text, edits):
    """The text with every (pattern, replacement) applied; each must change something."""
    for pattern, replacement in edits:
        text, changes = re.subn(pattern, replacement, text)
        if not changes:
            raise LabError(f"nothing to edit for {pattern!r}")
    return text


class Bed:
    def __init__(self, prefix, folder, credentials, us="espalier"):
        self.folder, self.credentials, self.us_kind = pathlib.Path(folder), credentials, us
        self.lab = labs_of_peers.Lab(prefix)
        self.us = self.peer = self.running = self.row = self.seen = self.echo = None
        self.closing = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.closing(self.lab.network), self.closing:
            self.stop_peer()

    # -- one row's sides

    def open_row(self, row):
        self.row, self.seen, self.closing = row, None, contextlib.ExitStack()
        self.row_folder = pathlib.Path(tempfile.mkdtemp(prefix="r", dir=self.folder))
        self.closing.callback(shutil.rmtree, self.row_folder, ignore_errors=True)
        self.lab.path(**row.path)
        for machine, words in row.lab_commands:
            getattr(self.lab, machine).run(*words.split(), check=False)
        self._start_peer(row)
        wire = Wire(self.lab.net, "left", self.row_folder / "wire.pcap")
        self.closing.callback(lambda: setattr(self, "seen", wire.stop()))
        self.us = self._make_us(row)

    def _start_peer(self, row):
        kind = KINDS[row.peer]
        wanted = (row.peer, row.peer_options)
        configuration = self._peer_configuration(row, kind)
        if self.running == wanted and isinstance(self.peer, StrongSwan) and self.peer.place.is_alive():
            return self.peer.replace(configuration)
        self.stop_peer()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="peer", dir=self.folder))
        self.peer = self._make(kind, "gw", folder, row.peer_options)
        self.running = wanted
        if isinstance(self.peer, Libreswan):
            secrets = EXAMPLES / row.example / "gw.libreswan.secrets"
            self.peer.start(configuration, secrets.read_text() if secrets.exists() else "")
        else:
            self.peer.start(configuration)

    def _make(self, kind, side, folder, options):
        root = packages.root_of(kind.implementation)
        if kind.path == "kernel":
            place = GuestPlace(self.lab, side, root, folder, options.extra)
        else:
            place = NamespacePlace(self.lab, side, root, folder)
        if family_of(kind) == "libreswan":
            return Libreswan(place, self.credentials)
        if family_of(kind) == "openiked":
            return OpenIked(place)
        return StrongSwan(place, self.credentials, kind.path, options.settings, options.routes,
                          route_based=bool(options.routes or options.extra))

    @staticmethod
    def _peer_configuration(row, kind):
        name = "gw.conf" if family_of(kind) == "strongswan" else f"gw.{family_of(kind)}.conf"
        return edited((EXAMPLES / row.example / name).read_text(), row.theirs)

    def _make_us(self, row):
        example = EXAMPLES / row.example
        if self.us_kind == "espalier":
            us, text = EspalierGateway(self.lab, self.row_folder / "us", self.credentials), "espalier.conf"
            edits = row.ours
        else:
            folder = self.row_folder / "us"
            folder.mkdir()
            kind = STAND_IN_KERNEL if row.stand_in_kernel else STAND_IN
            us, text, edits = self._make(kind, "us", folder, row.stand_in_options), "us.conf", row.stand_in
        self.closing.callback(us.stop)  # also if it does not start
        self.us = us
        us.start(edited((example / text).read_text(), edits))
        return us

    def close_row(self, keep=None):
        """Ends what is this row's own; returns what was on the wire. `keep`: a folder for its files and logs."""
        if keep:
            self._keep(keep / self.row.name.replace("/", "_"))
        self.closing.close()
        self.us = self.echo = None
        return self.seen

    def _keep(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, side in (("us.log", self.us), ("peer.log", self.peer)):
            if side:
                (folder / name).write_text(side.log())
        for file in self.row_folder.rglob("*"):
            if file.is_file() and file.suffix in (".pcap", ".conf"):
                shutil.copy(file, folder)

    def serve_echo(self):
        """A server behind the peer that sends back what it gets."""
        if not self.echo:
            self.echo = traffic.Echo(self.lab.gw_host, HOST_GW, ECHO_PORT)
            self.closing.callback(self.echo.stop)
        return self.echo

    def stop_peer(self):
        if self.peer:
            self.peer.stop()
            shutil.rmtree(self.peer.folder, ignore_errors=True)
        self.peer = self.running = None

    # -- what rows do

    def bring_up(self):
        """By the side whose role it is; both must see the same SAs then."""
        if self.row.role == "initiator":
            self.us.initiate()
        else:
            self.peer.initiate()
        found = self.agree()
        if self.us.role() != self.row.role:
            raise LabError(f"our side is the {self.us.role()}")
        return found

    def agree(self, without=frozenset(), timeout=10):
        """Waits until both sides tell of the same SAs, none of which is one of `without` (the peer's view); the peer's view."""
        views = {}

        def same():
            views["ours"], views["theirs"] = self.us.sas(), self.peer.sas()
            views["kernel"] = self.peer.kernel_sas() if views["theirs"] else set()
            theirs = views["theirs"]
            return (theirs and not theirs & without and sas.other_side(theirs) <= views["ours"]
                    and (views["kernel"] is None or theirs <= views["kernel"]))
        try:
            wait_until("both sides see the same SAs", same, timeout, pause=0.1)
        except LabError as error:
            told = "; ".join(f"{who}: {sas.text_of(view)}" for who, view in views.items() if view is not None)
            raise LabError(f"{error}: {told}") from None
        return views["theirs"]

    def traffic(self, tcp=True, ipv6=False):
        """Pings from both hosts, and a TCP connection that brings back all it sends."""
        self.reaches(self.lab.us_host, HOST_GW)
        self.reaches(self.lab.gw_host, HOST_US)
        if ipv6:
            self.reaches(self.lab.us_host, HOST_GW6)
            self.reaches(self.lab.gw_host, HOST_US6)
        if tcp:
            if not self.serve_echo().tcp(self.lab.us_host, size=100_000):
                raise LabError("a TCP connection did not bring back what it sent")

    def reaches(self, host, address, patience_s=10, source=None):
        """One ping is answered within the time, and three after it all are."""
        words = ["-n", "-W", 1, *(["-I", source] if source else []), address]
        wait_until(f"{host.name} reaches {address}",
                   lambda: host.run("ping", "-c", 1, *words, check=False).returncode == 0, patience_s)
        answered = host.run("ping", "-c", 3, "-i", 0.2, *words, check=False).stdout.count(" bytes from ")
        if answered != 3:
            raise LabError(f"{host.name} to {address}: {answered} of 3 pings were answered")

    def rules(self, **rules):
        """The row's path with further rules."""
        self.lab.path(**(self.row.path | rules))

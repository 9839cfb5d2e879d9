"""Rekeying from either side under a ping every millisecond, of which not one may be lost."""
import re
import time

from labs.network import LabError, wait_until
from peers.bed import HOST_GW
from peers.row import Row, with_role

PINGS = 5000
BETWEEN_S = 1.2


class Stream:
    """Pings from our host to the peer's, one a millisecond."""

    def __init__(self, bed):
        self.host = bed.lab.us_host
        self.file = open(bed.row_folder / "pings", "w+")
        self.process = self.host.start("ping", "-n", "-q", "-i", "0.001", "-c", PINGS, "-W", 2, HOST_GW, stdout=self.file)
        time.sleep(0.5)

    def finish(self):
        """(sent, answered) when all are sent."""
        self.process.wait(60)
        self.file.seek(0)
        sent, answered = re.search(r"(\d+) packets transmitted, (\d+) received", self.file.read()).groups()
        self.file.close()
        return int(sent), int(answered)


def new_child(bed, side):
    before = bed.peer.sas()
    side.rekey_child()
    bed.agree(without=before)


def new_ike(bed, side):
    before = set(bed.peer.ike_sas())
    side.rekey_ike()
    wait_until("both have one IKE SA, another than before",
               lambda: len(bed.peer.ike_sas()) == len(bed.us.ike_sas()) == 1 and not before & set(bed.peer.ike_sas()), 10, 0.1)
    bed.agree()


def rekeys(make, by):
    def check(bed):
        bed.bring_up()
        bed.reaches(bed.lab.us_host, HOST_GW)
        stream = Stream(bed)
        for _ in range(2):
            make(bed, bed.us if by == "us" else bed.peer)
            time.sleep(BETWEEN_S)
        if stream.process.poll() is not None:
            raise LabError("the pings ended before the rekeys did")
        sent, answered = stream.finish()
        if sent != answered:
            raise LabError(f"{sent - answered} of {sent} pings were lost")
        return f"2 rekeys, {sent} pings, 0 lost"
    return check


def rows():
    for what, make in (("child", new_child), ("ike", new_ike)):
        for by in ("us", "peer"):
            for peer, role in (("native", "initiator"), ("native", "responder"), ("kernel", "initiator"), ("udp", "responder")):
                yield Row(**with_role(role, case=f"rekey-{what}-by-{by}", peer=peer, check=rekeys(make, by)),
                          quick=role == "initiator" and (peer == "native" or (what, by) == ("ike", "peer")))

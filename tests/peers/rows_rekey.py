"""Rekeying from either side under a ping every millisecond, of which not one may be lost."""
import re
import time

from labs.network import LabError, wait_until
from peers.bed import HOST_GW
from peers.row import Row, with_role

BETWEEN_S = 2
# A thousand at a time until it is to stop: one that is interrupted counts what is on its way as lost.
PINGS = "while [ ! -e {stop} ]; do ping -n -q -i 0.001 -c 1000 -W 2 {to}; done"


class Stream:
    """Pings from our host to the peer's, one a millisecond."""

    def __init__(self, bed):
        self.stop, self.file = bed.row_folder / "stop-pings", open(bed.row_folder / "pings", "w+")
        self.process = bed.lab.us_host.start("sh", "-c", PINGS.format(stop=self.stop, to=HOST_GW), stdout=self.file)
        time.sleep(0.5)

    def finish(self):
        """(sent, answered)"""
        self.stop.touch()
        self.process.wait(60)
        self.file.seek(0)
        counts = re.findall(r"(\d+) packets transmitted, (\d+) received", self.file.read())
        self.file.close()
        return sum(int(sent) for sent, _ in counts), sum(int(answered) for _, answered in counts)


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
        sent, answered = stream.finish()
        if sent != answered or not sent:
            raise LabError(f"{sent - answered} of {sent} pings were lost")
        return f"2 rekeys, {sent} pings, 0 lost"
    return check


def rows():
    for what, make in (("child", new_child), ("ike", new_ike)):
        for by in ("us", "peer"):
            for peer, role in (("native", "initiator"), ("native", "responder"), ("kernel", "initiator"), ("udp", "responder")):
                yield Row(**with_role(role, case=f"rekey-{what}-by-{by}", peer=peer, check=rekeys(make, by)),
                          quick=role == "initiator" and (peer == "native" or (what, by) == ("ike", "peer")))

"""One row of the table: an example between our gateway and one kind of peer, in one role, and what must be seen."""
import dataclasses
import typing

from peers.bed import PeerOptions

INITIATE = (r'connection-type = "respond"', 'connection-type = "initiate"')


@dataclasses.dataclass(frozen=True)
class Row:
    case: str
    peer: str     # a key of bed.KINDS
    role: str     # ours: "initiator", "responder"
    check: typing.Callable  # takes the bed; returns what was seen, for people; fails by an exception
    example: str = "ikev2-psk-gcm"
    ours: tuple = ()       # edits of espalier.conf: (regular expression, replacement)
    stand_in: tuple = ()   # of us.conf, where strongSwan stands in our place
    theirs: tuple = ()     # of gw.conf
    path: dict = dataclasses.field(default_factory=dict)  # of the router: lab.ruleset()
    peer_options: PeerOptions = PeerOptions()
    stand_in_options: PeerOptions = PeerOptions()
    stand_in_kernel: bool = False  # strongSwan in our place needs Linux's ESP
    no_stand_in: str = ""          # why strongSwan cannot stand in our place
    lab_commands: tuple = ()       # (machine of the lab, command) before the row; they may have been run before
    encapsulated: bool = False     # ESP in UDP though neither the peer nor a NAT asks for it
    esp: bool = True               # whether ESP must be seen on the wire
    quick: bool = False
    timeout_s: int = 120

    @property
    def name(self):
        return f"{self.case}/{self.peer}/{self.role}"

    @property
    def wants_udp(self):
        return self.encapsulated or self.peer == "udp" or "nat" in self.path


def with_role(role, **fields):
    """The fields of a row, in which ours initiates by itself where that is its role."""
    edits = fields.get("ours", ())
    return fields | {"role": role, "ours": (*edits, INITIATE) if role == "initiator" else edits}

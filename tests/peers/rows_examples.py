"""Every IKEv2 example against every peer that has its configuration, in both roles."""
import time

from labs.network import LabError
from peers.bed import PeerOptions
from peers.row import Row, with_role

STRONGSWANS = ("udp", "native", "kernel")
PLAIN = ("ikev2-psk-gcm", "ikev2-psk-cbc", "ikev2-psk-cbc-sha1", "ikev2-natt", "ikev2-x509-rsa", "ikev2-x509-ecdsa",
         "ikev2-x509-ed25519", "ikev2-rsa-raw", "ikev2-narrow")
LIBRESWAN = ("ikev2-psk-gcm", "ikev2-psk-cbc", "ikev2-psk-cbc-sha1", "ikev2-natt", "ikev2-x509-rsa", "ikev2-x509-ecdsa")
OPENIKED = ("ikev2-psk-cbc-sha1",)
QUICK = {"ikev2-psk-gcm/native/initiator", "ikev2-psk-gcm/kernel/responder", "ikev2-psk-gcm/kernel/initiator",
         "ikev2-psk-cbc/udp/initiator", "ikev2-x509-rsa/native/responder", "ikev2-x509-ecdsa/kernel/initiator",
         "ikev2-ipv6/native/initiator", "ikev2-rsa-raw/udp/responder", "ikev2-natt/libreswan/responder",
         "ikev2-trap/native/initiator", "ikev2-narrow/native/initiator", "ikev2-x509-rsa/libreswan/initiator"}

# A route-based VPN's routes: of libipsec, and of a VTI in a guest.
US_ROUTES, GW_ROUTES = ("10.0.0.0/21", "fd00:2::/64"), ("192.168.0.0/24", "fd00:1::/64")
VTI_LINES = ("ip link add vti0 type vti local 203.0.113.2 remote 0.0.0.0 key 42", "ip link set vti0 up",
             "echo 1 >/proc/sys/net/ipv4/conf/vti0/disable_policy", "ip route add 192.168.0.0/24 dev vti0")


def tunnel(bed):
    """It comes up, both sides agree, and real traffic passes both ways."""
    bed.bring_up()
    bed.traffic(ipv6=bed.row.example == "ikev2-ipv6" or (bed.row.example == "ikev2-vti" and bed.row.peer != "kernel"))
    return ""


def comes_up_by_itself(bed):
    bed.agree(timeout=30)
    if bed.us.role() != bed.row.role:
        raise LabError(f"our side is the {bed.us.role()}")
    bed.traffic()
    return ""


def traffic_brings_it_up(bed):
    time.sleep(1)
    if bed.us.sas() or bed.peer.sas():
        raise LabError("there are SAs before anybody sent something")
    host, address = (bed.lab.us_host, "10.0.0.10") if bed.row.role == "initiator" else (bed.lab.gw_host, "192.168.0.10")
    bed.reaches(host, address, 20)
    bed.agree()
    bed.traffic()
    return "the first packet brought it up"


def examples(peer, names):
    for name in names:
        for role in ("initiator", "responder"):
            yield with_role(role, case=name, peer=peer, example=name, check=tunnel, encapsulated=name == "ikev2-natt")


def vti(peer):
    options = PeerOptions(extra=VTI_LINES) if peer == "kernel" else PeerOptions(routes=GW_ROUTES)
    for role in ("initiator", "responder"):
        yield with_role(role, case="ikev2-vti", peer=peer, example="ikev2-vti", check=tunnel, peer_options=options,
                        stand_in_options=PeerOptions(routes=US_ROUTES))


def restart(peer):
    common = {"case": "ikev2-restart", "peer": peer, "example": "ikev2-restart", "check": comes_up_by_itself}
    yield common | {"role": "initiator"}
    respond = ((r'connection-type = "initiate"', 'connection-type = "respond"'), (r'close-action = "start"', 'close-action = "none"'),
               (r'action = "restart"', 'action = "clear"'))
    start = ((r"start_action = none", "start_action = start"), (r"dpd_action = clear", "dpd_action = restart"))
    passive = ((r"start_action = start", "start_action = none"), (r"dpd_action = restart", "dpd_action = clear"),
               (r"close_action = start", "close_action = none"))
    yield common | {"role": "responder", "ours": respond, "theirs": start, "stand_in": passive}


def trap(peer):
    """strongSwan's own ESP has trap policies since 5.9.11."""
    common = {"case": "ikev2-trap", "peer": peer, "example": "ikev2-trap", "check": traffic_brings_it_up}
    yield common | {"role": "initiator"}
    if peer != "udp":
        theirs = ((r"start_action = none", "start_action = trap"),)
        yield common | {"role": "responder", "theirs": theirs, "stand_in": ((r"start_action = trap", "start_action = none"),)}


def rows():
    fields = [one for peer in STRONGSWANS for make in (lambda p: examples(p, (*PLAIN, "ikev2-ipv6")), restart, trap, vti)
              for one in make(peer)]
    fields += examples("libreswan", LIBRESWAN)
    fields += [one for one in examples("openiked", OPENIKED) if one["role"] == "initiator"]  # it only responds
    return [Row(**one, quick=f"{one['case']}/{one['peer']}/{one['role']}" in QUICK) for one in fields]

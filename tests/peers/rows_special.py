"""What happens to connections in the field: broken paths, NAT, small fragments, refusals, floods, other selectors."""
import pathlib
import re
import time

from labs.capture import wrpcap
from labs.network import LabError, wait_until
from peers import forge
from peers.bed import HOST_GW, PeerOptions
from peers.row import INITIATE, Row, with_role
from peers.rows_examples import tunnel

BOTH = ("initiator", "responder")
INJECT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "labs" / "inject.py"

# -- connections that come back


def comes_back_after_a_cut(bed):
    """The peer is cut off until it has forgotten us; our DPD builds the tunnel again."""
    before = bed.agree(timeout=30)
    bed.traffic(tcp=False)
    bed.rules(cut=True)
    wait_until("the peer gives us up", lambda: not bed.peer.sas(), 60, 0.5)
    bed.rules()
    healed = time.monotonic()
    bed.agree(without=before, timeout=200)
    bed.traffic()
    return f"up again {time.monotonic() - healed:.0f} s after the cut"


def comes_back_after_a_close(bed):
    before = bed.agree(timeout=30)
    bed.peer.terminate_child()
    bed.agree(without=before, timeout=20)
    bed.traffic()
    return "another child after the peer's delete"


def connection_rows():
    for peer in ("native", "kernel"):
        common = {"peer": peer, "role": "initiator", "example": "ikev2-restart"}
        yield Row(case="dpd-restart", check=comes_back_after_a_cut, timeout_s=300, **common)
        yield Row(case="close-start", check=comes_back_after_a_close, quick=peer == "native", **common)

# -- the path


def nat_row(nat, peer, role):
    ours = ((r'remote-address = \[ "203.0.113.2" \]', 'remote-address = [ "198.51.100.1" ]'),) if nat != "us" else ()
    stand_in = ((r"remote_addrs = 203.0.113.2", "remote_addrs = 198.51.100.1"),) if nat != "us" else ()
    anyone = ((r"remote_addrs = 198.51.100.3", "remote_addrs = %any"),) if role == "initiator" else ()
    return Row(**with_role(role, case=f"nat-{nat}", peer=peer, check=tunnel, ours=ours), stand_in=stand_in, theirs=anyone,
               path={"nat": nat}, quick=peer == "native" and nat != "gw")


def fragments(bed):
    tunnel(bed)
    split = re.search(r"splitting IKE message \((\d+) bytes\) into (\d+) fragments", bed.peer.log())
    if not split or int(split[1]) > int(split[2]) * 400 or "received fragment #" not in bed.peer.log():
        raise LabError(f"fragments of 400 bytes and ours were expected, the peer told of {split and split[0]}")
    return f"{split[1]} bytes came in {split[2]} fragments, and ours arrived in fragments"


def through_loss(bed):
    (bed.us if bed.row.role == "initiator" else bed.peer).initiate(timeout=60)
    bed.agree(timeout=30)
    output = bed.lab.us_host.run("ping", "-n", "-q", "-c", 100, "-i", "0.02", "-W", 1, HOST_GW, check=False).stdout
    answered = int(re.search(r"(\d+) received", output)[1])
    if answered < 60:
        raise LabError(f"{answered} of 100 pings were answered at 10 % loss each way")
    return f"{answered} of 100 pings at 10 % loss each way"


def path_rows():
    for nat, roles in (("us", ("initiator",)), ("gw", BOTH), ("both", ("initiator",))):
        yield from (nat_row(nat, peer, role) for peer in ("native", "kernel", "udp") for role in roles)
    small = PeerOptions(settings="  fragment_size = 400")
    for role in BOTH:
        yield Row(**with_role(role, case="fragments-400", peer="native", example="ikev2-x509-rsa", check=fragments),
                  theirs=((r"mobike = no", "mobike = no\n    fragmentation = yes"),), peer_options=small, stand_in_options=small,
                  quick=role == "initiator")
        for example in ("ikev2-psk-gcm", "ikev2-x509-rsa"):
            yield Row(**with_role(role, case=f"loss-10-{example[6:]}", peer="native", example=example, check=through_loss),
                      path={"loss": 10})

# -- refusals, with what the operator is told


def refused(ours, stand_in):
    """Nothing comes up, and our side says why: every one of the regular expressions is found."""
    def check(bed):
        wanted = ours if bed.us_kind == "espalier" else stand_in
        (bed.us if bed.row.role == "initiator" else bed.peer).attempt()
        told = lambda: all(re.search(one, bed.us.failure(), re.IGNORECASE) for one in wanted)
        try:
            wait_until("our side tells the reason", told, 20, 0.3)
        except LabError:
            raise LabError(f"{wanted} was expected of our side, it said: {bed.us.failure() or 'nothing'}") from None
        if bed.us.sas() or bed.peer.sas():
            raise LabError("there are SAs nevertheless")
        return bed.us.failure().splitlines()[-1][-200:]
    return check


def refusal_rows():
    other = ((r"(?m)^    proposals = .*", "    proposals = aes256-sha512-ecp384"),)
    other_esp = ((r"esp_proposals = .*", "esp_proposals = aes128-sha512-ecp384"),)
    for role in BOTH:
        initiator = role == "initiator"
        row = lambda case, check, **fields: Row(**with_role(role, case=case, peer="native", check=check, **fields), esp=False,
                                                quick=True)
        yield row("wrong-psk", refused(["AUTHENTICATION_FAILED" if initiator else "pre-shared|psk|secret|AUTHENTICATION"],
                                       ["AUTHENTICATION_FAILED" if initiator else "MAC mismatch"]),
                  ours=(("SomePreSharedKey", "another"),), stand_in=(("SomePreSharedKey", "another"),))
        yield row("wrong-proposal", refused(["NO_PROPOSAL_CHOSEN", "aes256gcm128"] if initiator else
                                            ["aes256gcm128", "sha512|dh20|group 20"],
                                            ["NO_PROPOSAL_CHOSEN"] if initiator else ["configured proposals"]), theirs=other)
        yield row("wrong-esp-proposal", refused(["NO_PROPOSAL_CHOSEN", "aes256gcm128"] if initiator else
                                                ["aes256gcm128", "sha512"],
                                                ["NO_PROPOSAL_CHOSEN"] if initiator else ["configured proposals"]),
                  theirs=other_esp)
        yield row("revoked", refused(["revoked"], ["revoked"]), example="ikev2-x509-rsa",
                  theirs=((r"certs = gw-rsa.pem", "certs = gw-revoked.pem"),))

# -- IKE_SA_INIT in two rounds


def flood(bed, port, machine, sources, destination, each):
    """Half-open IKE SAs at one gateway, from the router's port in front of it."""
    mac = lambda host, interface: host.run("cat", f"/sys/class/net/{interface}/address").stdout.strip()
    file = bed.row_folder / "forged.pcap"
    wrpcap(str(file), forge.frames(mac(bed.lab.net, port), mac(machine, "wan0"), sources, destination, each), linktype=1)
    bed.lab.net.run("/usr/bin/python3", INJECT, port, file)
    time.sleep(0.5)


def cookie(bed):
    if bed.row.role == "initiator":
        flood(bed, "right", bed.lab.gw, ["198.51.100.3"], "203.0.113.2", 2)
        bed.us.attempt()
    else:
        flood(bed, "left", bed.lab.us, [f"203.0.113.{number}" for number in range(10, 20)], "198.51.100.3", 8)
        bed.peer.initiate()
    bed.agree()
    if not re.search(r"IKE_SA_INIT request 0 \[ N\(COOKIE\)", bed.peer.log()):
        raise LabError("no cookie was asked for")
    bed.traffic(tcp=False)
    return "the request came again with the cookie"


def invalid_ke(bed):
    bed.bring_up()
    if "INVAL_KE" not in bed.peer.log():
        raise LabError("no INVALID_KE_PAYLOAD was sent")
    bed.traffic(tcp=False)
    return "INVALID_KE_PAYLOAD, then the other group"


def init_rows():
    any_peer = ((r'remote-address = \[ "203.0.113.2" \]', 'remote-address = [ "any" ]'),)
    any_stand_in = ((r"remote_addrs = 203.0.113.2", "remote_addrs = %any"),)
    low = PeerOptions(settings="  cookie_threshold = 1\n  block_threshold = 0")
    yield Row(case="cookie", peer="native", role="initiator", check=cookie, peer_options=low,
              ours=((r'connection-type = "respond"', 'connection-type = "none"'),), quick=True)
    yield Row(case="cookie", peer="native", role="responder", check=cookie, ours=any_peer, stand_in=any_stand_in,
              stand_in_options=PeerOptions(settings="  cookie_threshold = 30\n  block_threshold = 0"), quick=True)
    two = (r"proposal = \( \{ number = 1; (encryption = \"aes256gcm128\"; prf = \"prfsha256\";) dh-group = 19; \} \)",
           r"proposal = ( { number = 1; \1 dh-group = 19; }, { number = 2; \1 dh-group = 31; } )")
    x25519, either = ((r"(?m)^    proposals = .*", f"    proposals = aes256gcm16-prfsha256-{groups}") for groups in
                      ("x25519", "ecp256-x25519"))
    yield Row(case="invalid-ke", peer="native", role="initiator", check=invalid_ke, ours=(two, INITIATE), stand_in=(either,),
              theirs=(x25519,), quick=True)
    yield Row(case="invalid-ke", peer="native", role="responder", check=invalid_ke, ours=((r"dh-group = 19", "dh-group = 31"),),
              stand_in=(x25519,), theirs=(either,), quick=True)


# -- selectors


def narrowed(bed):
    bed.bring_up()
    local = bed.peer.selectors()[0]
    if local != "10.0.0.0/21":
        raise LabError(f"10.0.0.0/8 was to be narrowed to 10.0.0.0/21, it is {local}")
    bed.traffic()
    return "10.0.0.0/8 became 10.0.0.0/21"


def ports(bed):
    bed.bring_up()
    if "tcp/5201" not in bed.peer.selectors()[0]:
        raise LabError(f"the port is lost: {bed.peer.selectors()}")
    echo = bed.serve_echo()
    wait_until("TCP 5201 passes", lambda: echo.tcp(bed.lab.us_host, size=100_000), 10)
    return ", ".join(bed.peer.selectors())


def selector_rows():
    for peer in ("native", "kernel"):
        yield Row(case="narrowing", peer=peer, role="responder", check=narrowed,
                  theirs=((r"local_ts = 10.0.0.0/21", "local_ts = 10.0.0.0/8"),))
        for role in BOTH:
            ours = ((r"remote = (\{ prefix = \[ \"10.0.0.0/21\" \];) \};", r'remote = \1 port = 5201; }; protocol = "tcp";'),)
            theirs = ((r"local_ts = 10.0.0.0/21", "local_ts = 10.0.0.0/21[tcp/5201]"),
                      (r"remote_ts = 192.168.0.0/24", "remote_ts = 192.168.0.0/24[tcp]"))
            stand_in = ((r"remote_ts = 10.0.0.0/21", "remote_ts = 10.0.0.0/21[tcp/5201]"),
                        (r"local_ts = 192.168.0.0/24", "local_ts = 192.168.0.0/24[tcp]"))
            yield Row(**with_role(role, case="ports", peer=peer, check=ports, ours=ours), theirs=theirs, stand_in=stand_in,
                      quick=peer == "native" and role == "initiator")


def rows():
    for part in (connection_rows, path_rows, refusal_rows, init_rows, selector_rows):
        yield from part()

"""What `explain` says of the stage where a packet ends: the truth about this packet, and the reason that would be counted."""
import expect
from labs.two_sites import GATEWAY_A, HOST_A, HOST_B, WAN_B


def explained(lab, **changes):
    """`explain` of a UDP packet from host A to host B on gateway A: stage -> text."""
    options = {"in": "lan", "src": HOST_A, "dst": HOST_B, "protocol": "udp"} | changes
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return {row["stage"]: row["text"] for row in lab.a.ask("explain", *words)["lines"]}


def reason(said):
    """"dropped (REASON): ..." -> REASON"""
    words = said["result"].split()
    return words[1].strip("():") if words[0] == "dropped" else None


def test_the_stage_that_ends_a_packet_says_why(folder):
    """TTL, size, an address that no packet may have, a policy without an SA, a peer without a route."""
    with expect.two_sites(folder, start=False) as lab:
        settings = lab.settings_a()
        settings["routes"] = [*settings.get("routes", []), {"prefix": WAN_B, "blackhole": True}]
        lab.a.start(lab.settings_a())
        said = explained(lab)
        expect.equal((said["ttl"], reason(said)), ("64", None), "TTL 64")
        said = explained(lab, ttl="1")
        expect.equal((said["ttl"], reason(said)), ("1: it runs out here", "ttl_exceeded"), "TTL 1")
        said = explained(lab, src=GATEWAY_A)
        expect.equal(reason(said), "ip_bad_source", "the gateway's own address")
        expect.equal(said["route"].split(":")[0], "a source that no packet may have", "the gateway's own address")
        said = {row["stage"]: row["text"] for row in lab.a.ask(
            "explain", "--in", "lan", "--src", HOST_A, "--dst", HOST_B, "--size", "1447", "--df")["lines"]}
        expect.equal((said["size"], reason(said)), ("1447 bytes, and 1446 fit unfragmented", "too_big"), "1447 bytes")

        lab.a.apply(settings)
        said = explained(lab)
        expect.equal(said["result"], "dropped (route_blackhole): the ESP packet has a blackhole route", "no way to the peer")

        settings["xfrm"]["state"] = []
        lab.a.apply(settings)
        said = explained(lab)
        expect.equal((said["out_policy"].split(", ")[-1], reason(said)), ("no SA for this packet", "out_no_state"), "no SA")

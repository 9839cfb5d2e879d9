"""Routes that FRR learns through the tunnels, several next hops, and tunnels of both kinds on one gateway."""
import contextlib

import expect
from labs import capture, host_path, traffic
from labs.frr import Frr
from labs.network import wait_until
from labs.two_sites import GATEWAY_A, HOST_B, LAN_A, LAN_B, WAN_A, WAN_B

TUNNEL_A, TUNNEL_B = "10.9.0.1", "10.9.0.2"
IMPORT = {"import": "kernel", "protocol": ["bgp", "ospf"]}


def gre_settings(lab, side):
    """GRE between the gateways, each packet of it in transport mode ESP; no route but FRR's."""
    near, far, address = (WAN_A, WAN_B, TUNNEL_A) if side == "left" else (WAN_B, WAN_A, TUNNEL_B)
    settings = (lab.settings_a if side == "left" else lab.settings_b)()
    settings["interfaces"]["gre1"] = {"type": "gre", "local-ip": near, "remote-ip": far, "address": f"{address}/30",
                                      "protect": True, "mtu": 1400}
    settings["routes"] = [IMPORT]
    template = {"mode": "transport", "reqid": lab.tunnel.reqid}
    common = {"protocol": "gre", "action": "protect", "template": template}
    settings["xfrm"] = {"state": [state | {"mode": "transport"} for state in lab.tunnel.states(side)],
                        "policy": [{"direction": "out", "src": f"{near}/32", "dst": f"{far}/32", **common},
                                   {"direction": "in", "src": f"{far}/32", "dst": f"{near}/32", **common}]}
    return settings


def vti_settings(lab, side):
    """A VTI with the pair of states and no policy; no route but FRR's."""
    address = TUNNEL_A if side == "left" else TUNNEL_B
    settings = (lab.settings_a if side == "left" else lab.settings_b)()
    settings["interfaces"]["vti1"] = {"type": "vti", "address": f"{address}/30", "mtu": 1400}
    settings["routes"] = [IMPORT]
    settings["xfrm"] = {"state": [state | {"vti": "vti1"} for state in lab.tunnel.states(side)], "policy": []}
    return settings


def ospf(interface, number):
    """ospfd's configuration: the tunnel as an interface, the LAN as a stub."""
    return (f"interface {interface}\n ip ospf area 0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n"
            "interface lan\n ip ospf area 0\n"
            f"router ospf\n ospf router-id 10.255.0.{number}\n passive-interface lan\n timers throttle spf 0 50 1000\n")


def bgp(number, neighbor, network):
    return (f"router bgp {65000 + number}\n bgp router-id 10.255.0.{number}\n no bgp ebgp-requires-policy\n"
            f" neighbor {neighbor} remote-as {65003 - number}\n neighbor {neighbor} timers 1 3\n"
            f" neighbor {neighbor} timers connect 1\n"
            f" address-family ipv4 unicast\n  network {network}\n")


@contextlib.contextmanager
def routed_sites(folder, settings, daemon, configurations):
    """Two sites with `settings(lab, side)`, the host path, and FRR with one daemon on both hosts."""
    with expect.two_sites(folder, start=False) as lab:
        lab.frr = []
        gateways = ((lab.a, "left"), (lab.b, "right"))
        lab.hosts = [host_path.host_of(lab, gateway) for gateway, _ in gateways]
        for (gateway, side), host in zip(gateways, lab.hosts):
            gateway.start(host_path.add(settings(lab, side), host), wait=False)
        for gateway, _ in gateways:
            gateway.wait_ready()
        for host, text in zip(lab.hosts, configurations):
            lab.frr.append(Frr(host, {daemon: text}))
        yield lab


def carries_iperf(lab, *options):
    server = traffic.Iperf(lab.host_b, HOST_B)
    report = server.run(lab.host_a, 2, *options)
    server.stop()
    expect.equal(report.get("error"), None, "iperf3's error")
    expect.at_least(report["end"]["sum_received"]["bits_per_second"], 5e6, "bits per second over the tunnel")


def imported(gateway, prefix):
    return [row for row in host_path.routes(gateway).get(prefix, []) if row["origin"] == "kernel" and row["usable"]]


def test_ospf_over_gre_in_ipsec(folder):
    """The adjacency comes up through the host path, its routes carry iperf3, and all of it is ESP on the wire."""
    with routed_sites(folder, gre_settings, "ospfd", (ospf("gre1", 1), ospf("gre1", 2))) as lab:
        with expect.no_clear_packets(lab):
            wait_until("OSPF's adjacency is full", lambda: all(
                "Full" in "".join(frr.ospf_states().values()) for frr in lab.frr), 30)
            wait_until("OSPF's route is in the dataplane",
                       lambda: imported(lab.a, LAN_B) and imported(lab.b, LAN_A), 10)
            expect.answered(lab)
            carries_iperf(lab)


def test_bgp_over_a_vti(folder):
    """The session comes up through the VTI, its routes carry iperf3; without FRR they are gone from the dataplane."""
    with routed_sites(folder, vti_settings, "bgpd", (bgp(1, TUNNEL_B, LAN_A), bgp(2, TUNNEL_A, LAN_B))) as lab:
        with expect.no_clear_packets(lab):
            wait_until("BGP's session is established", lambda: all(
                "Established" in frr.bgp_states().values() for frr in lab.frr), 30)
            wait_until("BGP's route is in the dataplane",
                       lambda: imported(lab.a, LAN_B) and imported(lab.b, LAN_A), 10)
            expect.answered(lab)
            carries_iperf(lab)
            carries_iperf(lab, "--reverse")
            lab.frr[0].stop()
            wait_until("the route is gone with FRR", lambda: not imported(lab.a, LAN_B), 5)
            expect.equal(lab.ping(wait_s=1), 0, "answers without a route")


def test_show_route_has_what_the_interfaces_bring(folder):
    """Own addresses, networks and their broadcast addresses, with their interfaces; and the configured default route."""
    with expect.two_sites(folder) as lab:
        rows = {(row["prefix"], row["origin"], row["interface"]) for row in lab.a.ask("show", "route")["routes"]}
        wanted = {(prefix, "connected", "lan") for prefix in (LAN_A, f"{GATEWAY_A}/32", "10.1.0.255/32")}
        expect.equal({row for row in rows if row[2] == "lan"}, wanted, "routes of the LAN's interface")
        expect.equal({row for row in rows if row[1] == "static"}, {("0.0.0.0/0", "static", "wan")}, "configured routes")

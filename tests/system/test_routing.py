"""Routes that FRR learns through the tunnels, several next hops, and tunnels of both kinds on one gateway."""
import contextlib
import re
import signal

import expect
from labs import configuration, host_path, traffic
from labs.frr import Frr
from labs.network import wait_until
from labs.one_site import FAR, FAR6, WANS6
from labs.two_sites import GATEWAY_A, HOST_A, HOST_B, LAN_A, LAN_B, WAN_A, WAN_B

TUNNEL_A, TUNNEL_B = "10.9.0.1", "10.9.0.2"
VTI_LAN_A, VTI_GATEWAY_A, VTI_HOST_A = "10.11.0.0/24", "10.11.0.1", "10.11.0.10"
VTI_LAN_B, VTI_GATEWAY_B, VTI_HOST_B = "10.12.0.0/24", "10.12.0.1", "10.12.0.10"
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
            f"router ospf\n ospf router-id 10.255.0.{number}\n passive-interface lan\n timers throttle spf 0 50 500\n timers throttle lsa all 0\n timers lsa min-arrival 0\n")


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
        try:
            yield lab
        except BaseException:
            for gateway, host, frr in zip((lab.a, lab.b), lab.hosts, lab.frr):
                print(host.run("ip", "-s", "address").stdout, host.run("ip", "route").stdout, frr.log("zebra"), frr.log(daemon),
                      frr.tell("zebra", "show interface", "show ip route"), gateway.ask("show", "drops"), sep="\n")
                if daemon == "ospfd":
                    print(frr.tell(daemon, "show ip ospf interface", "show ip ospf neighbor", "show ip ospf database", "show ip ospf route"))
            raise


def carries_iperf(lab, *options):
    server = traffic.Iperf(lab.host_b, HOST_B)
    report = server.run(lab.host_a, 2, *options)
    server.stop()
    expect.equal(report.get("error"), None, "iperf3's error")
    expect.at_least(report["end"]["sum_received"]["bits_per_second"], 5e6, "bits per second over the tunnel")


def imported(gateway, prefix):
    return [row for row in host_path.routes(gateway).get(prefix, []) if row["origin"] == "kernel" and row["usable"]]


def learned(lab):
    """Waits until each gateway's dataplane has the route to the other's LAN from its kernel."""
    wait_until("the routes are in the dataplane", lambda: imported(lab.a, LAN_B) and imported(lab.b, LAN_A), 30)


def test_ospf_over_gre_in_ipsec(folder):
    """The adjacency comes up through the host path, its routes carry iperf3, all of it ESP; so again after a kill -9."""
    with routed_sites(folder, gre_settings, "ospfd", (ospf("gre1", 1), ospf("gre1", 2))) as lab:
        with expect.no_clear_packets(lab):
            is_full = lambda: all("Full" in "".join(frr.ospf_states().values()) for frr in lab.frr)
            wait_until("OSPF's adjacency is full", is_full, 30)
            learned(lab)
            expect.answered(lab)
            carries_iperf(lab)
            lab.a.kill("espalier-dataplane")
            wait_until("the dataplane has the route again", lambda: imported(lab.a, LAN_B), 30)
            wait_until("pings are answered again", lambda: lab.ping(wait_s=1), 10)


def test_bgp_over_a_vti(folder):
    """The session comes up through the VTI, its routes carry iperf3, and they are gone with the SAs, and with FRR."""
    with routed_sites(folder, vti_settings, "bgpd", (bgp(1, TUNNEL_B, LAN_A), bgp(2, TUNNEL_A, LAN_B))) as lab:
        with expect.no_clear_packets(lab):
            is_established = lambda: all("Established" in frr.bgp_states().values() for frr in lab.frr)
            wait_until("BGP's session is established", is_established, 30)
            learned(lab)
            expect.answered(lab)
            carries_iperf(lab)
            carries_iperf(lab, "--reverse")

            settings = host_path.add(vti_settings(lab, "left"), lab.hosts[0])
            lab.a.apply(settings | {"xfrm": {"state": [], "policy": []}})
            wait_until("the device is down", lambda: "LOWER_UP" not in host_path.links(lab.hosts[0])["vti1"]["flags"], 5)
            wait_until("the route is gone with the SAs", lambda: not imported(lab.a, LAN_B), 10)
            expect.equal(lab.ping(wait_s=1), 0, "answers without an SA")
            lab.a.apply(settings)
            learned(lab)
            wait_until("pings are answered again", lambda: lab.ping(wait_s=1), 10)

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


def both_tunnels(lab, side, cut=None):
    """The networks of two_sites.py by policies, two others by a VTI, and a default route in clear; `cut`: without its states."""
    near_side = side == "left"
    settings = lab.settings_a() if near_side else lab.settings_b()
    settings["interfaces"]["vti1"] = {"type": "vti", "address": f"{TUNNEL_A if near_side else TUNNEL_B}/30", "mtu": 1400}
    settings["interfaces"]["lan"]["address"].append(f"{VTI_GATEWAY_A if near_side else VTI_GATEWAY_B}/24")
    settings["routes"].append({"prefix": VTI_LAN_B if near_side else VTI_LAN_A, "interface": "vti1"})
    states = {"policy": lab.tunnel.states(side), "vti": [state | {"vti": "vti1"} for state in lab.vti.states(side)]}
    settings["xfrm"]["state"] = [state for kind, both in states.items() if kind != cut for state in both]
    return settings


def unharmed(lab, source, to, action):
    """No ping between two addresses is lost while `action` runs."""
    output = lab.directory / "unharmed.txt"
    with open(output, "w") as file:
        running = lab.host_a.start("ping", "-n", "-i", "0.02", "-I", source, to, stdout=file)
    wait_until("pings are answered", lambda: output.read_text().count(" bytes from ") > 5)
    action()
    lab.host_a.stop(running, signal.SIGINT)
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", output.read_text()).groups())
    expect.at_least(received, sent - 1, f"answers from {to} to {sent} pings")  # the last one may be on its way


def test_one_of_two_tunnels_is_cut(folder):
    """A VTI and a policy tunnel on one gateway: the one without SA carries nothing, in clear least of all; the other goes on."""
    with expect.two_sites(folder, start=False) as lab:
        lab.vti = configuration.Tunnel(WAN_A, WAN_B, VTI_LAN_A, VTI_LAN_B, reqid=2, first_spi=0x2000)
        for host, address in ((lab.host_a, VTI_HOST_A), (lab.host_b, VTI_HOST_B)):
            host.ip("address", "add", f"{address}/24", "dev", "eth0")
        lab.a.start(both_tunnels(lab, "left"), wait=False)
        lab.b.start(both_tunnels(lab, "right"))
        lab.a.wait_ready()
        pairs = {"policy": (HOST_A, HOST_B), "vti": (VTI_HOST_A, VTI_HOST_B)}
        is_answered = lambda pair: pings(lab, *pair)

        def cut(which, reason):
            lab.a.apply(both_tunnels(lab, "left", cut=which))
            expect.equal(pings(lab, *pairs[which], count=5), 0, f"answers by the {which} tunnel without SA")
            lab.a.wait_drops(reason, 5)
            expect.equal(pings(lab, *pairs[which], source=lab.host_b, count=3), 0, "answers in the other direction")
            lab.a.apply(both_tunnels(lab, "left"))
            wait_until(f"the {which} tunnel works again", lambda: is_answered(pairs[which]))

        with expect.no_clear_packets(lab):
            for pair in pairs.values():
                expect.equal(pings(lab, *pair, count=3), 3, f"answers from {pair[1]}")
            unharmed(lab, *pairs["policy"], lambda: cut("vti", "route_unreachable"))
            unharmed(lab, *pairs["vti"], lambda: cut("policy", "out_no_state"))


def pings(lab, near, far, source=None, count=1):
    """How many pings between two addresses are answered; from host B in the other direction."""
    near, far = (near, far) if source in (None, lab.host_a) else (far, near)
    words = ["ping", "-n", "-c", count, "-i", "0.1", "-W", 1, "-I", near, far]
    return (source or lab.host_a).run(*words, check=False).stdout.count(" bytes from ")


def links_used(lab, echo, flows, links=("eth1", "eth2")):
    """How many of `flows` UDP flows went by each of the far host's links that are up; all are answered."""
    running = [lab.watch(link, lab.far, link, f"udp dst port {echo.port}", direction="in") for link in links]
    expect.equal(echo.udp(lab.host_a, flows=flows), flows, f"flows to {echo.address} that were answered")
    return [len(one.stop()) for one in running]


def test_two_next_hops_one_of_which_goes_away(folder):
    """Flows are shared among both links; those of a link that goes down take the other, and come back when it is up again."""
    with expect.one_site(folder) as lab:
        for address in (FAR, FAR6):
            echo = traffic.Echo(lab.far, address)
            used = links_used(lab, echo, 100)
            expect.equal(sum(used), 100, f"packets on both links {used}")
            expect.at_least(min(used), 25, f"flows by each link {used}")
            lab.far.ip("link", "set", "eth2", "down")
            wait_until("the link is shown as down", lambda: not link_up(lab.gateway, "wan2"))
            expect.equal(links_used(lab, echo, 50, ["eth1"]), [50], "flows by the link that is left")
            lab.far.ip("link", "set", "eth2", "up")
            wait_until("the link is shown as up", lambda: link_up(lab.gateway, "wan2"))
            lab.far.ip("-6", "address", "replace", f"{WANS6[1]}:2/64", "dev", "eth2", "nodad")
            wait_until("both links are used again", lambda: min(links_used(lab, echo, 40)) > 5, 10)
            echo.stop()


def link_up(gateway, name):
    return next(row["link_up"] for row in gateway.ask("show", "interfaces")["interfaces"] if row["name"] == name)

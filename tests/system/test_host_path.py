"""Programs of the gateway's own Linux, by the devices of the host path: reached from outside, and reaching others."""
import contextlib

import expect
from labs import host_path, traffic
from labs.network import LabError, wait_until
from labs.one_site import FAR, FAR6, GATEWAY, GATEWAY6, HOST_A6, WANS, WANS6
from labs.two_sites import GATEWAY_A, HOST_A, HOST_B, LAN_A, WAN_A, WAN_B
from scapy.all import IP

SSH = 22


@contextlib.contextmanager
def site_with_host(folder, **changes):
    with expect.one_site(folder, start=False) as lab:
        lab.host = host_path.host_of(lab, lab.gateway)
        lab.gateway.start(host_path.add(lab.settings(**changes), lab.host))
        yield lab


def test_a_server_on_the_gateway(folder):
    """What ssh needs: TCP to the gateway's addresses of both families from LAN and WAN; a port without server is refused."""
    with site_with_host(folder) as lab:
        for address, far_side in ((GATEWAY, f"{WANS[0]}.1"), (GATEWAY6, f"{WANS6[0]}:1")):
            for own, client in ((address, lab.host_a), (far_side, lab.far)):
                echo = traffic.Echo(lab.host, own, SSH)
                expect.equal(echo.tcp(client, size=1_000_000), True, f"whether TCP to {own} brought everything back")
                expect.equal(echo.udp(client, flows=20), 20, f"datagrams that came back from {own}")
                echo.stop()
            refused = lab.host_a.run("/usr/bin/python3", traffic.ECHO, "tcp", address, 23, 1, check=False)
            expect.equal(refused.stderr.split("\n")[-2].split(":")[0], "ConnectionRefusedError", "what a client without server gets")


def test_programs_of_the_gateway_reach_others(folder):
    """Ping and TCP from the host to a neighbour, to a link-local one and by the default route, both families."""
    with site_with_host(folder) as lab:
        for far in (FAR, FAR6):
            echo = traffic.Echo(lab.far, far)
            expect.equal(echo.tcp(lab.host, size=1_000_000), True, f"whether TCP to {far} brought everything back")
        expect.equal(pings(lab.host, HOST_A, 3), 3, "pings of host A that were answered")
        expect.equal(pings(lab.host, HOST_A6, 3, 3000), 3, "pings of host A in fragments that were answered")
        link_local = next(row["local"] for row in host_path.links(lab.host_a)["eth0"]["addr_info"] if row["scope"] == "link")
        expect.equal(pings(lab.host, f"{link_local}%lan", 3), 3, f"pings of {link_local} that were answered")
        expect.equal(pings(lab.host_a, GATEWAY, 3), 3, "pings of the gateway that were answered")


def pings(machine, to, count=1, size=56, *options):
    words = ["ping", "-n", "-c", count, "-i", "0.1", "-W", 2, "-s", size, *options, to]
    return machine.run(*words, check=False, timeout=60).stdout.count(" bytes from ")


def device_of(row):
    """What a row of `show interfaces` has to look like in the host; a dummy has no MAC address of its own."""
    return row["mac"] if row["kind"] != "dummy" else None, row["mtu_bytes"], row["link_up"], set(row["addresses"])


def seen_device(link):
    addresses = {f"{row['local']}/{row['prefixlen']}" for row in link["addr_info"] if row["scope"] == "global"}
    mac = link["address"] if not link["ifname"].startswith("dum") else None
    return mac, link["mtu"], "LOWER_UP" in link["flags"], addresses


def differences(lab):
    """Interfaces for which the host has another device, or none, and devices that are no interface."""
    wanted = {row["name"]: device_of(row) for row in lab.gateway.ask("show", "interfaces")["interfaces"]}
    seen = {name: seen_device(link) for name, link in host_path.links(lab.host).items() if name != "lo"}
    return {name: (wanted.get(name), seen.get(name)) for name in wanted | seen if wanted.get(name) != seen.get(name)}


def in_step(lab, when):
    with contextlib.suppress(LabError):  # the next line says more
        wait_until("no differences", lambda: not differences(lab), 5)
    expect.nothing(differences(lab).items(), f"devices that are not as the interface {when}")


def test_devices_are_kept_in_step(folder):
    """Names, MAC addresses, MTU, addresses and link as the gateway has them: at the start, after link down, apply, kill -9."""
    with site_with_host(folder) as lab:
        in_step(lab, "after the start")
        lab.far.ip("link", "set", "eth2", "down")
        wait_until("the host sees the link go", lambda: "LOWER_UP" not in host_path.links(lab.host)["wan2"]["flags"], 5)
        in_step(lab, "while a link is down")
        settings = host_path.add(lab.settings(routes=[]), lab.host)
        settings["interfaces"]["lan"] |= {"mtu": 1400, "address": [f"{GATEWAY}/24", "10.8.0.1/24"]}
        settings["interfaces"]["dum0"] = {"type": "dummy", "address": "10.255.0.1/32"}
        del settings["interfaces"]["wan2"]
        lab.gateway.apply(settings)
        in_step(lab, "after an apply")
        expect.equal(set(host_path.links(lab.host)), {"lo", "lan", "wan1", "dum0"}, "devices of the host")
        lab.gateway.kill("espalier-dataplane")
        wait_until("the devices go with the dataplane", lambda: "lan" not in host_path.links(lab.host), 5)
        lab.gateway.wait_ready()
        in_step(lab, "after a kill -9")
        expect.equal(pings(lab.host, HOST_A, 3), 3, "pings of host A that were answered")


def test_policies_hold_for_the_host(folder):
    """By the tunnel: the host's packets that a policy covers are ESP on the wire, both ways; what comes in clear is refused."""
    with expect.two_sites(folder, start=False) as lab:
        host = host_path.host_of(lab, lab.a)
        lab.a.start(host_path.add(lab.settings_a(), host), wait=False)
        lab.b.start(lab.settings_b())
        lab.a.wait_ready()
        server, echo = traffic.Echo(host, GATEWAY_A, SSH), traffic.Echo(lab.host_b, HOST_B)
        with expect.no_clear_packets(lab):
            expect.equal(server.tcp(lab.host_b, size=1_000_000), True, "whether host B got everything back from the gateway")
            expect.equal(echo.tcp(host, size=1_000_000, source=GATEWAY_A), True, "whether the gateway got everything back")
            # Without an SA nothing leaves.
            settings = host_path.add(lab.settings_a(), host)
            settings["xfrm"]["state"] = []
            lab.a.apply(settings)
            expect.equal(pings(host, HOST_B, 3, 56, "-I", GATEWAY_A), 0, "answers without an SA")
            lab.a.wait_drops("out_no_state", 3)
        lab.b.apply(lab.settings_b(tunnels=[]))
        lab.a.apply(host_path.add(lab.settings_a(), host))
        before = lab.a.drops().get("in_template_mismatch", 0)
        expect.equal(server.udp(lab.host_b), 0, "answers to a packet in clear")
        lab.a.wait_drops("in_template_mismatch", before + 1)
        # WAN addresses are of no policy: in clear, as on any router.
        seen = lab.watch("wan", expression="icmp")
        expect.equal(pings(host, WAN_B, 2), 2, "pings of the other gateway that were answered")
        expect.equal({(packet[IP].src, packet[IP].dst) for packet in seen.stop()}, {(WAN_A, WAN_B), (WAN_B, WAN_A)}, "addresses")

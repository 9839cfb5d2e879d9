"""IPv6 with Linux hosts: neighbour discovery in both directions, forwarding in clear, NAT66, hairpin."""
import ipaddress
import json

import expect
from labs import traffic
from labs.network import wait_until
from labs.one_site import FAR6, GATEWAY, GATEWAY6, HOST_A6, HOST_C, HOST_C6, LAN, LAN6, WANS, WANS6
from scapy.all import (ARP, IP, Ether, ICMPv6DestUnreach, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6TimeExceeded,
                       IPv6)

NEW_MAC = "02:00:00:00:0c:02"
WAN6 = f"{WANS6[0]}:1"
HOST_C6_BLOCK, PUBLIC_BLOCK, PUBLIC_C6 = "fd00:1::20/123", "2001:db8:f0::40/123", "2001:db8:f0::50"


def ping(lab, to, count=1, size=56, *options, source=None):
    words = ["ping", "-n", "-c", count, "-i", "0.1", "-W", 2, "-s", size, *options, to]
    return (source or lab.host_a).run(*words, check=False, timeout=60).stdout.count(" bytes from ")


def neighbor_of(host, address):
    """What Linux knows of a neighbour: its MAC address, `router`, its state."""
    rows = json.loads(host.run("ip", "-json", "-6", "neighbour", "show", address, "dev", "eth0").stdout or "[]")
    return rows[0] if rows else {}


def mac(host):
    return json.loads(host.run("ip", "-json", "link", "show", "eth0").stdout)[0]["address"]


def link_local(address):
    """RFC 4291 appendix A: the address that belongs to a MAC address."""
    parts = [int(part, 16) for part in address.split(":")]
    identifier = bytes([parts[0] ^ 2, *parts[1:3], 0xff, 0xfe, *parts[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def interface(gateway, name):
    return next(row for row in gateway.ask("show", "interfaces")["interfaces"] if row["name"] == name)


def test_neighbours_find_each_other(folder):
    """Linux resolves the gateway as a router, the gateway resolves Linux, over link-local addresses as well."""
    with expect.one_site(folder) as lab:
        asked = lab.watch("nd", lab.host_a, "eth0", "icmp6")
        expect.equal(ping(lab, GATEWAY6, 3), 3, "pings of the gateway that were answered")
        lan = interface(lab.gateway, "lan")
        seen = neighbor_of(lab.host_a, GATEWAY6)
        expect.equal(seen.get("lladdr"), lan["mac"], "the gateway's MAC address at host A")
        expect.equal("router" in seen, True, f"whether host A takes it for a router: {seen}")
        expect.equal(ping(lab, HOST_A6, 3, source=lab.far), 3, "pings of host A that were answered")
        rows = {row["address"]: row for row in lab.gateway.ask("show", "neighbors")["neighbors"]}
        expect.equal((rows[HOST_A6]["mac"], rows[HOST_A6]["state"]), (mac(lab.host_a), "reachable"), "host A at the gateway")
        own = link_local(lan["mac"])
        expect.equal(ping(lab, f"{own}%eth0", 2), 2, f"pings of {own} that were answered")
        hop_limits = {packet[IPv6].hlim for packet in asked.stop() if ICMPv6ND_NS in packet or ICMPv6ND_NA in packet}
        expect.equal(hop_limits, {255}, "hop limits of neighbour discovery")


def test_a_duplicate_address_is_not_used(folder):
    """Host A has the gateway's address already: the gateway leaves it alone and says so. And the other way round."""
    with expect.one_site(folder) as lab:
        lab.gateway.stop()
        lab.host_a.ip("address", "add", f"{GATEWAY6}/64", "dev", "eth0", "nodad")
        lab.gateway.start()
        lab.gateway.settle(2)  # the gateway asks for one second
        lab.host_c.ip("-6", "neighbour", "flush", "dev", "eth0")
        expect.equal(ping(lab, GATEWAY6, 2, source=lab.host_c), 2, "pings that host A answers")
        expect.equal(neighbor_of(lab.host_c, GATEWAY6).get("lladdr"), mac(lab.host_a), "who has the address")
        said = [line for line in lab.gateway.log.read_text().splitlines() if f" {GATEWAY6}," in line and mac(lab.host_a) in line]
        expect.at_least(len(said), 1, "lines of the log that name the address and who has it")

        lab.host_c.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1")
        lan = link_local(interface(lab.gateway, "lan")["mac"])
        lab.host_c.ip("address", "add", f"{lan}/64", "dev", "eth0")
        wait_until("host C sees that the address is the gateway's", lambda: "dadfailed" in lab.host_c.ip("address").stdout, 5)


def test_forwarding_in_clear(folder):
    """Pings of every kind of size, in fragments too, UDP and TCP; the hop limit is lowered once."""
    with expect.one_site(folder) as lab:
        seen = lab.watch("far", lab.far, "any", "icmp6 and ip6[40] == 128")
        sizes = [1, 7, 8, 1232, 1233, 1452, 1453, 8000, 60000]
        expect.nothing(traffic.ping_each_size(lab.host_a, FAR6, sizes), "sizes without an answer")
        hop_limits = {packet[IPv6].hlim for packet in seen.stop()}
        expect.equal(hop_limits, {63}, "hop limits that the far host saw")
        echo = traffic.Echo(lab.far, FAR6)
        expect.equal(echo.tcp(lab.host_a, size=1_000_000), True, "whether TCP brought everything back")
        report = traffic.Iperf(lab.far, FAR6).run(lab.host_a, 2)
        expect.at_least(report["end"]["sum_received"]["bits_per_second"], 5e6, "bits per second")


def test_errors_are_told(folder):
    """Hop limit exceeded and address unreachable, from the address of the interface that the packet came in by."""
    with expect.one_site(folder) as lab:
        told = lab.watch("told", lab.host_a, "eth0", "icmp6 and (ip6[40] == 3 or ip6[40] == 1)")
        ping(lab, FAR6, 1, 56, "-t", 1)
        lab.host_a.run("ping", "-n", "-c", 1, "-W", 4, f"{WANS6[0]}:77", check=False)
        packets = told.stop()
        errors = [(packet[IPv6].src, ICMPv6TimeExceeded in packet, ICMPv6DestUnreach in packet and packet[ICMPv6DestUnreach].code)
                  for packet in packets]
        expect.equal(errors, [(GATEWAY6, True, False), (GATEWAY6, False, 3)], "errors (source, exceeded, code of unreachable)")


# -- NAT66 and hairpin


def nat66():
    """Masquerade of the LAN, but for host C: it is in a part of the LAN that is translated 1:1."""
    return {"source": [{"rule": 10, "outbound-interface": "wan1", "source": {"address": HOST_C6_BLOCK},
                        "translation": {"address": PUBLIC_BLOCK}},
                       {"rule": 20, "outbound-interface": "wan1", "source": {"address": LAN6},
                        "translation": {"address": "masquerade"}}],
            "destination": [{"rule": 10, "inbound-interface": "wan1", "destination": {"address": PUBLIC_BLOCK},
                             "translation": {"address": HOST_C6_BLOCK}}]}


def one_way_out():
    """Routes by the first link only."""
    return [{"prefix": "0.0.0.0/0", "via": f"{WANS[0]}.2"}, {"prefix": "::/0", "via": f"{WANS6[0]}:2"}]


def test_nat66(folder):
    """Masquerade and 1:1 translation of a prefix, in both directions, as the far host sees them."""
    with expect.one_site(folder, nat66=nat66(), routes=one_way_out()) as lab:
        lab.far.ip("-6", "route", "add", PUBLIC_BLOCK, "via", WAN6)
        seen = lab.watch("far", lab.far, "eth1", "icmp6 and ip6[40] == 128", direction="in")
        expect.equal(ping(lab, FAR6, 2), 2, "pings of host A that were answered")
        expect.equal(ping(lab, FAR6, 2, source=lab.host_c), 2, "pings of host C that were answered")
        expect.equal([packet[IPv6].src for packet in seen.stop()], [WAN6] * 2 + [PUBLIC_C6] * 2, "sources at the far host")
        seen = lab.watch("host-c", lab.host_c, "eth0", "icmp6 and ip6[40] == 128", direction="in")
        expect.equal(ping(lab, PUBLIC_C6, 2, source=lab.far), 2, "pings of host C's public address that were answered")
        expect.equal([packet[IPv6].dst for packet in seen.stop()], [HOST_C6] * 2, "destinations at host C")
        echo = traffic.Echo(lab.far, FAR6)
        expect.equal(echo.tcp(lab.host_a, size=1_000_000), True, "whether TCP brought everything back")


def hairpin(lan, public, gateway, host_c):
    """What is for a port of the public address goes to host C, from the LAN too; there with the gateway's address as source."""
    to_c = {"destination": {"address": public, "port": "8080"}, "protocol": "tcp",
            "translation": {"address": host_c, "port": "7007"}}
    return {"destination": [{"rule": number, "inbound-interface": name, **to_c} for number, name in ((10, "wan1"), (20, "lan"))],
            "source": [{"rule": 10, "outbound-interface": "lan", "protocol": "tcp", "source": {"address": lan},
                        "destination": {"address": host_c}, "translation": {"address": gateway}}]}


def test_hairpin(folder):
    """A LAN host reaches its neighbour by the gateway's public address, and so does the far host; both families."""
    wan = f"{WANS[0]}.1"
    with expect.one_site(folder, nat=hairpin(LAN, wan, GATEWAY, HOST_C), nat66=hairpin(LAN6, WAN6, GATEWAY6, HOST_C6)) as lab:
        for public, gateway, host_c in ((wan, GATEWAY, HOST_C), (WAN6, GATEWAY6, HOST_C6)):
            echo = traffic.Echo(lab.host_c, host_c)
            seen = lab.watch("host-c", lab.host_c, "eth0", "tcp dst port 7007", direction="in")
            expect.equal(echo.tcp(lab.host_a, to=public, port=8080), True, "whether host A got everything back")
            layer = IPv6 if ":" in public else IP
            expect.equal({packet[layer].src for packet in seen.stop()}, {gateway}, "sources at host C")
            expect.equal(echo.tcp(lab.far, to=public, port=8080), True, "whether the far host got everything back")
            echo.stop()


def test_link_local_next_hops(folder):
    """Both ways by link-local addresses: the gateway's route names the interface, the far host's the gateway's address."""
    with expect.one_site(folder, start=False) as lab:
        far = next(row["local"] for row in json.loads(lab.far.run("ip", "-json", "address", "show", "eth1").stdout)[0]["addr_info"]
                   if row["scope"] == "link")
        lab.gateway.start(lab.settings(routes=[{"prefix": "::/0", "via": far, "interface": "wan1"}]))
        near = link_local(interface(lab.gateway, "wan1")["mac"])
        lab.far.ip("-6", "route", "replace", LAN6, "via", near, "dev", "eth1")
        expect.equal(ping(lab, FAR6, 3), 3, "pings of the far host that were answered")
        expect.equal(ping(lab, HOST_A6, 3, source=lab.far), 3, "pings of host A that were answered")
        rows = {(row["address"], row["interface"]): row["state"] for row in lab.gateway.ask("show", "neighbors")["neighbors"]}
        expect.equal(rows.get((far, "wan1")), "reachable", f"the next hop among {rows}")


def test_a_neighbour_gets_another_mac(folder):
    """Another card in a host, which says so by an unsolicited advertisement and by gratuitous ARP: used at once."""
    with expect.one_site(folder) as lab:
        for address in (HOST_C6, HOST_C):
            expect.equal(ping(lab, address, source=lab.far), 1, "pings that were answered")
        lab.host_c.ip("link", "set", "eth0", "address", NEW_MAC)
        told = Ether(src=NEW_MAC, dst="33:33:00:00:00:01") / IPv6(src=HOST_C6, dst="ff02::1", hlim=255)
        told /= ICMPv6ND_NA(tgt=HOST_C6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
        gratuitous = Ether(src=NEW_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=NEW_MAC, psrc=HOST_C, pdst=HOST_C)
        for address, frame in ((HOST_C6, told), (HOST_C, gratuitous)):
            lab.inject(lab.host_c, "eth0", [frame])
            wait_until("pings are answered again", lambda: ping(lab, address, 1, 56, "-W", 1, source=lab.far), 4)

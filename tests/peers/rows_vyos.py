"""VyOS's IKEv2 example with a VTI, and a policy-based peer on the same gateway at the same time; a VTI with tunnels."""
from labs.network import LabError, wait_until
from peers import sas
from peers.bed import HOST_GW, HOST_US, PeerOptions
from peers.row import Row, with_role
from peers.rows_examples import GW_ROUTES, US_ROUTES


def vti_lines(own, peer, inner, network, *routes):
    """A VTI of Linux with the example's mark, and a network behind it that lives on lo."""
    return (f"ip addr add {own}/24 dev wan0", f"ip link add vti10 type vti local {own} remote {peer} key 42",
            f"ip addr add {inner}/31 dev vti10", "ip link set vti10 mtu 1400 up",
            "echo 1 >/proc/sys/net/ipv4/conf/vti10/disable_policy", f"ip addr add {network} dev lo",
            *(f"ip route add {route} dev vti10" for route in routes))


RIGHT = vti_lines("172.18.202.10", "172.18.201.10", "10.0.0.3", "10.0.12.1/24", "10.0.11.0/24", "10.0.13.0/24")
LEFT = (*vti_lines("172.18.201.10", "172.18.202.10", "10.0.0.2", "10.0.11.1/24", "10.0.12.0/24"), "ip addr add 10.0.13.1/24 dev lan0")
# The router has an address in each of the example's networks, our host one in the network that uses the VTI.
LAB = (("net", "ip address add 172.18.201.1/24 dev left"), ("net", "ip address add 172.18.202.1/24 dev right"),
       ("us_host", "ip address add 10.0.13.10/24 dev eth0"))


def both_tunnels(bed):
    for child in ("vti", "lan"):
        bed.us.initiate_child(child)
    theirs = lambda: bed.peer.sas()
    wait_until("both tunnels are up on both sides", lambda: len(theirs()) == 4 and sas.other_side(theirs()) <= bed.us.sas(), 30, 0.2)
    if not theirs() <= bed.peer.kernel_sas():
        raise LabError("Linux has other SAs than strongSwan tells")
    bed.traffic()  # the policy's
    bed.reaches(bed.lab.us_host, "10.0.12.1", source="10.0.13.10")
    for source, target in (("10.0.0.3", "10.0.0.2"), ("10.0.12.1", "10.0.11.1"), ("10.0.12.1", "10.0.13.10")):
        done = bed.peer.place.run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", source, target)
        if done.text.count(" bytes from ") != 3:
            raise LabError(f"ping {source} to {target} through the VTI:\n{done.text}")
    return f"policy {HOST_US} - {HOST_GW} and VTI 10.0.13.0/24 - 10.0.12.0/24, 10.0.0.2/31"


# The example with selectors for everything, with a tunnel of each family in their place.
OUR_TUNNELS = ((r"vti = .*", """vti = { bind = "vti10"; };
      tunnel = ( { number = 0; local = { prefix = "192.168.0.0/24"; }; remote = { prefix = "10.0.0.0/21"; }; },
                 { number = 6; local = { prefix = "fd00:1::/64"; }; remote = { prefix = "fd00:2::/64"; }; } );"""),)


def two_children(local, remote):
    first, second = (rf"{name} {{\1local_ts = {mine}\n\2remote_ts = {other}\n\3\n      }}"
                     for name, mine, other in (("lan", local[0], remote[0]), ("lan6", local[1], remote[1])))
    return ((r"(?s)lan \{(.*?)local_ts = \S+\n(.*?)remote_ts = \S+\n(.*?)\n      \}", f"{first}\n      {second}"),)


def tunnels_of_the_vti(bed):
    for child in ("lan", "lan6"):
        (bed.us if bed.row.role == "initiator" else bed.peer).initiate_child(child)
    theirs = lambda: bed.peer.sas()
    wait_until("both tunnels are up on both sides", lambda: len(theirs()) == 4 and sas.other_side(theirs()) <= bed.us.sas(), 30, 0.2)
    bed.traffic(ipv6=True)
    return "a tunnel of each family, both of one VTI"


def rows():
    ours, theirs = ("192.168.0.0/24", "fd00:1::/64"), ("10.0.0.0/21", "fd00:2::/64")
    for role in ("initiator", "responder"):
        yield Row(**with_role(role, case="vyos-vti-with-tunnels", peer="native", example="ikev2-vti", check=tunnels_of_the_vti,
                              ours=OUR_TUNNELS), theirs=two_children(theirs, ours), stand_in=two_children(ours, theirs),
                  peer_options=PeerOptions(routes=GW_ROUTES), stand_in_options=PeerOptions(routes=US_ROUTES), quick=role == "initiator")
    yield Row(case="vyos-vti-and-policy", peer="kernel", role="initiator", example="vyos-vti", check=both_tunnels,
              peer_options=PeerOptions(extra=RIGHT), stand_in_options=PeerOptions(extra=LEFT), stand_in_kernel=True,
              lab_commands=LAB, quick=True)

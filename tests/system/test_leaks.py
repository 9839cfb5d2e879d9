"""The leak hunt: every way to lose protection, with traffic in all tunnels meanwhile; nothing of it is on a wire in clear.

LEAKS=N in the environment is the number of seconds of the random run (8 without it), SEED=N repeats one.
"""
import os
import random
import time

import expect
import leaks
from labs.espalier import Refused
from labs.network import LabError

HOLD_S = 0.4  # how long each loss lasts, at least
SECONDS = int(os.environ.get("LEAKS", "8"))


def apply(lab, side, change, keys=None):
    """Applies the side's settings as `change` made them."""
    settings = leaks.settings(side, keys or lab.keys)
    change(settings)
    lab.gateway(side).apply(settings, "changed.conf")


def states_with(**more):
    """A change: these keywords in all outbound states."""
    return lambda settings: [state.update(more) for state in settings["xfrm"]["state"] if state["direction"] == "out"]


# -- The ways to lose protection. Each does it to one side and leaves the rest to LeakSites.restore().

def sas_deleted(lab, side):
    lab.gateway(side).apply(lab.settings(side, without=leaks.TUNNELS), "changed.conf")


def vti_loses_its_sas(lab, side):
    lab.gateway(side).apply(lab.settings(side, without=["vti"]), "changed.conf")


def inbound_sas_deleted(lab, side):
    def change(settings):
        settings["xfrm"]["state"] = [state for state in settings["xfrm"]["state"] if state["direction"] == "out"]
    apply(lab, side, change)


def expire(lab, side, **limit):
    """With keys of its own: an expired SA stays expired."""
    keys = leaks.Keys()
    apply(lab, leaks.other(side), lambda settings: None, keys)
    apply(lab, side, states_with(limit=limit), keys)


def sas_expire_by_packets(lab, side):
    expire(lab, side, **{"hard-packets": 20})


def sas_expire_by_bytes(lab, side):
    expire(lab, side, **{"hard-bytes": 20000})


def sas_expire_by_time(lab, side):
    expire(lab, side, **{"hard-seconds": 1})
    time.sleep(1.2)


def another_key(lab, side):
    apply(lab, side, lambda settings: None, leaks.Keys())


def dataplane_killed(lab, side):
    lab.gateway(side).kill("espalier-dataplane")


def espalierd_killed(lab, side):
    lab.gateway(side).kill("espalierd")


def both_killed(lab, side):
    lab.gateway(side).kill("espalier-dataplane")
    lab.gateway(side).kill("espalierd")


def sessions_are_full(lab, side):
    apply(lab, side, lambda settings: settings.update(nat={"sessions": "always", "limits": {"sessions": 4}}))


def sa_cells_are_full(lab, side):
    """Static keys keep their cells for ever, so they must not get that far: the apply is refused as a whole."""
    def change(settings):
        template = settings["xfrm"]["state"][0]
        settings["xfrm"]["state"] += [template | {"spi": 0x1000000 + i, "key": f"0x{i + 1:040x}"} for i in range(4200)]
    try:
        apply(lab, side, change)
    except Refused:
        return
    raise AssertionError("4200 states more were accepted")


def policies_reordered(lab, side):
    apply(lab, side, lambda settings: settings["xfrm"]["policy"].reverse())


def policy_before_the_others(lab, side):
    """All others change their places."""
    bypass = {"direction": "out", "src": "10.77.0.0/24", "dst": "10.78.0.0/24", "action": "bypass", "priority": 1}
    apply(lab, side, lambda settings: settings["xfrm"]["policy"].insert(0, bypass))


def states_renamed(lab, side):
    def change(settings):
        for number, state in enumerate(reversed(settings["xfrm"]["state"])):
            state["name"] = f"renamed {number}"
        settings["xfrm"]["state"].reverse()
    apply(lab, side, change)


def interface_before_the_others(lab, side):
    def change(settings):
        settings["interfaces"] = {"new": {"type": "dummy", "address": ["10.88.0.1/24"]}} | settings["interfaces"]
    apply(lab, side, change)


def vti_replaced(lab, side):
    def change(settings):
        settings["interfaces"]["vti9"] = settings["interfaces"].pop("vti1")
        for state in settings["xfrm"]["state"]:
            if "vti" in state:
                state["vti"] = "vti9"
    apply(lab, side, change)


def routes_changed(lab, side):
    """A narrower route of the vti comes, all routes change their places, and then the vti loses its SAs."""
    far, _, (_, net, _) = leaks.SIDES[leaks.other(side)]
    narrower = {"prefix": f"10.{net}.0.0/28", "via": f"10.255.1.{far}"}
    apply(lab, side, lambda settings: settings["routes"].insert(0, narrower))
    time.sleep(HOLD_S)

    def change(settings):
        settings["routes"].insert(0, narrower)
        settings["xfrm"]["state"] = [state for state in settings["xfrm"]["state"] if "vti" not in state]
    apply(lab, side, change)


def wider_route_beside_the_vti(lab, side):
    """The vti has no SA, and there is a usable route to a wider prefix, in clear."""
    far, _, (_, net, _) = leaks.SIDES[leaks.other(side)]

    def change(settings):
        settings["xfrm"]["state"] = [state for state in settings["xfrm"]["state"] if "vti" not in state]
        settings["routes"].insert(0, {"prefix": f"10.{net}.0.0/16", "via": f"198.51.100.{far}"})
    apply(lab, side, change)


def gre_without_policy(lab, side):
    def change(settings):
        settings["xfrm"]["policy"] = [policy for policy in settings["xfrm"]["policy"] if "protocol" not in policy]
    apply(lab, side, change)


def optional_gre_without_sa(lab, side):
    """`level = "use"` lets GRE pass in clear; `protect` does not."""
    def change(settings):
        for policy in settings["xfrm"]["policy"]:
            if "protocol" in policy:
                policy["template"]["level"] = "use"
        settings["xfrm"]["state"] = [state for state in settings["xfrm"]["state"] if state["reqid"] != 3]
    apply(lab, side, change)


def policies_with_ports(lab, side):
    """Fragments show no ports, and there are no sessions for which they would be put together. Requests leave for port 7000,
    answers come from it."""
    def change(settings):
        made = []
        for policy in settings["xfrm"]["policy"]:
            if "protocol" in policy:
                made.append(policy)
                continue
            made += [policy | {"protocol": "udp", "dst-port": str(leaks.PORT)}, policy | {"protocol": "udp", "src-port": str(leaks.PORT)},
                     policy | {"protocol": "icmp" if "." in policy["src"] else "ipv6-icmp"}]
        settings["xfrm"]["policy"] = made
    apply(lab, side, change)


def sessions_begin(lab, side):
    """Everything is reassembled and tracked from now on."""
    apply(lab, side, lambda settings: settings.update(nat={"sessions": "always"}))


def source_nat_changes(lab, side):
    """The rule changes while answers are on their way; the translated source keeps to the policy."""
    near, far = (leaks.SIDES[one][2][0] for one in (side, leaks.other(side)))
    for last in (98, 99):
        rule = {"rule": 10, "outbound-interface": "wan", "source": {"address": f"10.{near}.0.0/24"},
                "destination": {"address": f"10.{far}.0.0/24"}, "translation": {"address": f"10.{near}.0.{last}"}}
        apply(lab, side, lambda settings: settings.update(nat={"source": [rule]}))
        time.sleep(0.2)


def esp_in_udp(lab, side):
    """One side encapsulates in UDP, the other one does not (yet)."""
    apply(lab, side, lambda settings: [state.update(encap={"type": "espinudp", "sport": 4500, "dport": 4500})
                                       for state in settings["xfrm"]["state"] if state["reqid"] == 1])


def small_wan_mtu(lab, side):
    def change(settings):
        settings["interfaces"]["wan"]["mtu"] = 1300
        settings["interfaces"]["vti1"]["mtu"] = 1300
    apply(lab, side, change)


EVENTS = [sas_deleted, vti_loses_its_sas, inbound_sas_deleted, sas_expire_by_packets, sas_expire_by_bytes, sas_expire_by_time,
          another_key, dataplane_killed, espalierd_killed, both_killed, sessions_are_full, sa_cells_are_full, policies_reordered,
          policy_before_the_others, states_renamed, interface_before_the_others, vti_replaced, routes_changed, wider_route_beside_the_vti,
          gre_without_policy, optional_gre_without_sa, policies_with_ports, sessions_begin, source_nat_changes, esp_in_udp,
          small_wan_mtu]


# -- The hunt.

def lose(lab, event, side):
    what = f"{event.__name__} at {side}"
    lab.note(what)
    begin = time.monotonic()
    try:
        event(lab, side)
        time.sleep(HOLD_S)
        lab.note(f"after {what}")
        lab.restore()
    except (LabError, AssertionError) as problem:
        raise AssertionError(f"{what}: {problem}") from problem
    print(f"     {what}: {time.monotonic() - begin:.1f} s", flush=True)


def nothing_leaked(lab):
    """The captures have the control packets in them and nothing else in clear."""
    lab.send_control()
    for file in lab.stop_captures():
        expect.at_least(len(leaks.leaks(file, lab.control)), 1, f"{file.name}: control packets, which are sent in clear,")
        found = leaks.leaks(file, lab.marker)
        expect.nothing([f"{lab.happening(moment)}: {frame[:60].hex()}" for moment, frame in found],
                       f"{file.name}: {len(found)} frames in clear")


def hunt(folder, run):
    with leaks.LeakSites("esp-leak", folder / "lab") as lab:
        try:
            lab.start()
            run(lab)
            nothing_leaked(lab)
        except BaseException:
            for gateway in (lab.a, lab.b):
                if gateway.log.exists():
                    print(f"-- log of {gateway.machine.name}:\n{gateway.log_tail(15)}")
            raise


def test_no_loss_of_protection_leaks(folder):
    """Each way to lose protection, at one side."""
    def run(lab):
        for number, event in enumerate(EVENTS):
            lose(lab, event, "ab"[number % 2])
    hunt(folder, run)


def test_random_losses_of_protection(folder):
    """Ways at random, at random sides."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"     {SECONDS} s, SEED={seed}")
    source = random.Random(seed)

    def run(lab):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            lose(lab, source.choice(EVENTS), source.choice("ab"))
    hunt(folder, run)


test_random_losses_of_protection.timeout_s = 90 + SECONDS

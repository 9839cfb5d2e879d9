"""What system tests ask again and again, with failures that say what was seen."""
import contextlib
import pathlib

from labs import capture
from labs.one_site import OneSite
from labs.two_sites import TwoSites


HERE = pathlib.Path(__file__).resolve().parent


def equal(seen, wanted, what):
    if seen != wanted:
        raise AssertionError(f"{what}: {wanted!r} was expected, {seen!r} was seen")


def at_least(seen, wanted, what):
    if not seen >= wanted:
        raise AssertionError(f"{what}: at least {wanted!r} was expected, {seen!r} was seen")


def nothing(seen, what):
    if seen:
        raise AssertionError(f"{what}: nothing was expected, {list(seen)[:5]!r} was seen")


def answered(lab, count=3, **options):
    """All pings from host A (or `source`) are answered."""
    equal(lab.ping(count=count, **options), count, f"pings that were answered {options or ''}")


@contextlib.contextmanager
def logs(*gateways):
    """Prints the gateways' logs when the test fails."""
    try:
        yield
    except BaseException:
        for gateway in gateways:
            if gateway.log.exists():
                print(f"-- log of {gateway.machine.name}:\n{gateway.log_tail()}")
        raise


@contextlib.contextmanager
def one_site(folder, start=True, **changes):
    """One gateway, started with `changes` of its settings unless `start=False`; prints its log when the test fails."""
    with OneSite("esp-test", folder / "lab") as lab:
        try:
            yield lab.start(**changes) if start else lab
        except BaseException:
            print(f"-- log of {lab.gateway.machine.name}:\n{lab.gateway.log_tail()}")
            raise


@contextlib.contextmanager
def two_sites(folder, **options):
    """The two sites, started, unless `start=False`."""
    start = options.pop("start", True)
    changes = options.pop("settings", {})
    with TwoSites("esp-test", folder / "lab", **options) as lab, logs(lab.a, lab.b):
        yield lab.start(**changes) if start else lab


NEIGHBORS = "arp or dst net ff02::/16 or (icmp6 and ip6[40] >= 133 and ip6[40] <= 137)"
ESP = "proto 50 or (ip6[6] == 44 and ip6[40] == 50)"


@contextlib.contextmanager
def no_clear_packets(lab, protected=ESP):
    """Nothing but ESP (or what `protected` names) and the neighbors' finding each other is on the wire meanwhile."""
    running = lab.watch("clear", expression=f"not ({NEIGHBORS}) and not ({protected})")
    yield
    nothing([packet.summary() for packet in running.stop()], "frames on the wire that are neither ESP nor of neighbors")


def opener(lab):
    return capture.Opener([lab.tunnel.rightward, lab.tunnel.leftward])

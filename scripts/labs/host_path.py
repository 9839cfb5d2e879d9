"""Gateways whose interfaces their own Linux uses: a machine for the host's side of a gateway, settings, kernel routes."""
import json


def host_of(lab, gateway):
    """A machine that is the host of a gateway: its namespace has the devices of the host path."""
    name = gateway.machine.name.removeprefix(f"{lab.network.prefix}-")
    return lab.network.machine(f"{name}-host")


def add(settings, host):
    """Switches the host path on in the settings of a gateway; returns them."""
    settings["dataplane"] |= {"host-path": True, "host-namespace": host.name}
    return settings


def links(host):
    """Name -> what `ip -json address` says of it."""
    return {row["ifname"]: row for row in json.loads(host.run("ip", "-json", "address").stdout)}


def routes(gateway):
    """Prefix -> the rows of `show route`."""
    found = {}
    for row in gateway.ask("show", "route")["routes"]:
        found.setdefault(row["prefix"], []).append(row)
    return found

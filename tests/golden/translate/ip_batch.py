"""Reads `ip -batch` text (ip-address, ip-link, ip-route, ip-neighbour; xfrm_batch.py has ip-xfrm) into the model."""

import re
import shlex

from . import xfrm_batch
from .model import Link, Route, Unsupported, family_of, prefix_of

OBJECTS = ("link", "address", "route", "neighbour", "xfrm", "rule", "tunnel", "netns", "vrf", "tcp_metrics")
VERBS = ("add", "append", "change", "replace", "delete", "del", "set", "flush", "update", "deleteall", "prepend")
ROUTE_KINDS = ("unicast", "unreachable", "prohibit", "blackhole")
OTHER_ROUTE_KINDS = ("throw", "local", "broadcast", "anycast", "multicast", "nat")
LAST_METRIC = 1024  # what an IPv6 route has without one
QUESTIONS = ("show", "list", "lst", "get", "save", "monitor", "count")  # change nothing


class Words:
    """The words of a command, taken one after the other."""

    def __init__(self, words):
        self.words = list(words)

    def __bool__(self):
        return bool(self.words)

    def take(self):
        if not self.words:
            raise Unsupported("an ip command that ends too early")
        return self.words.pop(0)

    def number(self):
        return int(self.take(), 0)

    def peek(self):
        return self.words[0] if self.words else ""

    def take_if(self, *wanted):
        if self.peek() not in wanted:
            return False
        self.take()
        return True


def whole_word(text, known):
    """The known word that `text` abbreviates, as iproute2 does; or `text` itself."""
    if text == "neighbor":
        return "neighbour"
    return next((word for word in known if text and word.startswith(text)), text)


def apply(gateway, text):
    """Runs the commands of an `ip -batch` text. Raises Unsupported for what Espalier cannot have."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        words = shlex.split(line, comments=True)
        if words:
            _run(gateway, Words(words))


def _run(gateway, words):
    family = 4
    while words.peek().startswith("-"):
        option = words.take()
        if option not in ("-6", "-4"):
            raise Unsupported(f"ip {option}")
        family = int(option[1])
    what = whole_word(words.take(), OBJECTS)
    if what == "xfrm":
        return xfrm_batch.run(gateway, words)
    handlers = {"link": _link, "address": _address, "route": _route, "neighbour": _neighbour, "tunnel": _tunnel}
    if what not in handlers:
        raise Unsupported(f"ip {what}")
    verb = whole_word(words.take(), VERBS) if words else "show"
    return None if verb in QUESTIONS else handlers[what](gateway, verb, words, family)


# ---- ip link -----------------------------------------------------------------------------------


def _link(gateway, verb, words, _):
    if verb == "add":
        return _add_link(gateway, words)
    words.take_if("dev")
    name = words.take()
    if verb in ("delete", "del"):
        gone = [name, *(link.name for link in gateway.links.values() if link.parent == name)]
        for each in gone:
            gateway.links.pop(each)
        gateway.routes = [route for route in gateway.routes if all(link not in gone for _, link in route.hops)]
        return None
    if verb not in ("set", "change"):
        raise Unsupported(f"ip link {verb}")
    return _set_link(gateway.links.setdefault(name, Link(name, "dummy")), words)


def _tunnel(gateway, verb, words, _):
    """ip-tunnel(8), the older way to say `ip link add ... type gre`."""
    if verb in ("delete", "del"):
        return _link(gateway, verb, words, _)
    rest = list(words.words)
    if verb != "add" or "mode" not in rest:
        raise Unsupported(f"ip tunnel {verb}")
    mode = rest.index("mode")
    kind, name = rest[mode + 1], next(word for word in rest[:mode] + rest[mode + 2:] if word not in ("name", "dev"))
    rest = rest[:mode] + rest[mode + 2:]
    rest.remove(name)
    return _add_link(gateway, Words([name, "type", kind, *(word for word in rest if word != "name")]))


def _add_link(gateway, words):
    mtu, kind, name, parent, up = None, None, "", "", False
    while words and kind is None:
        option = words.take()
        if option == "link":
            parent = words.take()
        elif option == "mtu":
            mtu = words.number()
        elif option == "type":
            kind = words.take()
        elif option == "up":
            up = True
        elif option in ("txqueuelen", "qlen", "numtxqueues", "numrxqueues"):
            words.take()
        elif option in ("name", "dev") or not name:
            name = words.take() if option in ("name", "dev") else option
        else:
            raise Unsupported(f"ip link add ... {option}")
    makers = {"dummy": _dummy, "gre": _gre, "ip6gre": _ip6gre, "vti": _vti, "vti6": _vti, "xfrm": _xfrm_interface}
    if kind == "vlan":
        link = _vlan(name, gateway.links.get(parent), words)
    elif kind in makers and not parent:
        link = makers[kind](name, words)
    else:
        raise Unsupported(f"links of type {kind}{' upon others' if parent else ''}")
    link.mtu, link.up = mtu or link.mtu, up
    gateway.links[name] = link


def _set_link(link, words):
    while words:
        option = words.take()
        if option in ("up", "down"):
            link.up = option == "up"
        elif option == "mtu":
            link.mtu = words.number()
        elif option == "address":
            link.mac = words.take()
        elif option in ("multicast", "arp", "txqueuelen", "qlen", "alias", "promisc", "allmulticast", "addrgenmode",
                        "group", "trailers"):
            words.take()
        else:
            raise Unsupported(f"ip link set ... {option}")


def _vlan(name, parent, words):
    """An 802.1Q interface: it has its port's MTU until it gets another one."""
    if parent is None or parent.kind != "ethernet":
        raise Unsupported("a VLAN of something else than a port")
    link = Link(name, "vlan", parent=parent.name, mtu=parent.mtu)
    while words:
        option = words.take()
        if option == "id":
            link.vlan = words.number()
        elif option in ("protocol", "proto"):
            if words.take().lower() != "802.1q":
                raise Unsupported("VLANs of 802.1ad")
        elif option in ("reorder_hdr", "loose_binding", "gvrp", "mvrp", "bridge_binding"):
            words.take()
        else:
            raise Unsupported(f"a VLAN with {option}")
    return link


def _dummy(name, words):
    if words:
        raise Unsupported(f"a dummy link with {words.peek()}")
    return Link(name, "dummy")


def _ip6gre(name, words):
    """Unlike GRE over IPv4 it has a hop limit of its own, and a header with an encapsulation limit unless told not to."""
    rest = list(words.words)
    if "none" not in rest[rest.index("encaplimit") + 1:][:1] if "encaplimit" in rest else True:
        raise Unsupported("an ip6gre link with an encapsulation limit (RFC 2473 section 4.1.1)")
    link = _gre(name, words)
    if not {"ttl", "hoplimit", "hlim"} & set(rest):
        link.ttl = 64
    return link


def _gre(name, words):
    link = Link(name, "gre")
    keys = {}
    while words:
        option = words.take()
        if option in ("local", "remote"):
            setattr(link, option, words.take())
        elif option in ("ttl", "hoplimit", "hlim"):
            value = words.take()
            link.ttl = 0 if value == "inherit" else int(value, 0)
        elif option in ("key", "ikey", "okey"):
            keys[option] = _key(words.take())
        elif option in ("dev", "tos", "encaplimit"):
            value = words.take()
            if option == "tos" and value not in ("0", "0x0", "00"):
                raise Unsupported(f"a gre link with tos {value}")
        elif option not in ("pmtudisc", "noencap"):
            raise Unsupported(f"a gre link with {option}")
    if not link.local or not link.remote or "0.0.0.0" in (link.local, link.remote):
        raise Unsupported("a gre link without fixed ends")
    found = set(keys.values()) if "key" in keys or len(keys) == 2 else {None, *keys.values()}
    if len(found) > 1 and keys:
        raise Unsupported("a gre link with different keys in and out")
    link.key = found.pop() if keys else None
    link.ttl = 0 if link.ttl is None else link.ttl  # ip-link(8): inherit is the default
    return link


def _key(text):
    """A tunnel key: a number, or four of them with dots."""
    if "." in text:
        return sum(int(part) << shift for part, shift in zip(text.split("."), (24, 16, 8, 0)))
    return int(text, 0)


def _vti(name, words):
    link, keys = Link(name, "vti"), {"ikey": 0, "okey": 0}
    while words:
        option = words.take()
        if option in ("local", "remote"):
            setattr(link, option, words.take())
        elif option == "key":
            keys["ikey"] = keys["okey"] = _key(words.take())
        elif option in keys:
            keys[option] = _key(words.take())
        elif option == "dev":
            words.take()
        else:
            raise Unsupported(f"a vti link with {option}")
    link.marks = (keys["ikey"], keys["okey"])
    return link


def _xfrm_interface(name, words):
    link = Link(name, "vti", mtu=1500)
    while words:
        option = words.take()
        if option == "if_id":
            link.if_id = words.number()
        elif option == "dev":
            words.take()
        else:
            raise Unsupported(f"an xfrm link with {option}")
    return link


# ---- ip address --------------------------------------------------------------------------------


def _address(gateway, verb, words, _):
    address, name = "", ""
    while words:
        option = words.take()
        if option == "dev":
            name = words.take()
        elif option in ("brd", "broadcast", "scope", "label", "metric", "valid_lft", "preferred_lft", "proto"):
            words.take()
        elif option in ("peer", "remote", "anycast", "noprefixroute"):
            raise Unsupported(f"an address with {option}")
        elif option not in ("local", "nodad", "home", "optimistic", "permanent"):
            address = prefix_of(option)
    link = gateway.links.get(name) or gateway.links.setdefault(name, Link(name, "dummy"))
    if verb == "flush":
        link.addresses = []
    elif verb in ("add", "replace", "change", "append"):
        if address not in link.addresses:
            link.addresses.append(address)
    elif verb in ("delete", "del"):
        link.addresses.remove(address)
    else:
        raise Unsupported(f"ip address {verb}")


# ---- ip route ----------------------------------------------------------------------------------


def _route(gateway, verb, words, family):
    kind = words.take() if words.peek() in ROUTE_KINDS + OTHER_ROUTE_KINDS else "unicast"
    if kind in OTHER_ROUTE_KINDS:
        raise Unsupported(f"a route of type {kind}")
    if verb == "flush":
        if words.peek() != "cache":
            _flush_routes(gateway, words)
        return
    words.take_if("to")
    target, route = words.take(), Route("", kind)
    _route_options(route, words)
    via = next((via for via, _ in route.hops if via), "")
    route.prefix = prefix_of(target, family_of(via) if via else family)
    if family_of(route.prefix) == 6 and route.metric is None:
        route.metric = LAST_METRIC
    _change_routes(gateway, verb, route)


def _flush_routes(gateway, words):
    link = ""
    while words:
        option = words.take()
        if option == "dev":
            link = words.take()
        elif option == "table" and words.peek() in ("main", "254"):
            words.take()
        else:
            raise Unsupported(f"ip route flush with {option}")
    gateway.routes = [each for each in gateway.routes if link and all(name != link for _, name in each.hops)]


def _route_options(route, words):
    via, link = "", ""
    while words:
        option = words.take()
        if option == "via":
            words.take_if("inet", "inet6")
            via = words.take()
        elif option == "dev":
            link = words.take()
        elif option in ("metric", "priority", "preference"):
            route.metric = words.number()
        elif option == "nexthop":
            route.hops.append(_next_hop(words))
        elif option in ("proto", "protocol", "scope", "pref", "src", "advmss", "initcwnd"):
            words.take()  # what concerns the gateway's own sockets alone
        elif option == "table":
            if words.take() not in ("main", "254"):
                raise Unsupported("routes in other tables")
        elif option != "onlink":
            raise Unsupported(f"a route with {option}")
    if via or (link and route.kind == "unicast"):
        route.hops.insert(0, (via, link))


def _next_hop(words):
    via, link = "", ""
    while words.peek() in ("via", "dev", "weight", "onlink"):
        option = words.take()
        if option == "via":
            words.take_if("inet", "inet6")
            via = words.take()
        elif option == "dev":
            link = words.take()
        elif option == "weight" and words.number() != 1:
            raise Unsupported("next hops of different weight")
    return via, link


def _change_routes(gateway, verb, route):
    same = [each for each in gateway.routes if each.prefix == route.prefix and
            (verb in ("delete", "del") and route.metric in (None, LAST_METRIC) or each.metric == route.metric)]
    if verb in ("add", "append", "prepend"):
        gateway.routes.append(route)
    elif verb in ("replace", "change"):
        place = gateway.routes.index(same[0]) if same else len(gateway.routes)
        gateway.routes[place:place + len(same[:1])] = [route]
    elif verb in ("delete", "del"):
        exact = [each for each in same if not route.hops or each.hops == route.hops] or same
        gateway.routes.remove(exact[0])
    else:
        raise Unsupported(f"ip route {verb}")


# ---- ip neighbour ------------------------------------------------------------------------------


def _neighbour(gateway, verb, words, _):
    address, name, mac, state = "", "", "", "permanent"
    while words:
        option = words.take()
        if option == "dev":
            name = words.take()
        elif option == "lladdr":
            mac = words.take()
        elif option == "nud":
            state = words.take()
        elif option in ("proxy", "router", "use", "managed", "extern_learn"):
            raise Unsupported(f"a neighbour with {option}")
        else:
            address = option
    if verb == "flush":
        gateway.neighbors = {key: value for key, value in gateway.neighbors.items() if key[0] != name}
    elif verb in ("delete", "del") or state in ("failed", "incomplete", "none"):
        gateway.neighbors.pop((name, address), None)
    else:
        gateway.neighbors[name, address] = mac

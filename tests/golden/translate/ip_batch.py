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
    handlers = {"link": _link, "address": _address, "route": _route, "neighbour": _neighbour}
    if what not in handlers:
        raise Unsupported(f"ip {what}")
    return handlers[what](gateway, whole_word(words.take(), VERBS), words, family)


# ---- ip link -----------------------------------------------------------------------------------


def _link(gateway, verb, words, _):
    if verb == "add":
        return _add_link(gateway, words)
    words.take_if("dev")
    name = words.take()
    if verb in ("delete", "del"):
        gateway.links.pop(name)
        gateway.routes = [route for route in gateway.routes if all(link != name for _, link in route.hops)]
        return None
    if verb not in ("set", "change"):
        raise Unsupported(f"ip link {verb}")
    return _set_link(gateway.links.setdefault(name, Link(name, "dummy")), words)


def _add_link(gateway, words):
    mtu, kind = None, None
    words.take_if("name", "dev")
    name = words.take()
    if name == "link":
        raise Unsupported("links upon other links (VLAN, macvlan)")
    while words and kind is None:
        option = words.take()
        if option == "mtu":
            mtu = words.number()
        elif option == "type":
            kind = words.take()
        elif option != "up":
            raise Unsupported(f"ip link add ... {option}")
    makers = {"dummy": _dummy, "gre": _gre, "ip6gre": _gre, "vti": _vti, "vti6": _vti, "xfrm": _xfrm_interface}
    if kind not in makers:
        raise Unsupported(f"links of type {kind}")
    link = makers[kind](name, words)
    link.mtu, link.up = mtu or link.mtu, False
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
        elif option in ("multicast", "arp", "txqueuelen", "qlen", "alias"):
            words.take()
        else:
            raise Unsupported(f"ip link set ... {option}")


def _dummy(name, words):
    if words:
        raise Unsupported(f"a dummy link with {words.peek()}")
    return Link(name, "dummy")


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
            if option == "tos" and value not in ("inherit", "0", "0x0"):
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
        gateway.routes = []
        return
    words.take_if("to")
    target, route = words.take(), Route("", kind)
    _route_options(route, words)
    via = next((via for via, _ in route.hops if via), "")
    route.prefix = prefix_of(target, family_of(via) if via else family)
    if family_of(route.prefix) == 6 and route.metric is None:
        route.metric = LAST_METRIC
    _change_routes(gateway, verb, route)


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
        elif option in ("proto", "protocol", "scope", "pref"):
            words.take()
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
    address, name, mac = "", "", ""
    while words:
        option = words.take()
        if option == "dev":
            name = words.take()
        elif option == "lladdr":
            mac = words.take()
        elif option == "nud":
            words.take()
        elif option in ("proxy", "router", "use", "managed", "extern_learn"):
            raise Unsupported(f"a neighbour with {option}")
        else:
            address = option
    if verb == "flush":
        gateway.neighbors = {key: value for key, value in gateway.neighbors.items() if key[0] != name}
    elif verb in ("delete", "del"):
        gateway.neighbors.pop((name, address), None)
    else:
        gateway.neighbors[name, address] = mac

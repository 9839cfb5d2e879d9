"""Writes the model as espalier.conf (docs/configuration.md has the keywords)."""

from .model import Unsupported, family_of

HASHES = {"sha1": 96, "sha256": 128, "sha384": 192, "sha512": 256}  # ICV bits where nothing is said
GCM_SALT_BYTES = 4
LARGEST_PLAIN = 2**31 - 1


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def value_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}L" if value > LARGEST_PLAIN else str(value)
    if isinstance(value, (list, tuple)):
        return "[ " + ", ".join(map(value_text, value)) + " ]"
    if isinstance(value, dict):
        return group(value)
    return quoted(value)


def group(values):
    """A libconfig group on one line; values that are None or "" are left out."""
    return "{ " + " ".join(f"{key} = {value_text(value)};" for key, value in values.items()
                           if value is not None and value != "") + " }"


def listing(name, groups):
    return f"{name} = (\n  " + ",\n  ".join(groups) + "\n);\n" if groups else ""


def configuration(gateway, rule_sets, settings):
    """The text of espalier.conf. `rule_sets` are those of IPv4 and IPv6; `settings` from sysctls."""
    parts = [
        "dataplane = { host-path = true; };\n" if settings.host_path else "",
        "interfaces = {\n" + "".join(f"  {link.name} = {_interface(gateway, link, rule_sets)};\n"
                                     for link in gateway.links.values()) + "};\n",
        listing("routes", [_route(gateway, route) for route in gateway.routes]),
        listing("neighbors", [group({"interface": link, "address": address, "mac": mac})
                              for (link, address), mac in gateway.neighbors.items()
                              if gateway.link_for_connected(address)]),
        _nat("nat", rule_sets[0], any(each.tracks and not each.translates() for each in rule_sets), settings),
        _nat("nat66", rule_sets[1], False, None),
        "icmp = { rate = 0; };\n",
        _xfrm(gateway),
    ]
    return "".join(parts)


# ---- interfaces and routes ---------------------------------------------------------------------


def _interface(gateway, link, rule_sets):
    values = {"type": link.kind if link.kind != "ethernet" else None}
    if link.kind == "ethernet":
        values["device"] = f"net_testbed-{link.name}"
    addresses = [address for address in link.addresses if not address.startswith("fe80:")]
    values["address"] = addresses or None
    values["mtu"] = link.mtu
    if link.kind == "gre" or (link.kind == "vti" and link.local and link.remote):
        values |= {"local-ip": link.local, "remote-ip": link.remote}
    if link.kind == "gre":
        values |= {"key": link.key, "ttl": link.ttl}
    if not link.up:
        values["disable"] = True
    if link.kind == "ethernet" and any(family_of(address) == 6 for address in link.addresses):
        values["dad"] = False
    clamps = [each.mss_clamps[link.name] for each in rule_sets if link.name in each.mss_clamps]
    values["mss-clamp"] = clamps[0] if clamps else None
    return group(values)


def _route(gateway, route):
    values = {"prefix": route.prefix}
    vias = [via for via, _ in route.hops if via]
    links = {link for _, link in route.hops if link}
    if route.kind != "unicast":
        values[route.kind] = True
    elif vias:
        values["via"] = vias if len(vias) > 1 else vias[0]
        if len(links) == 1 and vias[0].startswith("fe80:"):
            values["interface"] = links.pop()
    elif len(links) == 1:
        values["interface"] = links.pop()
    else:
        raise Unsupported("a route over several interfaces without next hops")
    if sum(each.prefix == route.prefix for each in gateway.routes) > 1:
        values["metric"] = route.metric
    return group(values)


# ---- nat ---------------------------------------------------------------------------------------


def _nat(name, rule_set, always, settings):
    """The nat tables of one family. Rules that only exclude have no effect, and make Linux track nothing."""
    rules = rule_set.rules if rule_set.translates() else []
    parts = [listing("  " + kind, [_nat_rule(number, rule) for number, rule in enumerate(
        [each for each in rules if each.kind == kind], 1)]) for kind in ("source", "destination")]
    if always and not rules:
        parts.insert(0, '  sessions = "always";\n')
    if settings and settings.timeouts and (always or rules):
        parts.append("  timeouts = " + group(settings.timeouts) + ";\n")
    return f"{name} = {{\n" + "".join(parts) + "};\n" if any(parts) else ""


def _nat_rule(number, rule):
    side = "outbound-interface" if rule.kind == "source" else "inbound-interface"
    values = {"rule": 10 * number, side: rule.interface, "protocol": rule.protocol, "ipsec": rule.ipsec}
    for key, address, port in (("source", rule.src, rule.sport), ("destination", rule.dst, rule.dport)):
        if address or port:
            values[key] = {"address": address, "port": port}
    if rule.target == "exclude":
        values["exclude"] = True
    elif rule.target == "masquerade":
        values["translation"] = {"address": "masquerade", "port": rule.ports}
    else:
        values["translation"] = {"address": rule.address, "port": rule.ports}
    return group(values)


# ---- xfrm --------------------------------------------------------------------------------------


def key_bytes(text):
    """A key of ip-xfrm(8): hexadecimal behind 0x, or the characters themselves."""
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def _hex(key):
    return "0x" + key.hex()


def suite(state):
    """(cipher, key bits without salt, ICV bits) with cipher "gcm", "chacha", "cbc" or "null"."""
    if state.aead:
        name, key, bits = state.aead
        if name == "rfc4106(gcm(aes))":
            return "gcm", 8 * (len(key_bytes(key)) - GCM_SALT_BYTES), bits
        if name in ("rfc7539esp(chacha20,poly1305)", "rfc7634(chacha20,poly1305)"):
            return "chacha", 256, bits
        raise Unsupported(f"aead {name}")
    name, key = state.enc or ("ecb(cipher_null)", "")
    if name in ("ecb(cipher_null)", "cipher_null"):
        return "null", 0, state.auth[2] if state.auth else 0
    if name in ("cbc(aes)", "aes"):
        return "cbc", 8 * len(key_bytes(key)), state.auth[2] if state.auth else 0
    raise Unsupported(f"enc {name}")


def _algorithms(state):
    cipher, bits, icv = suite(state)
    if cipher == "gcm":
        return {"encryption": f"aes{bits}gcm{icv}", "key": _hex(key_bytes(state.aead[1]))}
    if cipher == "chacha":
        return {"encryption": "chacha20poly1305", "key": _hex(key_bytes(state.aead[1]))}
    if not state.auth or state.auth[0] not in HASHES:
        raise Unsupported(f"{cipher} with authentication {state.auth[0] if state.auth else 'none'}")
    values = {"encryption": "null"} if cipher == "null" else {
        "encryption": f"aes{bits}", "key": _hex(key_bytes(state.enc[1]))}
    values |= {"hash": state.auth[0], "auth-key": _hex(key_bytes(state.auth[1]))}
    if icv != HASHES[state.auth[0]]:
        values["auth-trunc"] = icv
    return values


def direction_of(gateway, state):
    """Inbound is what has an own address as its destination."""
    if state.direction:
        return state.direction
    return "in" if gateway.owns(state.dst) else "out"


def _state(gateway, state):
    direction = direction_of(gateway, state)
    values = {"spi": state.spi, "src": state.src, "dst": state.dst, "reqid": state.reqid or None,
              "mode": state.mode, "direction": direction} | _algorithms(state)
    esn = "esn" in state.flags
    if esn:
        values["esn"] = True
    values["replay-window"] = max(state.window, 1) if esn else state.window
    values["flag"] = [flag for flag in state.flags if flag != "esn"] or None
    if state.selector:
        values["selector"] = _selector(state.selector)
    if state.encap:
        values["encap"] = {"type": state.encap[0], "sport": state.encap[1], "dport": state.encap[2]}
        if direction == "out":
            values["keepalive"] = 0  # the kernel that was recorded sends none
    values["limit"] = _limits(state.limits) or None
    values["last-sequence"] = last_sequence(state, direction) or None
    values["vti"] = gateway.vti_of(state, direction)
    return group(values)


def last_sequence(state, direction):
    """The number that `replay-seq` or `replay-oseq` says was used last, with its high half."""
    name = "replay-oseq" if direction == "out" else "replay-seq"
    return state.numbers.get(name + "-hi", 0) << 32 | state.numbers.get(name, 0)


def _limits(limits):
    names = {"packet": "packets", "byte": "bytes", "time": "seconds"}
    found = {}
    for name, count in limits.items():
        unit, _, kind = name.partition("-")
        if unit not in names or kind not in ("soft", "hard"):
            raise Unsupported(f"limit {name}")
        found[f"{kind}-{names[unit]}"] = count
    return found


def _selector(selector):
    if selector.link:
        raise Unsupported("a selector of a state with dev")
    return _selector_values(selector)


def _selector_values(selector):
    return {"src": selector.src, "dst": selector.dst, "protocol": _protocol(selector.protocol),
            "src-port": selector.sport, "dst-port": selector.dport,
            "icmp-type": int(selector.type) if selector.type else None,
            "icmp-code": int(selector.code) if selector.code else None}


def _protocol(name):
    return {"ipv6-icmp": "icmpv6", "": None, "0": None, "any": None, "ip": None}.get(name, name)


def _policy(gateway, policy):
    values = {"direction": policy.direction} | _selector_values(policy.selector)
    values["interface"] = policy.selector.link
    values["priority"] = policy.priority
    values["action"] = "discard" if policy.action == "block" else "protect" if policy.templates else "bypass"
    values["vti"] = gateway.vti_of(policy, policy.direction)
    text = group(values)
    if values["action"] != "protect":
        return text
    templates = [_template(each) for each in policy.templates]
    listed = templates[0] if len(templates) == 1 else "( " + ", ".join(templates) + " )"
    return text.removesuffix(" }") + f"\n    template = {listed}; }}"


def _template(template):
    unspecified = ("", "0.0.0.0", "::")
    return group({"src": template.src if template.src not in unspecified else None,
                  "dst": template.dst if template.dst not in unspecified else None,
                  "mode": template.mode, "reqid": template.reqid or None, "spi": template.spi or None,
                  "level": template.level if template.level != "required" else None})


def _xfrm(gateway):
    keys = [key for state in gateway.states for key in (state.aead[1:2] or state.enc[1:2]) if key]
    if len(keys) != len(set(keys)):
        raise Unsupported("two states with one key, which Espalier refuses")
    parts = [listing("  state", [_state(gateway, each) for each in gateway.states]),
             listing("  policy", [_policy(gateway, each) for each in gateway.policies])]
    return "xfrm = {\n" + "".join(parts) + "};\n" if any(parts) else ""

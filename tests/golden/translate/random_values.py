"""Which values of a recording Linux picked at random, and from what class.

A value is random that comes out, was in no packet that went in before, and that the scenario does not name.
"""

from oraclelib import decode, packet

KINDS = {"id": "ip_id", "port": "port", "icmpid": "icmp_id", "flow": "flow_label", "fragment": "fragment_id"}
CLASSES = {"id": (0, 0xffff), "icmpid": (0, 0xffff), "flow": (0, 0xfffff), "fragment": (0, 0xffffffff)}


def find(scenario, steps, associations):
    """The `random` list of steps.json. `steps`: per step (frames in, [(link, frame out)])."""
    ranges = decode.nat_port_ranges(scenario)
    moved = "--random" in scenario.get("iptables", "") + scenario.get("ip6tables", "")
    literal = decode.known_values(scenario) | {"flow": {0}, "fragment": set()}
    found = {}
    for frames_in, frames_out in steps:
        given = [each for frame in frames_in for each in _values(frame, associations)]
        for kind, value in given:
            if (kind, value) not in found:
                literal[kind].add(value)
        for frame in frames_out + _wholes(frames_out):
            for kind, value in _values(frame, associations):
                if value not in literal[kind] and (kind, value) not in found:
                    found[kind, value] = _entry(kind, value, [] if moved else given, ranges)
    return list(found.values())


def _wholes(frames):
    """What is seen only in the packets that left in fragments: the headers inside of ESP."""
    fragments = {}
    for frame in frames:
        part = packet.packet_of(frame)
        if _is_ipv4(frame) and is_fragment(frame):
            fragments.setdefault((part[12:20], part[4:6], part[9]), []).append(frame)
    wholes = [(parts[0], packet.reassemble_ipv4([packet.packet_of(frame) for frame in parts]))
              for parts in fragments.values()]
    return [first[:packet.network_offset(first)] + whole for first, whole in wholes if whole]


def _type_of(frame):
    at = packet.network_offset(frame)
    return int.from_bytes(frame[at - 2:at], "big")


def _is_ipv4(frame):
    return _type_of(frame) == packet.ETH_IPV4


def is_fragment(frame):
    """Of either family."""
    if _is_ipv4(frame):
        return bool(int.from_bytes(packet.packet_of(frame)[6:8], "big") & 0x3fff)
    return _type_of(frame) == packet.ETH_IPV6 and fragment_id(frame) is not None


def fragment_id(frame):
    """Of the IPv6 packet in a frame, behind whatever extension headers; None if it has none."""
    data = packet.packet_of(frame)
    name, at = data[6], 40
    while name in (0, 43, 60) and at + 8 <= len(data):
        name, at = data[at], at + 8 * (1 + data[at + 1])
    return int.from_bytes(data[at + 4:at + 8], "big") if name == 44 and at + 8 <= len(data) else None


def _values(frame, associations):
    """(kind, value) of every header, the quoted ones as well."""
    if len(frame) < 34:
        return
    layers = packet.parse_frame(frame, associations)[1:]
    for layer in layers:
        if layer["layer"] == "ip4":
            yield "id", layer["id"]
        elif layer["layer"] == "ip6":
            yield "flow", layer["flow"]
            if "id" in layer:
                yield "fragment", layer["id"]
            elif layer is layers[0] and fragment_id(frame) is not None:
                yield "fragment", fragment_id(frame)
        elif layer["layer"] in ("udp", "tcp"):
            yield "port", layer["sport"]
            yield "port", layer["dport"]
        elif layer["layer"] in ("icmp", "icmp6") and "id" in layer:
            yield "icmpid", layer["id"]


def _entry(kind, value, given, ranges):
    low, high = _range(kind, value, given, ranges)
    entry = {"kind": KINDS[kind], "recorded": value, "low": low, "high": high}
    same = [number for name, number in given if name == kind]
    if kind == "icmpid" and same:
        entry["not"] = same[-1]
    if kind == "port" and same:  # _values gives the source before the destination
        entry["not"] = same[-2]
    return entry


def _range(kind, value, given, ranges):
    """nf_nat_l4proto_unique_tuple: a port of the same class as the original one, or of the rule's range."""
    if kind != "port":
        return CLASSES[kind]
    for low, high in ranges:
        if low <= value <= high:
            return low, high
    return (1, 511) if value < 512 else (600, 1023) if value < 1024 else (1024, 65535)

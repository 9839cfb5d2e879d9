"""Which values of a recording Linux picked at random, and from what class.

A value is random that comes out, was in no packet that went in before, and that the scenario does not name.
"""

from oraclelib import decode, packet

KINDS = {"id": "ip_id", "port": "port", "icmpid": "icmp_id", "flow": "flow_label", "fragment": "fragment_id"}
CLASSES = {"id": (0, 0xffff), "icmpid": (0, 0xffff), "flow": (0, 0xfffff), "fragment": (0, 0xffffffff)}


def find(scenario, steps, associations):
    """The `random` list of steps.json. `steps`: per step (frames in, [(link, frame out)])."""
    ranges = decode.nat_port_ranges(scenario)
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
                    found[kind, value] = _entry(kind, value, given, ranges)
    return list(found.values())


def _wholes(frames):
    """What is seen only in the packets that left in fragments: the headers inside of ESP."""
    fragments = {}
    for frame in frames:
        if frame[12:14] == b"\x08\x00" and is_fragment(frame):
            fragments.setdefault((frame[26:34], frame[18:20], frame[23]), []).append(frame)
    wholes = [(parts[0][:14], packet.reassemble_ipv4([frame[14:] for frame in parts])) for parts in fragments.values()]
    return [ethernet + whole for ethernet, whole in wholes if whole]


def is_fragment(frame):
    """Of either family."""
    if frame[12:14] == b"\x08\x00":
        return bool(int.from_bytes(frame[20:22], "big") & 0x3fff)
    return frame[12:14] == b"\x86\xdd" and fragment_id(frame) is not None


def fragment_id(frame):
    """Of the IPv6 packet in a frame, behind whatever extension headers; None if it has none."""
    name, at = frame[20], 54
    while name in (0, 43, 60) and at + 8 <= len(frame):
        name, at = frame[at], at + 8 * (1 + frame[at + 1])
    return int.from_bytes(frame[at + 4:at + 8], "big") if name == 44 and at + 8 <= len(frame) else None


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

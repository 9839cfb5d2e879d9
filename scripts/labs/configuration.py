"""Writes configurations in libconfig's syntax, and the parts that labs use again and again."""
import dataclasses

from labs import suites

AES128GCM = suites.BY_NAME["aes128gcm128"]


def text_of(settings):
    """The configuration file for a dict of settings."""
    return "".join(f"{key} = {value_text(value)};\n" for key, value in settings.items())


def value_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}L" if value > 0x7fffffff else str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + " ".join(f"{key} = {value_text(inner)};" for key, inner in value.items()) + " }"
    if all(isinstance(item, dict) for item in value):
        return "(\n  " + ",\n  ".join(map(value_text, value)) + "\n)" if value else "( )"
    return "[ " + ", ".join(map(value_text, value)) + " ]"


@dataclasses.dataclass
class Sa:
    """One direction of a tunnel with static keys, as `ip xfrm state` knows it."""
    spi: int
    src: str
    dst: str
    reqid: int
    suite: suites.Suite = AES128GCM
    replay_window: int = 64
    keywords: dict = dataclasses.field(default_factory=dict)  # further ones of the state: mode, esn, encap ...

    def __post_init__(self):
        self.keys = self.suite.keys()

    def key(self, name="key"):
        return bytes.fromhex(self.keys.get(name, "0x")[2:])

    def state(self, direction):
        of_direction = {name: value for name, value in self.keywords.items() if direction == "out" or name != "keepalive"}
        return {"spi": self.spi, "src": self.src, "dst": self.dst, "reqid": self.reqid, "mode": "tunnel",
                "direction": direction, **self.keys, "replay-window": self.replay_window, **of_direction}


@dataclasses.dataclass
class Tunnel:
    """Two prefixes and a pair of SAs between two gateways, seen from `left`."""
    left: str
    right: str
    left_prefix: str
    right_prefix: str
    reqid: int = 1
    first_spi: int = 0x1000
    suite: suites.Suite = AES128GCM
    replay_window: int = 64
    keywords: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        sa = lambda offset, src, dst: Sa(self.first_spi + offset, src, dst, self.reqid, self.suite, self.replay_window, self.keywords)
        self.rightward, self.leftward = sa(1, self.left, self.right), sa(2, self.right, self.left)

    def states(self, side):
        out, back = (self.rightward, self.leftward) if side == "left" else (self.leftward, self.rightward)
        return [out.state("out"), back.state("in")]

    def policies(self, side, priority=1000):
        near, far = (self.left, self.right) if side == "left" else (self.right, self.left)
        near_prefix, far_prefix = self.left_prefix, self.right_prefix
        if side == "right":
            near_prefix, far_prefix = far_prefix, near_prefix
        common_template = {"mode": self.keywords.get("mode", "tunnel"), "reqid": self.reqid}
        outward, inward = {"src": near, "dst": far} | common_template, {"src": far, "dst": near} | common_template
        common = {"priority": priority, "action": "protect"}
        return [{"direction": "out", "src": near_prefix, "dst": far_prefix, **common, "template": outward},
                {"direction": "fwd", "src": far_prefix, "dst": near_prefix, **common, "template": inward},
                {"direction": "in", "src": far_prefix, "dst": near_prefix, **common, "template": inward}]


def gateway(interfaces, routes, tunnels=(), side="left", nat=None, cores="", poll="adaptive", workers=1):
    """The settings of a gateway. `interfaces` maps names to (device, [addresses])."""
    dataplane = {"workers": workers, "poll": poll, "memory": "auto"} | ({"cores": cores} if cores else {})
    settings = {
        "dataplane": dataplane,
        "interfaces": {name: {"device": device, "address": addresses} for name, (device, addresses) in interfaces.items()},
        "routes": [{"prefix": prefix, "via": via} for prefix, via in routes],
    }
    if nat:
        settings["nat"] = nat
    settings["xfrm"] = {"state": [state for tunnel in tunnels for state in tunnel.states(side)],
                        "policy": [policy for tunnel in tunnels for policy in tunnel.policies(side)]}
    return settings

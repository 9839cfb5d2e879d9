"""Turns one recorded scenario into the folder that the player reads: configurations, frames, steps.json."""

import copy
import json
import os
import re
import shutil

from oraclelib import esp, inject, packet, pcap
from oraclelib import scenario as scenarios

from . import expectations, ip_batch, random_values, render, rule_sets, settings
from .model import Gateway, Unsupported

RULES = {"iptables": 4, "ip6tables": 6}  # families
SOCKET = re.compile(r"udp socket (\d+) from \[?([^\s\]]+)\]?:(\d+): ([0-9a-f]*)")
HOST_IP_ID = 0x7000  # what the host's own packets get, so that no two of them have the same


class Recording:
    """What DIR/golden/NAME and DIR/scenarios/NAME.toml hold."""

    def __init__(self, folder, name):
        self.name = name
        self.path = os.path.join(folder, "golden", name)
        self.scenario = scenarios.load(os.path.join(folder, "scenarios", name + ".toml"))
        _take_rules_of_twin(folder, self.scenario)
        with open(os.path.join(self.path, "summary.json"), encoding="utf-8") as source:
            self.summary = json.load(source)
        if len(self.summary["steps"]) != len(self.scenario["packet"]):
            raise ValueError("the recording is of another version of the scenario: their steps differ in number")
        self.frames = {"in": {}, "out": {}}  # by step's number: [(link, frame)]
        for file in sorted(os.listdir(self.path)):
            if file.endswith(".pcap"):
                direction, _, link = file.removesuffix(".pcap").partition("-")
                for number, place, frame in pcap.read(os.path.join(self.path, file)):
                    self.frames[direction].setdefault(number, []).append((place, link, frame))
        for by_step in self.frames.values():
            for number, entries in by_step.items():
                by_step[number] = [(link, frame) for _, link, frame in sorted(entries, key=lambda each: each[0])]

    def steps(self):
        """(number from 1, scenario's step, summary's step)"""
        return zip(range(1, len(self.summary["steps"]) + 1), self.scenario["packet"], self.summary["steps"])


def _take_rules_of_twin(folder, scenario):
    """A scenario for nft that says which iptables scenario it equals is played with that one's rules."""
    if "nft" not in scenario:
        return
    if "same_as" not in scenario:
        raise Unsupported("nft syntax")
    twin = scenarios.load(os.path.join(folder, "scenarios", scenario["same_as"] + ".toml"))
    for key in ("iptables", "ip6tables"):
        if key in twin:
            scenario[key] = twin[key]


class Translation:
    """Walks through the steps of a recording with the gateway as it is at each of them."""

    def __init__(self, recording):
        self.recording = recording
        self.settings = settings.read(recording.scenario)
        self.settings.host_path |= any(map(_is_reset, recording.summary["steps"]))
        self.gateway = Gateway(recording.scenario)
        self.rules = {key: recording.scenario.get(key, "") for key in RULES}
        self.texts = []  # of the configurations, in the order of their first use
        self.keys = {}
        self.lost = ""  # why the gateway is not the recorded one any more
        ip_batch.apply(self.gateway, recording.scenario.get("ip", ""))
        self._note_configuration()
        self.associations = _associations(scenarios.ip_text(recording.scenario))
        self.builder = inject.StepBuilder(self.associations)

    def document(self, excluded):
        """steps.json. `excluded`: {step id: reason} of what is not played."""
        frames = [([frame for _, frame in self.recording.frames["in"].get(number, [])],
                   [frame for _, frame in self.recording.frames["out"].get(number, [])])
                  for number, _, _ in self.recording.steps()]
        steps = [self._step(*each, excluded) for each in self.recording.steps()]
        return {
            "title": self.recording.summary["title"],
            "macs": {each["name"]: each["mac"] for each in self.recording.scenario["interface"]},
            "largest_mtu": max(link.mtu or 0 for link in self.gateway.links.values()),
            "limited": any(state.limits for state in self.gateway.states) or "limit " in _all_ip(self.recording)
            or any(self._waits(number, recorded) for number, _, recorded in self.recording.steps()),
            "keys": list(self.keys.values()),
            "host_ports": [*self.recording.scenario.get("encap_ports", []),
                           *self.recording.scenario.get("udp_ports", [])],
            "random": random_values.find(self.recording.scenario, frames, self.associations),
            "steps": steps,
        }

    def _note_configuration(self):
        rules = [rule_sets.read(self.rules[key], family, self.gateway) for key, family in RULES.items()]
        if any(each.sets_marks for each in rules) and any(
                thing.mark is not None for thing in self.gateway.states + self.gateway.policies):
            raise Unsupported("rules that set marks, and states or policies that ask for them")
        self.dropping_chains = rules[0].dropping_chains | rules[1].dropping_chains
        self.texts.append(render.configuration(self.gateway, rules, self.settings))
        for state in self.gateway.states:
            if render.direction_of(self.gateway, state) == "in":
                state.direction = "in"  # and stays so when the address goes
            self.keys[state.spi, state.dst] = _key(self.gateway, state)

    def _step(self, number, given, recorded, excluded):
        step = {"id": recorded["id"], "note": recorded.get("note", ""), "in": recorded["in"],
                "linux": recorded["counters"], "drops": expectations.drops(recorded, self.settings.host_path, self._waits(number, recorded)),
                "wait_ms": int(1000 * given.get("wait", 0))}
        if (given.get("ip") or any(key in given for key in RULES)) and not self.lost:
            self._change(given, step)
        if recorded["in"] == "local":
            step["from_host"] = self._local_packet(number, given).hex()
        step["to_host"] = [_datagram(text) for text in recorded["socket"]]
        step["clear_from_tunnel"] = self._clear_from_tunnel(number)
        reason = excluded.get(recorded["id"]) or self.lost or self._why_not_played(given, recorded)
        if reason:
            step["skip"] = reason
        self._remember(number, recorded["id"])
        return step

    def _change(self, given, step):
        """What cannot be said makes this step and all behind it skipped: the gateway is another one from here on."""
        try:
            ip_batch.apply(self.gateway, given.get("ip", ""))
            self.rules |= {key: given[key] for key in RULES if key in given}
            self._note_configuration()
            step["config"] = f"espalier.{len(self.texts) - 1}.conf"
        except Unsupported as reason:
            self.lost = f"since step {step['id']}: {reason}"

    def _waits(self, number, recorded):
        frames = [frame for _, frame in self.recording.frames["in"].get(number, [])]
        return not recorded["out"] and any(random_values.is_fragment(frame) for frame in frames)

    def _why_not_played(self, given, recorded):
        if not recorded["sent"]:
            return "never sent: what it answers had no output"
        chain = expectations.filtered(recorded, self.dropping_chains)
        if chain:
            return f"dropped by a rule of {chain if ' ' in chain else 'filter ' + chain}"
        ports = [*self.recording.scenario.get("udp_ports", []), *self.recording.scenario.get("encap_ports", [])]
        if recorded["in"] == "local" and given.get("sport", 4000) in ports:
            return "never sent: the recorder's socket has the port of another one"
        return ""

    def _remember(self, number, step_id):
        inputs = [packet.packet_of(frame) for _, frame in self.recording.frames["in"].get(number, [])]
        self.builder.remember(step_id, inputs, self.recording.frames["out"].get(number, []))

    def _local_packet(self, number, given):
        """What the host's kernel would hand over: the recorder's sockets send zeros."""
        head, body = packet.parse_ip(self.builder.build(given)[0])[:2]
        datagram = packet.udp(head["src"], head["dst"], body["sport"], body["dport"], bytes(body["payload"]))
        df = head.get("df", False)
        return packet.ip(head["src"], head["dst"], packet.UDP, datagram, ttl=head["ttl"], tos=head["tos"], df=df,
                         ipid=0 if df else HOST_IP_ID + number)

    def _clear_from_tunnel(self, number):
        """Whether packets came in clear whose source is behind a tunnel interface (deviation 3)."""
        for _, frame in self.recording.frames["in"].get(number, []):
            layers = packet.parse_frame(frame)
            if len(layers) < 2 or layers[1]["layer"] not in ("ip4", "ip6"):
                continue
            link = self.gateway.link_for(layers[1]["src"])
            if link is not None and link.is_tunnel:
                return True
        return False


def _is_reset(recorded):
    """Whether the gateway refused a TCP connection: its host does that."""
    return any(re.search(r"TCP [^|]*\[[^]]*R", text) for text in recorded["out"]) and not any(
        re.search(r"TCP [^|]*\[[^]]*R", text) for text in recorded["sent"])


def _all_ip(recording):
    return scenarios.ip_text(recording.scenario)


def _associations(text):
    """What the recorder opens ESP with."""
    try:
        return esp.parse_associations(text)
    except (ValueError, KeyError) as error:
        raise Unsupported(f"a state that the recorder cannot open: {error}") from error


def _datagram(text):
    port, peer, peer_port, data = SOCKET.fullmatch(text).groups()
    return {"port": int(port), "peer": peer, "peer_port": int(peer_port), "data": data}


def _key(gateway, state):
    """What the player opens and seals a state's packets with."""
    cipher, _, icv_bits = render.suite(state)
    direction = render.direction_of(gateway, state)
    key = render.key_bytes((state.aead or state.enc or ("", ""))[1])
    return {"spi": state.spi, "src": state.src, "cipher": cipher, "icv_bytes": icv_bits // 8, "key": key.hex(),
            "auth": state.auth[0] if state.auth else "",
            "auth_key": render.key_bytes(state.auth[1]).hex() if state.auth else "",
            "esn": "esn" in state.flags, "sequence": render.last_sequence(state, direction)}


def translate(folder, name, target, excluded):
    """Writes `target`/NAME. Raises Unsupported, with the reason, for what Espalier cannot be asked."""
    recording = Recording(folder, name)
    translation = Translation(recording)
    document = translation.document(copy.copy(excluded))
    path = os.path.join(target, name)
    os.makedirs(path)
    for number, text in enumerate(translation.texts):
        with open(os.path.join(path, f"espalier.{number}.conf"), "w", encoding="ascii") as output:
            output.write(text)
    for file in os.listdir(recording.path):
        if file.endswith(".pcap"):
            shutil.copyfile(os.path.join(recording.path, file), os.path.join(path, file))
    with open(os.path.join(path, "steps.json"), "w", encoding="utf-8") as output:
        json.dump(document, output, indent=1)
        output.write("\n")

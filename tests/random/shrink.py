"""Reduces a scenario that differs to the smallest one that still differs in the same field (delta debugging).

The parts are taken away in turns until none can go: packets, lines of tables, whole tables, fields of packets. Many
candidates are tried in one guest: it boots longer than a small scenario takes.
"""

import copy

from compare import kind_of, without_steps

TEXTS = ("ip", "iptables", "ip6tables")
NEEDED_FIELDS = {"id", "in", "src", "dst", "reply_to", "repeat_of", "icmp_error", "optional"}
MOST_AT_ONCE = 24
MOST_ROUNDS = 40


def shrink(outcome, run_all):
    """The smallest scenario found. `run_all` is compare.run_all of {name: scenario}."""
    smallest, kind = _end_behind(outcome), outcome.kind

    def first_that_differs(candidates):
        """The first candidate that differs as the original does, or None."""
        for start in range(0, len(candidates), MOST_AT_ONCE):
            part = {f"c{number}": each for number, each in enumerate(candidates[start:start + MOST_AT_ONCE])}
            found = run_all(part)
            for name, scenario in part.items():
                if any(kind_of(problem) == kind for problem in found[name].problems):
                    return scenario
        return None

    smallest = first_that_differs([smallest]) or outcome.scenario
    for _ in range(MOST_ROUNDS):
        smaller = next((each for each in (first_that_differs(candidates(smallest)) for candidates in (
            fewer_packets, fewer_lines, fewer_fields)) if each), None)
        if smaller is None:
            return smallest
        smallest = smaller
    return smallest




def _end_behind(outcome):
    """Nothing behind the first step that differs matters."""
    packets = outcome.scenario["packet"]
    at = outcome.problems[0].removeprefix("step ").partition(",")[0]
    places = [place for place, step in enumerate(packets) if step["id"] == at]
    return outcome.scenario | {"packet": packets[:places[0] + 1]} if places else outcome.scenario


def fewer_packets(scenario):
    """Without halves, quarters ... of the packets, largest first."""
    ids = [step["id"] for step in scenario["packet"]]
    found, size = [], len(ids) // 2
    while size:
        for start in range(0, len(ids), size):
            smaller = without_steps(scenario, set(ids[start:start + size]))
            if smaller["packet"]:
                found.append(smaller)
        size //= 2
    return found


def fewer_lines(scenario):
    """Without halves, quarters ... of the lines of a table, at the start or at a step."""
    found = []
    for place in [None, *range(len(scenario["packet"]))]:
        holder = scenario if place is None else scenario["packet"][place]
        for key in TEXTS:
            for text in _shorter(holder.get(key, "")):
                found.append(_with(scenario, place, key, text))
    return found


def _shorter(text):
    """Nothing; then without halves, quarters ... of the lines, those apart that make a table."""
    if text:
        yield ""
    lines = text.splitlines()
    fixed = [line for line in lines if line.startswith(("*", "COMMIT"))]
    free = [line for line in lines if line not in fixed]
    size = len(free)
    while size:
        for start in range(0, len(free), size):
            left = free[:start] + free[start + size:]
            if left or fixed:
                yield "\n".join(fixed[:1] + left + fixed[1:]) + "\n"
        size //= 2


def _with(scenario, place, key, value):
    changed = copy.deepcopy(scenario)
    holder = changed if place is None else changed["packet"][place]
    if value:
        holder[key] = value
    else:
        holder.pop(key, None)
    return changed


def fewer_fields(scenario):
    """Without one of a packet's fields, an interface, or a smaller setting."""
    found = []
    for place, step in enumerate(scenario["packet"]):
        for key in set(step) - NEEDED_FIELDS - set(TEXTS):
            found.append(_with(scenario, place, key, None))
    for place, link in enumerate(scenario["interface"]):
        if len(scenario["interface"]) > 1:
            found.append(scenario | {"interface": scenario["interface"][:place] + scenario["interface"][place + 1:]})
        if link.get("mtu", 1500) != 1500:
            links = copy.deepcopy(scenario["interface"])
            links[place]["mtu"] = 1500
            found.append(scenario | {"interface": links})
    found += [_with(scenario, None, key, None) for key in ("sysctl", "encap_ports") if key in scenario]
    return found

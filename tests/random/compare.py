"""Runs scenarios on both sides: records them on Linux (UML), plays the recordings through our dataplane.

The order: one guest records a batch; each recording is written as tests/oracle has them, translated as tests/golden does, and
played by golden_player. What differs and is no intended deviation is a difference. After an intended deviation the two
gateways are not in the same state any more (Linux forwarded and numbered a packet that we dropped): if something differs
behind one, the scenario is run again without the steps that deviated, and has to agree then.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ORACLE = ROOT / "tests" / "oracle"
sys.path[:0] = [str(ORACLE), str(ROOT / "tests" / "golden")]

from oraclelib import backend, report  # noqa: E402
from translate.folder import translate_all  # noqa: E402

from toml_text import dumps  # noqa: E402

SECONDS_PER_SCENARIO = 150
MOST_ROUNDS = 4


@dataclass
class Outcome:
    """What came of one scenario."""
    name: str
    scenario: dict
    problems: list = field(default_factory=list)  # texts; empty: both sides agree
    deviations: set = field(default_factory=set)  # (step, number of the rule)
    summary: dict = field(default_factory=dict)  # Linux's steps
    rule_hits: str = ""  # iptables-save -c at the end

    @property
    def packets(self):
        return sum(len(step["sent"]) for step in self.summary.get("steps", []))

    @property
    def kind(self):
        """What the first problem is about, without its values: the shrinker keeps it."""
        return kind_of(self.problems[0]) if self.problems else ""


def kind_of(problem):
    """`step p7, wan0[0].ip.ttl: Linux 63, ours 64` is about `ip.ttl`."""
    head = problem.partition(": ")[0]
    field_name = head.rpartition(", ")[2]
    return field_name.partition("].")[2] or field_name.partition("[")[0] if head.startswith("step ") else problem[:40]


def run_all(scenarios, player, keep=None):
    """{name: Outcome} of {name: scenario}."""
    found, waiting, known = {}, dict(scenarios), {}
    for number in range(MOST_ROUNDS):
        outcomes = _run_once(waiting, player, keep)
        waiting = {}
        for name, outcome in outcomes.items():
            first = found.setdefault(name, outcome)
            known.setdefault(name, set()).update(outcome.deviations)
            if outcome is not first:
                first.problems = outcome.problems
            if outcome.problems and outcome.deviations and number + 1 < MOST_ROUNDS:
                waiting[name] = without_steps(outcome.scenario, {step for step, _ in outcome.deviations})
        if not waiting:
            break
    for name, outcome in found.items():
        outcome.deviations = known[name]
    return found


def references(step):
    """The id of the step that this one refers to, or None."""
    return step.get("reply_to") or step.get("repeat_of") or step.get("icmp_error", {}).get("of")


def without_steps(scenario, unwanted):
    """The scenario without steps and without those that refer to them; what they change, the next one changes."""
    kept, carried, gone = [], {}, set(unwanted)
    for step in scenario["packet"]:
        changes = {key: step[key] for key in ("ip", "iptables", "ip6tables") if key in step}
        if "ip" in carried:
            changes["ip"] = carried["ip"] + changes.get("ip", "")
        carried = carried | changes
        if step["id"] in gone or references(step) in gone:
            gone.add(step["id"])
            continue
        kept.append(step | carried)
        carried = {}
    return scenario | {"packet": kept}


def _run_once(scenarios, player, keep):
    with tempfile.TemporaryDirectory(prefix="espalier-random-") as scratch:
        folder = pathlib.Path(scratch)
        outcomes = _record(scenarios, folder)
        names = [name for name, outcome in outcomes.items() if not outcome.problems]
        _translate(folder, names, outcomes)
        for name in names:
            if not outcomes[name].problems:
                _play(player, folder / "translated" / name, outcomes[name])
        if keep:
            _keep(folder, keep, [name for name, outcome in outcomes.items() if outcome.problems])
    return outcomes


def _record(scenarios, folder):
    """Records a batch in one guest, and writes scenarios/ and golden/."""
    outcomes = {name: Outcome(name, scenario) for name, scenario in scenarios.items()}
    for part in ("scenarios", "golden", "translated"):
        (folder / part).mkdir()
    for name, scenario in scenarios.items():
        (folder / "scenarios" / f"{name}.toml").write_text(dumps(scenario), encoding="ascii")
    answer = backend.run("uml", scenarios, str(ORACLE))
    for name, result in answer["scenarios"].items():
        outcome = outcomes[name]
        if "error" in result:
            outcome.problems.append(f"Linux refuses it: {result['error'].strip().splitlines()[-1]}")
            continue
        outcome.summary = report.summarise(scenarios[name], result)
        outcome.rule_hits = result["state"]["iptables"] + result["state"]["ip6tables"]
        report.write(str(folder / "golden" / name), name, result, outcome.summary, answer["kernel"])
    return outcomes


def _translate(folder, names, outcomes):
    skipped, broken = translate_all(str(folder), str(folder / "translated"), names) if names else ({}, {})
    for name, reason in (skipped | broken).items():
        if name in names:
            outcomes[name].problems.append(f"cannot be translated: {reason}")


def _play(player, folder, outcome):
    try:
        done = subprocess.run([player, folder], capture_output=True, text=True, timeout=SECONDS_PER_SCENARIO)
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        outcome.problems.append(f"not done after {SECONDS_PER_SCENARIO} s")
        return
    except (IndexError, ValueError):
        outcome.problems.append(f"the player ended with status {done.returncode}: {done.stderr[-2000:].strip()}")
        return
    for failure in found["failures"]:
        runs = failure["runs"]
        where = "" if len(runs) == found["runs"] else f" (in {len(runs)} of {found['runs']} runs: {'; '.join(runs[:2])})"
        outcome.problems.append(failure["text"].strip() + where)
    outcome.deviations = {(each["step"], each["reason"]) for each in found["deviations"]}


def _keep(folder, target, names):
    """The scenarios, recordings and translations of failures, for a look."""
    for part in ("scenarios", "golden", "translated"):
        os.makedirs(target / part, exist_ok=True)
        for name in names:
            for path in (folder / part).glob(f"{name}*"):
                if path.is_dir():
                    shutil.copytree(path, target / part / path.name, dirs_exist_ok=True)
                else:
                    shutil.copy(path, target / part)

"""Translates all scenarios of a folder that holds scenarios/ and golden/."""

import json
import os
import shutil

from oraclelib.scenario import ScenarioError

from . import scenario
from .model import Unsupported


def names_in(folder):
    """The scenarios of a folder that have a recording, and those that lack one."""
    found = sorted(file.removesuffix(".toml") for file in os.listdir(os.path.join(folder, "scenarios"))
                   if file.endswith(".toml"))
    recorded = [name for name in found if os.path.exists(os.path.join(folder, "golden", name, "summary.json"))]
    return recorded, [name for name in found if name not in recorded]


def exclusions(folder):
    """{scenario: {step or None: reason}} of DIR/excluded.json."""
    path = os.path.join(folder, "excluded.json")
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as source:
            for entry in json.load(source):
                found.setdefault(entry["scenario"], {})[entry.get("step")] = entry["reason"]
    return found


def translate_all(folder, target, names=()):
    """Writes TARGET/NAME for every scenario; returns ({name: reason why skipped}, {name: what is broken})."""
    recorded, unrecorded = names_in(folder)
    skipped = {name: "no recording in golden/" for name in unrecorded if not names or name in names}
    broken = {}
    excluded = exclusions(folder)
    for name in recorded:
        if names and name not in names:
            continue
        reasons = excluded.get(name, {})
        try:
            if None in reasons:
                raise Unsupported(reasons[None])
            shutil.rmtree(os.path.join(target, name), ignore_errors=True)
            scenario.translate(folder, name, target, reasons)
        except (Unsupported, ScenarioError) as reason:  # the latter: of a recorder that knows more keys than ours
            skipped[name] = str(reason)
        except Exception as error:  # a scenario that this translator misreads must fail by name, not end the run
            broken[name] = f"cannot be translated: {type(error).__name__}: {error}"
    return skipped, broken

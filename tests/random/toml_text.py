"""Writes a scenario as a TOML file that the recorder loads (tests/oracle/oraclelib/scenario.py)."""

import json

FIRST_KEYS = ("title", "about", "facts", "encap_ports", "udp_ports")


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"""\n' + value.replace("\\", "\\\\") + '"""' if "\n" in value else json.dumps(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    return "[" + ", ".join(map(_value, value)) + "]"


def _key(key):
    return json.dumps(key) if "." in key else key


def dumps(scenario):
    """The text of a scenario: plain settings first, then interfaces, then packets."""
    tables = ("interface", "packet")
    names = sorted((key for key in scenario if key not in tables), key=lambda key: key not in FIRST_KEYS)
    lines = [f"{key} = {_value(scenario[key])}" for key in names]
    for table in tables:
        for entry in scenario[table]:
            lines += ["", f"[[{table}]]"] + [f"{_key(key)} = {_value(value)}" for key, value in entry.items()]
    return "\n".join(lines) + "\n"

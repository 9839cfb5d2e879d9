"""Translates the recorded scenarios of a folder (scenarios/, golden/) into folders for the golden player.

usage: translate DIR TARGET [NAME...]

Prints "NAME skipped: REASON" for what cannot be translated. DIR/excluded.json, if there is one, names steps and
scenarios that are not played: [{"scenario": ..., "step": ... (without: all of it), "reason": ...}].
"""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(os.path.dirname(HERE)), "oracle")]
sys.dont_write_bytecode = True

from translate.folder import translate_all  # noqa: E402


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    skipped, broken = translate_all(sys.argv[1], sys.argv[2], sys.argv[3:])
    for name, reason in (skipped | broken).items():
        print(f"{name} skipped: {reason}" if name in skipped else f"{name}: {reason}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

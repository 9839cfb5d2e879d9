"""scripts/lab up and down: two sites that stay when this process ends."""
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labs.network import LabError, remove_leftovers  # noqa: E402
from labs.two_sites import TwoSites  # noqa: E402

PREFIX = "esp-lab"


def up(files):
    lab = TwoSites(PREFIX, files, lasting=True)
    try:
        lab.start()
    except LabError as problem:
        log = "\n".join(gateway.log_tail() for gateway in (lab.a, lab.b))
        lab.close()
        sys.exit(f"lab: {problem}\n{log}")
    print(f"up: scripts/lab exec host-a ping 10.2.0.10; scripts/lab cli a show ipsec sa; files in {files}")


def down(files):
    remove_leftovers(PREFIX, lasting=True)
    shutil.rmtree(files, ignore_errors=True)
    print("down: nothing of the lab is left")


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]](pathlib.Path(sys.argv[2]))

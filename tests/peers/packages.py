"""What the peers are made of: packages of Debian releases, unpacked beside this machine's own and never installed, so that
no daemon of theirs is started by the system."""
import os
import pathlib
import shutil
import subprocess

from labs.network import LabError, run

CACHE = pathlib.Path(os.environ.get("PEER_CACHE", "/var/cache/espalier-peers"))

# In every unpacked root: what a daemon's start script needs. Nothing of it is configured, only unpacked.
BASE = ["base-files", "netbase", "dash", "coreutils", "iproute2", "iputils-ping", "busybox-static"]
STRONGSWAN = ["charon-systemd", "strongswan-swanctl", "libcharon-extra-plugins", "libcharon-extauth-plugins",
              "libstrongswan-standard-plugins", "libstrongswan-extra-plugins"]
OF_KIND = {
    "strongswan": BASE + STRONGSWAN,
    "libreswan": BASE + ["bash", "gawk", "sed", "grep", "libreswan", "libnss3-tools"],
    "openiked": BASE + ["openssl", "openiked"],
}
# What packages' maintainer scripts would have made.
USERS = {"passwd": "root:x:0:0:root:/root:/bin/sh\n_iked:x:990:990::/var/empty:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
         "group": "root:x:0:\n_iked:x:990:\nnogroup:x:65534:\n"}
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "mnt", "root", "var/lib", "var/empty")


def mirror():
    """Where this machine's apt gets Debian from; PEER_MIRROR in the environment overrides it."""
    if "PEER_MIRROR" in os.environ:
        return os.environ["PEER_MIRROR"]
    lines = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)").stdout.splitlines()
    debian = [line.split()[1] for line in lines if line.startswith("Debian ") and "security" not in line]
    if not debian:
        raise LabError("apt knows no Debian archive on this machine: name one in PEER_MIRROR")
    return debian[0]


def root_of(implementation):
    """The folder that the peer sees as /, for "strongswan-trixie"; fetched from the archive if it is not there yet."""
    kind, _, release = implementation.partition("-")
    if kind not in OF_KIND or not release:
        raise LabError(f"{implementation}: a peer is one of {', '.join(OF_KIND)}, with -RELEASE of Debian")
    root = CACHE / implementation
    packages, ready = ",".join(OF_KIND[kind]), root / ".ready"
    if ready.exists() and ready.read_text() == packages:
        return root
    shutil.rmtree(root, ignore_errors=True)  # half of one, or of other packages
    CACHE.mkdir(parents=True, exist_ok=True)
    # A release's index may be past its date on a mirror that stands still.
    done = subprocess.run(["mmdebstrap", "--mode=root", "--variant=extract", "--skip=output/dev",
                           '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={packages}",
                           release, root, mirror()], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"mmdebstrap could not unpack {implementation}:\n{done.stderr[-2000:]}")
    complete(root)
    ready.write_text(packages)
    return root


def complete(root):
    """What is missing in a root whose packages were only unpacked."""
    for link in ("bin", "sbin", "lib", "lib64"):
        if not (root / link).exists():
            (root / link).symlink_to(f"usr/{link}")
    for folder in FOLDERS:
        if not (root / folder).is_symlink():
            (root / folder).mkdir(parents=True, exist_ok=True)
    for link, target in (("var/run", "../run"), ("usr/bin/sh", "dash")):
        if not (root / link).exists():
            (root / link).symlink_to(target)
    for name, text in USERS.items():
        if not (root / "etc" / name).exists():
            (root / "etc" / name).write_text(text)

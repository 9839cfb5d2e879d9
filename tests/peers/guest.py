"""A User Mode Linux that takes over the gateway's interfaces: Linux's own kernel ESP, VTI, transport mode and ESN.

The guest sees the peer's root read only through hostfs, with an overlay in memory. Commands reach it over a private TAP
interface; strongSwan's vici socket too.
"""
import re
import shlex
import subprocess

from labs.network import wait_until
from peers.lab import SIDES
from peers.place import Finished, end_session, write_script

KERNEL = "linux.uml"
MODULES = "/usr/lib/uml/modules"
ADDRESS, HOST_ADDRESS, COMMAND_PORT = "169.254.77.2", "169.254.77.1", 7777
MEMORY_MB = 256

INIT = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys
W=FOLDER/work; mount -t tmpfs tmpfs $W
echo 1 >/proc/sys/kernel/printk
M=MODULES/$(uname -r)
mkdir -p $W/m/lib/modules $W/root $W/up $W/work
ln -s $M $W/m/lib/modules/$(uname -r)
printf '#!/bin/sh\nexec /sbin/modprobe -d %s/m "$@"\n' $W >$W/modprobe; chmod +x $W/modprobe
echo $W/modprobe >/proc/sys/kernel/modprobe
# seqiv, which every AEAD needs, fails with ENOENT as long as there is no random number generator.
for m in overlay jitterentropy_rng drbg ansi_cprng ipv6 xfrm_algo xfrm_user af_key esp4 esp6 xfrm4_tunnel ip_vti ip6_vti tun \
  gcm ccm ctr cbc authenc authencesn echainiv seqiv hmac sha512_generic chacha20poly1305 chacha_generic \
  poly1305_generic cmac xcbc ghash_generic; do
  modprobe -d $W/m $m 2>/dev/null
done
mount -t overlay -o lowerdir=ROOT,upperdir=$W/up,workdir=$W/work overlay $W/root
R=$W/root
mkdir -p $R/proc $R/sys $R/dev $R/run $R/tmp ${R}FOLDER
mount -t proc proc $R/proc; mount -t sysfs sys $R/sys; mount --bind /dev $R/dev
mkdir -p $R/dev/net $R/dev/pts; [ -c $R/dev/net/tun ] || mknod $R/dev/net/tun c 10 200
mount -t devpts devpts $R/dev/pts 2>/dev/null
mount -t tmpfs tmpfs $R/run; mkdir -p ${R}FOLDER
mount -t hostfs -o FOLDER none ${R}FOLDER
mkdir -p $R/run/lock $R/run/pluto
ip link set vec0 name wan0; ip link set vec1 name lan0; ip link set vec2 name mgmt0
# Its driver of network cards switches offloads on when a card comes up, and corrupts what GRO put together and ESP
# decrypted (Linux 6.1).
for each in wan0 lan0; do ip link set $each up; ethtool -K $each gro off tso off gso off; done
/usr/bin/python3 -I FOLDER/commands $R &
exec chroot $R /bin/sh FOLDER/guest
"""

# On the host's Python, outside of the root: one line of shell per connection, its output, its exit status.
COMMANDS = r"""
import os, signal, socket, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: the address comes later
listener.bind(("ADDRESS", PORT))
listener.listen(8)
path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
while True:
    connection, _ = listener.accept()
    if os.fork():
        connection.close()
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line = connection.makefile().readline()
    done = subprocess.run(["chroot", sys.argv[1], "/bin/sh", "-c", line], stdin=subprocess.DEVNULL,
                          stdout=connection.fileno(), stderr=connection.fileno(), env=path)
    connection.sendall(b"\nstatus=%d" % done.returncode)
    os._exit(0)
"""

GUEST = r"""export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
for each in all default wan0 lan0; do
  echo 0 >/proc/sys/net/ipv4/conf/$each/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/$each/send_redirects
done
ip addr add ADDRESS/30 dev mgmt0; ip link set mgmt0 up
NETWORK
sh FOLDER/daemon >>FOLDER/out 2>&1
echo "the daemon ended: $?" >>FOLDER/out
sync
echo o >/proc/sysrq-trigger
sleep 5
"""


def network_lines(side, extra=()):
    """The guest's addresses and routes in `ip`'s words."""
    spec = SIDES[side]
    lines = [f"ip addr add {address} dev {interface}" + (" nodad" if ":" in address else "")
             for interface, addresses in spec.addresses.items() for address in addresses]
    lines += [f"ip route add default via {spec.hop}", f"ip -6 route add default via {spec.hop6}"]
    return "\n".join([*lines, *extra])


class GuestPlace:
    """`extra`: further lines of shell for the guest's network, as VTIs are."""

    def __init__(self, lab, side, root, folder, extra=()):
        self.lab, self.side, self.root, self.folder, self.extra = lab, side, root, folder, extra
        self.machine = lab.machine_of(side)
        self.process = None

    def start(self, script):
        self.lab.undress(self.side)
        self._write_files(script)
        self._make_tap()
        vectors = [f"vec{number}:transport=raw,ifname={name},depth=64,mac={self._mac(name)}"
                   for number, name in enumerate(("wan0", "lan0"))]
        with open(self.folder / "console", "ab") as console:
            self.process = self.machine.start(
                KERNEL, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"mem={MEMORY_MB}M",
                f"init={self.folder}/init", "con=null", "con0=null,fd:1", f"uml_dir={self.folder}/uml/", *vectors,
                "vec2:transport=tap,ifname=mgmt0,depth=16", stdout=console, stderr=console, start_new_session=True)
        wait_until(f"the guest answers, see {self.folder}/console", self._answers, 60, pause=0.2)

    def _write_files(self, script):
        values = {"FOLDER": str(self.folder), "ROOT": str(self.root), "MODULES": MODULES, "ADDRESS": ADDRESS,
                  "PORT": str(COMMAND_PORT),
                  "NETWORK": network_lines(self.side, self.extra)}
        for name, text in (("init", INIT), ("guest", GUEST), ("commands", COMMANDS)):
            for key, value in values.items():
                text = text.replace(key, value)
            write_script(self.folder / name, text)
        write_script(self.folder / "daemon", "#!/bin/sh\n" + script)
        for name in ("uml", "work"):
            (self.folder / name).mkdir(exist_ok=True)

    def _make_tap(self):
        self.machine.run("ip", "link", "del", "mgmt0", check=False)
        self.machine.ip("tuntap", "add", "mgmt0", "mode", "tap")
        self.machine.ip("address", "add", f"{HOST_ADDRESS}/30", "dev", "mgmt0")
        self.machine.ip("link", "set", "mgmt0", "up")

    def _mac(self, interface):
        return self.machine.run("cat", f"/sys/class/net/{interface}/address").stdout.strip()

    def _answers(self):
        if not self.is_alive():
            raise RuntimeError(f"the guest ended, see {self.folder}/console and {self.folder}/out")
        return self.run("true", timeout=3).status == 0

    def own_addresses(self):
        return set(re.findall(r"inet6? (\S+)/", self.run("ip", "-o", "address", "show", "dev", "wan0").text))

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def run(self, *command, timeout=60):
        """Runs a command in the guest; a single word is a line of shell."""
        line = command[0] if len(command) == 1 else shlex.join(map(str, command))
        words = self.machine.command("timeout", timeout, "busybox", "nc", ADDRESS, COMMAND_PORT)
        done = subprocess.run(words, input=line + "\n", capture_output=True, text=True)
        text, _, status = done.stdout.rpartition("\nstatus=")
        return Finished(int(status) if status.strip().isdigit() else 1, text)

    def stop(self):
        if self.is_alive():
            end_session(self.process)
        self.machine.run("ip", "link", "del", "mgmt0", check=False)

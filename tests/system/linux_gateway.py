"""A Linux kernel as a gateway: User Mode Linux takes over the interfaces `wan` and `lan` of a namespace.

It is the implementation of ESP that ours is compared with. Its settings are those of an Espalier in the same place:
interfaces, routes and `xfrm` are said in `ip`'s words instead. The guest sees the host's files, read only, and runs
commands with its kernel and its network.

Its driver of network cards switches offloads on when a card comes up, and corrupts what GRO put together and ESP
decrypted (Linux 6.1); so they are off, and the links are up before the settings come.
"""
import pathlib
import subprocess

from labs import suites
from labs.network import LabError

KERNEL = "/usr/bin/linux.uml"
INTERFACES = ("wan", "lan")
MARK = "=== status "
HASHES = {"sha1": "hmac(sha1)", "sha256": "hmac(sha256)", "sha384": "hmac(sha384)", "sha512": "hmac(sha512)"}

INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run
echo 1 >/proc/sys/kernel/printk
stty -echo -onlcr
mkdir -p /run/lib; ln -s /usr/lib/uml/modules /run/lib/modules
printf '#!/bin/sh\\nexec /sbin/modprobe -d /run "$@"\\n' >/run/modprobe; chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
/run/modprobe -a ipv6 xfrm_user esp4 esp6 ip_vti ip6_vti tunnel4 xfrm4_tunnel xfrm6_tunnel
cd /proc/sys/net
echo 1 >ipv4/ip_forward; echo 0 >ipv4/conf/all/rp_filter; echo 0 >ipv4/conf/default/rp_filter
echo 0 >ipv4/conf/all/send_redirects; echo 0 >ipv4/conf/default/send_redirects
echo 1 >ipv6/conf/all/forwarding; echo 0 >ipv6/conf/default/accept_dad; echo 0 >ipv6/conf/default/router_solicitations
ip link set lo up; ip link set vec0 name wan; ip link set vec1 name lan
for each in wan lan; do
  ip link set $each up
  ethtool -K $each gro off tso off gso off
done
cd /
echo "$0 runs"
while read -r line; do
  eval "$line" </dev/null 2>&1
  echo "MARK$?"
done
""".replace("MARK", MARK)

# RFC 3948: the kernel opens ESP in UDP for a socket that says so, as an IKE daemon's does.
ENCAPSULATION = """import signal, socket
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind((host, 4500))
    opened.setsockopt(socket.IPPROTO_UDP, 100, 2)
    globals()[f"socket{family}"] = opened
print("bound", flush=True)
signal.pause()
"""


def algorithms(state):
    """The words for a state's ciphers."""
    if "hash" not in state:
        suite = suites.BY_NAME[state["encryption"]]
        name = "rfc7539esp(chacha20,poly1305)" if suite in suites.CHACHA else "rfc4106(gcm(aes))"
        return f"aead {name} {state['key']} {suite.icv_bits}"
    cipher = "enc ecb(cipher_null) ''" if state["encryption"] == "null" else f"enc cbc(aes) {state['key']}"
    return f"{cipher} auth-trunc {HASHES[state['hash']]} {state['auth-key']} {suites.HASH_BITS[state['hash']]}"


def sequence(state):
    """The words for the number behind which the state begins."""
    number = state.get("last-sequence", 0)
    name = "replay-oseq" if state["direction"] == "out" else "replay-seq"
    high = f" {name}-hi {number >> 32:#x}" if state.get("esn") else ""
    return f"{name} {number & 0xffffffff:#x}{high}"


def state_line(state):
    words = [f"xfrm state add src {state['src']} dst {state['dst']} proto esp spi {state['spi']:#x} reqid {state['reqid']}",
             f"mode {state['mode']} replay-window {state.get('replay-window', 32)}"]
    flags = [*state.get("flag", []), *(["esn"] if state.get("esn") else [])]
    words += [f"flag {' '.join(flags)}"] if flags else []
    words += [algorithms(state), sequence(state)]
    if "encap" in state:
        any_host = "::" if ":" in state["src"] else "0.0.0.0"
        words.append(f"encap espinudp {state['encap']['sport']} {state['encap']['dport']} {any_host}")
    return " ".join(words)


def policy_line(policy):
    template = policy["template"]
    ends = "".join(f" {end} {template[end]}" for end in ("src", "dst") if end in template)
    protocol = f" proto {policy['protocol']}" if "protocol" in policy else ""
    return (f"xfrm policy add dir {policy['direction']} src {policy['src']} dst {policy['dst']}{protocol} priority {policy['priority']} "
            f"tmpl{ends} proto esp reqid {template['reqid']} mode {template['mode']}")


def batch_of(settings):
    """The settings in the words of `ip -batch`."""
    lines = []
    for name, interface in settings["interfaces"].items():
        lines.append(f"link set {name} mtu {interface.get('mtu', 1500)}")
        lines += [f"address add {address} dev {name}" for address in interface["address"]]
    lines += [f"route add {route['prefix']} via {route['via']}" for route in settings["routes"]]
    lines += [state_line(state) for state in settings["xfrm"]["state"]]
    lines += [policy_line(policy) for policy in settings["xfrm"]["policy"]]
    return "".join(line + "\n" for line in lines)


class LinuxGateway:
    """Context manager around the guest in `machine`, a namespace of the lab."""

    def __init__(self, machine, directory):
        self.machine, self.directory = machine, pathlib.Path(directory)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, settings):
        self.boot()
        self.batch("batch", batch_of(settings))
        return self

    def batch(self, name, lines):
        """Runs lines of `ip -batch`; `name` is that of the file for them."""
        self.run(f"ip -batch {self._file(name, lines)}")

    def boot(self):
        init = self._file("init", INIT)
        init.chmod(0o700)
        vectors = [f"vec{number}:transport=raw,ifname={name},depth=64,mac=02:00:00:00:ee:0{number}"
                   for number, name in enumerate(INTERFACES)]
        self.process = self.machine.start(
            KERNEL, "mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet", "con=null",
            "con0=fd:0,fd:1", "ssl=null", f"uml_dir={self.directory}/uml/", *vectors,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read_until(lambda line: line.endswith(" runs"))

    def open_udp_encapsulation(self):
        """Binds port 4500; until then Linux answers ESP in UDP with port unreachable. Its policies are asked about the
        UDP packets too, before they are opened: they pass, as an IKE daemon's socket has it."""
        for family in ("0.0.0.0/0", "::/0"):
            self.run(f"ip xfrm policy add dir in src {family} dst {family} proto udp sport 4500 dport 4500 priority 1")
        file = self._file("encapsulation", ENCAPSULATION)
        self.run(f"/usr/bin/python3 -I {file} >/run/bound & until grep -q bound /run/bound; do sleep 0.05; done")

    def run(self, command):
        """The output of one line of shell, which must succeed."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        output = self._read_until(lambda line: line.startswith(MARK))
        status = int(output.pop()[len(MARK):])
        if status != 0:
            raise LabError(f"{command}: exit status {status} in {self.machine.name}'s guest\n" + "\n".join(output))
        return "\n".join(output)

    def stop(self):
        if self.process:
            self.machine.stop(self.process)
            self.process = None

    def errors(self):
        """The kernel's counters of IPsec errors that are not 0 (/proc/net/xfrm_stat)."""
        rows = (line.split() for line in self.run("cat /proc/net/xfrm_stat").splitlines())
        return {name: int(count) for name, count in rows if int(count)}

    def _file(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def _read_until(self, is_last):
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\r\n"))
            if is_last(lines[-1]):
                return lines
        raise LabError(f"the guest of {self.machine.name} ended:\n" + "\n".join(lines[-20:]))

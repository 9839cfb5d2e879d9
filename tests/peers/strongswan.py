"""strongSwan as a peer, driven by swanctl over its vici socket.

What its data paths can: `udp` is libipsec in user space, ESP in UDP only; `raw` the same with native ESP (strongSwan
5.9.11 and later; both tunnel mode only, no ESN); `kernel` is Linux's own, in a guest.
"""
import os
import re
import shutil
import subprocess

from labs.network import LabError, wait_until
from peers import guest, sas

# In order of preference; charon skips those that are absent.
PLUGINS = ("random nonce openssl ml pem pkcs1 pkcs7 pkcs8 pkcs12 x509 pubkey dnskey sshkey revocation constraints aesni aes "
           "sha2 sha1 mgf1 hmac kdf drbg curve25519 gmp gcm ccm ctr cmac xcbc chapoly {kernel} kernel-netlink "
           "socket-default vici updown attr counters")
# What it sends is marked, so that selectors of 0.0.0.0/0 do not route IKE and ESP into the tunnel.
MARK = "0x1CE"
# libipsec installs its routes, whatever is said: behind the main table where the routes are the lab's.
SETTINGS = """charon {{
  load_modular = no
  load = {plugins}
  install_virtual_ip_on = lo
  interfaces_ignore = mgmt0
  retransmit_tries = 5
  retransmit_timeout = 1.0
  retransmit_base = 1.4
  ikesa_table_size = 32
  routing_table_prio = {table_priority}
  install_routes = {install_routes}
{further}
  filelog {{
    log {{
      path = {folder}/log
      time_format = %F %T
      ike_name = yes
      flush_line = yes
      default = 1
      ike = 2
      cfg = 2
      chd = 2
    }}
  }}
  plugins {{
    vici {{
      socket = {vici}
    }}
    socket-default {{
      fwmark = {mark}
    }}
    kernel-netlink {{
      fwmark = !{mark}
    }}
    kernel-libipsec {{
      raw_esp = {raw}
      fwmark = {mark}
      allow_peer_ts = yes
    }}
  }}
}}
"""
FOLDERS = ("x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa", "bliss",
           "pkcs8", "pkcs12", "conf.d")


class StrongSwan:
    """A charon in `place`. `settings`: further lines of charon's; `routes`: prefixes into libipsec's tunnel device, where the
    selectors are 0.0.0.0/0; `route_based`: charon's own routes would be in the way."""

    def __init__(self, place, credentials, path, settings="", routes=(), route_based=False):
        self.place, self.credentials, self.path = place, credentials, path
        self.settings, self.routes, self.route_based = settings, routes, route_based
        self.folder = place.folder
        self.vici = f"tcp://{guest.ADDRESS}:4502" if path == "kernel" else f"unix://{self.folder}/vici"
        self.log_begin = 0

    # -- the daemon

    def start(self, configuration):
        libipsec = self.path in ("udp", "raw")
        text = SETTINGS.format(
            plugins=PLUGINS.format(kernel="kernel-libipsec" if libipsec else ""), folder=self.folder, vici=self.vici, mark=MARK,
            raw="yes" if self.path == "raw" else "no", further=self.settings,
            table_priority=40000 if self.route_based else 220, install_routes="no" if self.route_based else "yes")
        (self.folder / "strongswan.conf").write_text(text)
        (self.folder / "client.conf").write_text("# swanctl's own settings: none\n")
        self.place.start(f"export STRONGSWAN_CONF={self.folder}/strongswan.conf\nexec /usr/sbin/charon-systemd\n")
        wait_until(f"charon answers, see {self.folder}/out and log", self._answers, 40, pause=0.1)
        self._load(configuration)
        if libipsec:
            for prefix in self.routes:
                self.place.machine.ip("route", "replace", prefix, "dev", "ipsec0")

    def _answers(self):
        if not self.place.is_alive():
            raise LabError(f"charon ended, see {self.folder}/out")
        return self._swanctl("--stats").returncode == 0

    def replace(self, configuration):
        """Another configuration for a running daemon, which forgets all of the former."""
        for _ in range(3):
            if not (names := self.ike_names()):
                break
            for name in names:
                self._swanctl("--terminate", "--ike", name, "--force", "--timeout", "1")
        self.log_begin = len(self._whole_log())
        self._load(configuration)

    def _load(self, configuration):
        shutil.rmtree(self.folder / "swanctl", ignore_errors=True)
        self._write(configuration)
        done = self._swanctl("--load-all", "--noprompt", "--clear")
        if done.returncode != 0:
            raise LabError(f"swanctl --load-all: {done.stdout}")

    def _write(self, configuration):
        """swanctl's folder: the configuration and the credentials that it names, and the CA's."""
        folder = self.folder / "swanctl"
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
        (folder / "swanctl.conf").write_text(configuration)
        named = re.findall(r"(?:certs|pubkeys) = (\S+)", configuration)
        targets = {".pem": "x509", ".pub": "pubkey"}
        for file in [*named, "ca.pem", "ca.crl"]:
            target = {"ca.pem": "x509ca", "ca.crl": "x509crl"}.get(file) or targets[os.path.splitext(file)[1]]
            shutil.copy(self.credentials / file, folder / target)
        for own in re.findall(r"local \{[^}]*?(?:certs|pubkeys) = (\S+)\.", configuration):
            shutil.copy(self.credentials / f"{own}.key", folder / "private")

    def _swanctl(self, *words, timeout=40):
        environment = os.environ | {"SWANCTL_DIR": f"{self.folder}/swanctl", "STRONGSWAN_CONF": f"{self.folder}/client.conf"}
        command = self.place.machine.command("swanctl", *words, "--uri", self.vici)
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout, env=environment)

    def stop(self):
        self.place.stop()

    def commands(self):
        """For people: what to look at it with."""
        enter = " ".join(self.place.machine.command())
        return [f"{enter} swanctl --list-sas --uri {self.vici}", f"less {self.folder}/log"]

    # -- what rows ask of it

    def initiate(self, child="lan", timeout=20):
        """What swanctl said; raises LabError when no child came up."""
        said = self._swanctl("--initiate", "--child", child, "--timeout", timeout, timeout=timeout + 10).stdout
        if "initiate completed successfully" not in said:
            raise LabError("the peer's initiate failed: " + " | ".join(said.strip().splitlines()[-3:]))
        return said

    def initiate_child(self, child):
        self.initiate(child)

    def attempt(self):
        """As initiate(), where it is to fail."""
        try:
            self.initiate(timeout=10)
        except LabError:
            pass

    def selectors(self):
        """(local, remote) of its newest child."""
        found = re.findall(r"local-ts=\[(.*?)\] remote-ts=\[(.*?)\][ }]", self._swanctl("--list-sas", "--raw").stdout)
        return found[-1]

    def terminate_child(self):
        self._swanctl("--terminate", "--child", "lan", "--timeout", "5")

    def terminate_ike(self):
        self._swanctl("--terminate", "--ike", "site", "--timeout", "5")

    def rekey_child(self):
        self._swanctl("--rekey", "--child", "lan")

    def rekey_ike(self):
        self._swanctl("--rekey", "--ike", "site")

    def list_sas(self):
        """For people."""
        return self._swanctl("--list-sas").stdout.rstrip()

    def sas(self):
        return sas.of_swanctl(self._swanctl("--list-sas", "--raw").stdout)

    def kernel_sas(self):
        """The kernel's own view, where there is one."""
        if self.path != "kernel":
            return None
        return sas.of_xfrm(self.place.run("ip", "xfrm", "state").text, self.place.own_addresses())

    def ike_names(self):
        """The name of every IKE SA that it has, of rekeyed ones too."""
        return re.findall(r"list-sa event \{(\S+) \{", self._swanctl("--list-sas", "--raw").stdout)

    def ike_sas(self):
        """SPI of the initiator of every established IKE SA: a rekeyed one has another."""
        text = self._swanctl("--list-sas", "--raw").stdout
        return re.findall(r"version=2 state=ESTABLISHED .*?initiator-spi=(\w+)", text)

    def role(self):
        return "initiator" if "initiator=yes" in self._swanctl("--list-sas", "--raw").stdout else "responder"

    def failure(self):
        """The lines of its log that say why a negotiation failed."""
        words = ("NO_PROPOSAL_CHOSEN", "AUTHENTICATION_FAILED", "no acceptable", "MAC mismatch", "revoked", "configured proposals")
        return "\n".join(line for line in self.log().splitlines() if any(word in line for word in words))

    def _whole_log(self):
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def log(self):
        """What it logged since it has this configuration."""
        return self._whole_log()[self.log_begin:]

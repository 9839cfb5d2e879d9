"""libreswan as a peer, in a guest: its ESP is the kernel's."""
import re
import shutil

from labs.network import LabError, run, wait_until
from peers import sas

START = r"""
mkdir -p /run/pluto /var/lib/ipsec/nss /var/log /etc/ipsec.d
cp FOLDER/ipsec.conf FOLDER/ipsec.secrets /etc/
chmod 600 /etc/ipsec.secrets
N=/var/lib/ipsec/nss
[ -f $N/cert9.db ] || certutil -N -d sql:$N --empty-password
certutil -A -a -i FOLDER/credentials/ca.pem -d sql:$N -n ca -t CT,C,C
for f in FOLDER/credentials/*.p12; do [ ! -f $f ] || pk12util -i $f -d sql:$N -W secretkey -K ''; done
crlutil -I -i FOLDER/credentials/ca.crl -d sql:$N -B
/usr/libexec/ipsec/pluto --config /etc/ipsec.conf --nofork --logfile FOLDER/log --nssdir $N &
P=$!
for i in $(busybox seq 1 100); do
  /usr/libexec/ipsec/whack --status >/dev/null 2>&1 && break; busybox sleep 0.2
done
/usr/libexec/ipsec/addconn --config /etc/ipsec.conf --autoall >>FOLDER/log 2>&1
/usr/libexec/ipsec/whack --listen >>FOLDER/log 2>&1
: >FOLDER/ready
wait $P
"""


class Libreswan:
    def __init__(self, place, credentials):
        self.place, self.credentials, self.folder = place, credentials, place.folder

    def start(self, configuration, secrets=""):
        (self.folder / "ipsec.conf").write_text(configuration)
        (self.folder / "ipsec.secrets").write_text(secrets)
        self._write_credentials(re.findall(r"leftcert=(\S+)", configuration))
        self.place.start(START.replace("FOLDER", str(self.folder)))
        wait_until(f"pluto is ready, see {self.folder}/out and log", (self.folder / "ready").exists, 60)

    def _write_credentials(self, names):
        folder = self.folder / "credentials"
        folder.mkdir()
        shutil.copy(self.credentials / "ca.pem", folder)
        run("openssl", "crl", "-in", self.credentials / "ca.crl", "-outform", "der", "-out", folder / "ca.crl")
        for name in names:
            certificate = self.credentials / f"{name}.pem"
            run("openssl", "pkcs12", "-export", "-in", certificate, "-inkey", certificate.with_suffix(".key"), "-certfile",
                self.credentials / "ca.pem", "-name", name, "-passout", "pass:secretkey", "-out", folder / f"{name}.p12")

    def stop(self):
        self.place.stop()

    def commands(self):
        """For people: what to look at it with."""
        return [f"less {self.folder}/log"]

    def attempt(self):
        """As initiate(), where it is to fail."""
        try:
            self.initiate()
        except LabError:
            pass

    def _whack(self, *words):
        return self.place.run("/usr/libexec/ipsec/whack", *words)

    def initiate(self, child="site", timeout=30):
        said = self.place.run("timeout", timeout, "/usr/libexec/ipsec/whack", "--name", "site", "--initiate").text
        if not re.search(r"established (Child SA|IPsec SA)|IPsec SA established|established Child", said):
            raise LabError("the peer's initiate failed: " + " | ".join(said.strip().splitlines()[-3:]))
        return said

    def sas(self):
        return self.kernel_sas()

    def kernel_sas(self):
        return sas.of_xfrm(self.place.run("ip", "xfrm", "state").text, self.place.own_addresses())

    def log(self):
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

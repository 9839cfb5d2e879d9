"""OpenIKED as a peer, in a guest; it only responds. Towards Linux it speaks PF_KEY, which takes neither AES-GCM nor
HMAC-SHA-2 from it: ESP is AES-CBC with HMAC-SHA1."""
from labs.network import wait_until
from peers import sas

START = r"""
mkdir -p /etc/iked/ca /etc/iked/certs /etc/iked/private /etc/iked/crls /etc/iked/pubkeys /var/empty
cp FOLDER/iked.conf /etc/iked.conf; chmod 600 /etc/iked.conf
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /etc/iked/private/local.key 2>/dev/null
exec /usr/sbin/iked -d -v -v -f /etc/iked.conf >FOLDER/log 2>&1
"""


class OpenIked:
    def __init__(self, place):
        self.place, self.folder = place, place.folder

    def start(self, configuration):
        (self.folder / "iked.conf").write_text(configuration)
        self.place.start(START.replace("FOLDER", str(self.folder)))
        wait_until(f"iked listens, see {self.folder}/log", self._listens, 40, pause=0.2)

    def _listens(self):
        return ":500 " in self.place.run("ss", "-Hlun").text

    def stop(self):
        self.place.stop()

    def commands(self):
        """For people: what to look at it with."""
        return [f"less {self.folder}/log"]

    def sas(self):
        return self.kernel_sas()

    def kernel_sas(self):
        return sas.of_xfrm(self.place.run("ip", "xfrm", "state").text, self.place.own_addresses())

    def log(self):
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

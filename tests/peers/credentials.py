"""A CA with certificates for both sides, a CRL and bare RSA keys, made by strongSwan's `pki` and by openssl."""
import subprocess

from labs.network import LabError, run

SIDES = {"us": "198.51.100.3", "gw": "203.0.113.2"}
ALGORITHMS = {"rsa": ["--type", "rsa", "--size", "2048"], "ecdsa": ["--type", "ecdsa", "--size", "256"],
              "ed25519": ["--type", "ed25519"]}
DAYS = ["--lifetime", "3650"]
REVOKED_SERIALS = {"us": "66", "gw": "67"}


class Authority:
    """Writes into one folder; `*.key` are private keys, `*.pem` certificates, `*.pub` public keys."""

    def __init__(self, folder):
        self.folder = folder

    def pki(self, out, *words):
        done = subprocess.run(["pki", *map(str, words), "--outform", "pem"], capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise LabError(f"pki {' '.join(map(str, words))}: {done.stderr.decode()}")
        file = self.folder / out
        file.touch(mode=0o600)
        file.write_bytes(done.stdout)

    def make_authority(self):
        self.pki("ca.key", "--gen", "--type", "rsa", "--size", "3072")
        self.pki("ca.pem", "--self", "--ca", "--in", self.folder / "ca.key", "--dn", "C=CH, O=peers, CN=peers CA", *DAYS)

    def signer(self):
        return ["--cacert", self.folder / "ca.pem", "--cakey", self.folder / "ca.key"]

    def make_certificate(self, name, generation, serial, side):
        self.pki(f"{name}.key", "--gen", *generation)
        self.pki(f"{name}.pem", "--issue", *self.signer(), "--in", self.folder / f"{name}.key", "--type", "priv",
                 "--serial", serial, "--dn", f"C=CH, O=peers, CN={name}", "--san", f"{side}.peers.test",
                 "--san", SIDES[side], *DAYS)
        self.pki(f"{name}.pub", "--pub", "--in", self.folder / f"{name}.key")

    def make_crl(self):
        revoked = [word for serial in REVOKED_SERIALS.values()
                   for word in ("--reason", "key-compromise", "--serial", serial)]
        self.pki("ca.crl", "--signcrl", *self.signer(), *DAYS, *revoked)


def make(folder):
    """All of it, once; returns the folder."""
    if (folder / "ca.crl").exists():
        return folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(folder)
    authority.make_authority()
    serial = 0x10
    for side in SIDES:
        for algorithm, generation in ALGORITHMS.items():
            serial += 1
            authority.make_certificate(f"{side}-{algorithm}", generation, f"{serial:x}", side)
        authority.make_certificate(f"{side}-revoked", ALGORITHMS["rsa"], REVOKED_SERIALS[side], side)
    # A key with a passphrase, as x509.passphrase opens it.
    run("openssl", "pkcs8", "-topk8", "-in", folder / "us-rsa.key", "-out", folder / "us-rsa-encrypted.key",
        "-passout", "pass:secretkey", "-v2", "aes-256-cbc")
    authority.make_crl()
    return folder

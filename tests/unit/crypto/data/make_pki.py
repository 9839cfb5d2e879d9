#!/usr/bin/python3
"""Writes keys/ (keys and signatures, by the openssl command) and pki/ (certificates and revocation lists, by the Python
package cryptography, with keys of its own that are forgotten). Run by hand; the results are in the repository.

Certificates are valid from 2026 to 2036, revocation lists from June 2026 to June 2027: tests choose their "now".
"""
import base64
import datetime
import ipaddress
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

DATA = pathlib.Path(__file__).resolve().parent
MESSAGE = b"what IKE_AUTH signs: a message, a nonce and a prf of an identity"
HASHES = ["sha1", "sha256", "sha384", "sha512"]


def openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *arguments], input=stdin, check=True, capture_output=True, cwd=DATA / "keys").stdout


def rfc3110(pem):
    numbers = serialization.load_pem_private_key(pem, None).public_key().public_numbers()
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    return b"0s" + base64.b64encode(bytes([len(exponent)]) + exponent + modulus) + b"\n"


def make_keys():
    folder = DATA / "keys"
    folder.mkdir(exist_ok=True)
    (folder / "message").write_bytes(MESSAGE)
    openssl("genrsa", "-out", "rsa.pem", "2048")
    openssl("genrsa", "-out", "rsa-other.pem", "2048")
    openssl("genrsa", "-out", "rsa-short.pem", "768")
    openssl("rsa", "-in", "rsa.pem", "-traditional", "-out", "rsa-pkcs1.pem")
    openssl("rsa", "-in", "rsa.pem", "-traditional", "-aes128", "-passout", "pass:secret", "-out", "rsa-pkcs1-encrypted.pem")
    openssl("pkcs8", "-topk8", "-in", "rsa.pem", "-v2", "aes-256-cbc", "-passout", "pass:secret", "-out", "rsa-encrypted.pem")
    openssl("pkcs8", "-topk8", "-in", "rsa.pem", "-scrypt", "-passout", "pass:secret", "-out", "rsa-scrypt.pem")
    openssl("rsa", "-in", "rsa.pem", "-outform", "DER", "-out", "rsa.der")
    for name, curve in (("ec256", "prime256v1"), ("ec384", "secp384r1"), ("ec521", "secp521r1"), ("ec-koblitz", "secp256k1")):
        openssl("ecparam", "-name", curve, "-genkey", "-out", name + ".pem")  # with a block of parameters in front
    openssl("genpkey", "-algorithm", "ed25519", "-out", "ed25519.pem")
    openssl("genpkey", "-algorithm", "x25519", "-out", "x25519.pem")
    for name in ("rsa", "ec256", "ec384", "ec521", "ed25519"):
        openssl("pkey", "-in", name + ".pem", "-pubout", "-out", name + ".pub")
    openssl("pkey", "-in", "rsa.pem", "-pubout", "-outform", "DER", "-out", "rsa.pub.der")
    (folder / "rsa.rfc3110").write_bytes(rfc3110((folder / "rsa.pem").read_bytes()))
    (folder / "rsa-short.rfc3110").write_bytes(rfc3110((folder / "rsa-short.pem").read_bytes()))
    for digest in HASHES:
        for name in ("rsa", "ec256", "ec384", "ec521"):
            openssl("dgst", "-" + digest, "-sign", name + ".pem", "-out", f"{name}-{digest}.sig", "message")
        openssl("dgst", "-" + digest, "-sign", "rsa.pem", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
                "rsa_pss_saltlen:digest", "-out", f"rsa-pss-{digest}.sig", "message")
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", "ed25519.pem", "-in", "message", "-out", "ed25519.sig")


def name(common):
    pairs = [(NameOID.COUNTRY_NAME, "CH"), (NameOID.ORGANIZATION_NAME, "Espalier Test"), (NameOID.COMMON_NAME, common)]
    return x509.Name([x509.NameAttribute(*pair) for pair in pairs])


class Issuer:
    """A key and its certificate."""

    def __init__(self, common, issuer=None, key=None, ca=True, extensions=(), digest=hashes.SHA256(), constraints=True):
        self.name, self.key = name(common), key or ec.generate_private_key(ec.SECP256R1())
        issuer = issuer or self
        builder = (x509.CertificateBuilder().subject_name(self.name).issuer_name(issuer.name)
                   .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(datetime.datetime(2026, 1, 1)).not_valid_after(datetime.datetime(2036, 1, 1)))
        if constraints:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        builder = (builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        self.certificate = builder.sign(issuer.key, digest)

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def revoke(self, *certificates, extensions=()):
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.name)
                   .last_update(datetime.datetime(2026, 6, 1)).next_update(datetime.datetime(2027, 6, 1)))
        for extension in extensions:
            builder = builder.add_extension(extension, False)
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
                .revocation_date(datetime.datetime(2026, 5, 1)).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def usage(*wanted):
    known = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{key: key in wanted for key in known}), True


def alternative(*names):
    return x509.SubjectAlternativeName(names), False


def make_pki():
    folder = DATA / "pki"
    folder.mkdir(exist_ok=True)
    signing = usage("key_cert_sign", "crl_sign")
    names = alternative(x509.DNSName("gw.example.org"), x509.DNSName("gw2.example.org"), x509.RFC822Name("admin@example.org"),
                        x509.IPAddress(ipaddress.ip_address("192.0.2.1")), x509.IPAddress(ipaddress.ip_address("2001:db8::1")))
    root = Issuer("Root", extensions=[signing])
    middle = Issuer("Middle", root, extensions=[signing])
    limited = Issuer("Limited", root, extensions=[signing, (x509.NameConstraints([x509.DNSName("example.org")], None), True)])
    leaf = Issuer("gw", middle, ca=False, extensions=[names, usage("digital_signature")])
    plain_root, plain_middle = Issuer("Plain Root", constraints=False), Issuer("Plain Middle", root, constraints=False)
    usage_root = Issuer("Usage Root", extensions=[signing], constraints=False)
    no_signing = Issuer("No Signing", root, extensions=[usage("crl_sign")])
    weak = rsa.generate_private_key(65537, 2048)
    weak_root = Issuer("RSA Root", key=weak, extensions=[signing])
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    everything = {
        "root": root, "middle": middle, "limited": limited, "leaf": leaf, "plain-root": plain_root,
        "plain-middle": plain_middle, "no-signing": no_signing, "rsa-root": weak_root,
        "revoked": Issuer("revoked gw", middle, ca=False), "no-usage": Issuer("no usage", middle, ca=False),
        "encipher": Issuer("encipher", middle, ca=False, extensions=[usage("key_encipherment")]),
        "non-repudiation": Issuer("non-repudiation", middle, ca=False, extensions=[usage("content_commitment")]),
        "under-leaf": Issuer("under leaf", leaf, ca=False), "under-plain-root": Issuer("x", plain_root, ca=False),
        "usage-root": usage_root, "under-usage-root": Issuer("x", usage_root, ca=False),
        "under-plain-middle": Issuer("x", plain_middle, ca=False), "under-no-signing": Issuer("x", no_signing, ca=False),
        "inside": Issuer("inside", limited, ca=False, extensions=[alternative(x509.DNSName("gw.example.org"))]),
        "outside": Issuer("outside", limited, ca=False, extensions=[alternative(x509.DNSName("gw.example.net"))]),
        "self-signed": Issuer("gw", ca=False, extensions=[names]), "false-root": Issuer("Root", extensions=[signing]),
        "sha1": Issuer("sha1", weak_root, ca=False, digest=hashes.SHA1()), "rsa": Issuer("rsa", weak_root, ca=False),
        "critical": Issuer("critical", middle, ca=False, extensions=[(unknown, True)]),
        "zero-name": Issuer("zero", middle, ca=False, extensions=[alternative(x509.DNSName("gw.example.org\0.evil.example"))]),
    }
    for filename, issuer in everything.items():
        (folder / (filename + ".pem")).write_bytes(issuer.pem())
    (folder / "leaf.der").write_bytes(leaf.certificate.public_bytes(serialization.Encoding.DER))
    (folder / "bundle.pem").write_bytes(leaf.pem() + b"text between\n" + middle.pem() + root.pem())
    (folder / "middle.crl").write_bytes(middle.revoke(everything["revoked"].certificate))
    (folder / "root.crl").write_bytes(root.revoke(limited.certificate))
    other = Issuer("Middle", root)
    (folder / "forged.crl").write_bytes(other.revoke())
    (folder / "other-key.crl").write_bytes(
        other.revoke(extensions=[x509.AuthorityKeyIdentifier.from_issuer_public_key(other.key.public_key())]))
    subprocess.run(["openssl", "crl", "-in", folder / "middle.crl", "-outform", "DER", "-out", folder / "middle.crl.der"], check=True)


make_keys()
make_pki()
